"""Every word's map, objects or not: what the model had in mind at a place of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import MethodError
from ..prompt.targets import Targets
from .sizes import resized, small_enough

# Of so dark a mask nothing is left to look at.
_EMPTY = 1e-6


def spelled_words(targets: Targets) -> list[tuple[str, tuple[int, ...]]]:
    """The prompt's words in order, with the tokens that spell each: pieces that follow each other without a gap.

    Where several encoders read the prompt, a word has its tokens in each of them.
    """
    pieces = dict(zip(targets.content, targets.pieces, strict=True))
    found: dict[int, tuple[str, tuple[int, ...]]] = {}  # by where the word begins in the prompt
    for positions in targets.by_encoder(targets.content):
        for start, (word, spelling) in _spelled(targets.prompt.lower(), [(p, pieces[p]) for p in positions]).items():
            known = found.get(start, (word, ()))
            found[start] = (known[0], (*known[1], *spelling))
    return [found[start] for start in sorted(found)]


def _spelled(text: str, tokens: Sequence[tuple[int, str]]) -> dict[int, tuple[str, tuple[int, ...]]]:
    """One encoder's words by where they begin; a piece that is not in the text is one of its own, after the others."""
    words: dict[int, tuple[str, tuple[int, ...]]] = {}
    at, start, beyond = 0, 0, len(text)
    for position, piece in tokens:
        if not any(character.isalnum() for character in piece):
            continue
        place = text.find(piece.lower(), at)
        if place < 0:
            words[beyond] = (piece, (position,))
            beyond += 1
            continue
        goes_on = start in words and 0 < place == at and text[at - 1].isalnum() and piece[0].isalnum()
        start, at = (start if goes_on else place), place + len(piece)
        word, spelling = words.get(start, ("", ()))
        words[start] = (word + piece, (*spelling, position))
    return words


def word_map(maps: Tensor, targets: Targets, positions: Sequence[int]) -> Tensor:
    """[B, h, w, tokens] → [B, h, w]: the mean over a word's pieces, summed over the encoders that read the prompt, as
    they share a pixel's attention among them.
    """
    return sum(maps[..., pieces].mean(dim=-1) for pieces in targets.by_encoder(positions))


class WordMaps:
    """The running mean [B, W, h, w] of every word's map over the steps; column w is `names[w]`."""

    def __init__(self, words: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        self.names = tuple(name for name, _ in words)
        self._words = words
        self.steps = 0
        self.mean: Tensor | None = None

    def add(self, maps: Tensor, targets: Targets) -> None:
        """Take in one step's mean maps [B, h, w, tokens]."""
        if not self._words:
            return
        stack = torch.stack([word_map(maps, targets, positions) for _, positions in self._words], dim=1)
        stack = small_enough(stack.float()).to("cpu")
        if self.mean is None:
            self.mean = torch.zeros_like(stack)
        elif self.mean.shape[-2:] != stack.shape[-2:]:
            stack = resized(stack, self.mean.shape[-2:])
        self.steps += 1
        self.mean += (stack - self.mean) / self.steps

    def at(self, mask: Tensor) -> list[list[tuple[str, float, float]]]:
        """The words attended to where `mask` [1 or B, H, W] in 0..1 is light, most first, for each image.

        Each with its share of the words' attention there, in 0..1, and how many times that is its share in the whole
        picture. Raises MethodError for an empty mask, or if nothing was recorded.
        """
        if self.mean is None:
            raise MethodError(
                "No attention has been recorded yet. Connect the model of Apply Attention Control to the sampler."
            )
        weight = resized(mask.detach().float().cpu()[:, None], self.mean.shape[-2:])  # [b, 1, h, w]
        if float(weight.amax()) < _EMPTY:
            raise MethodError("The mask is empty: paint the place whose words you want to know.")
        there = (self.mean * weight).sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1)).clamp_min(_EMPTY)  # [B, W]
        everywhere = self.mean.mean(dim=(-2, -1))
        there, everywhere = (each / each.sum(dim=1, keepdim=True).clamp_min(1e-12) for each in (there, everywhere))
        lists = []
        for shares, usual in zip(there.tolist(), everywhere.tolist(), strict=True):
            words = [
                (name, share, share / max(mean, 1e-12))
                for name, share, mean in zip(self.names, shares, usual, strict=True)
            ]
            lists.append(sorted(words, key=lambda word: -word[1]))
        return lists
