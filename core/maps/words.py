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
    """The prompt's words in order, with the tokens that spell each: pieces that follow each other without a gap."""
    text, at = targets.prompt.lower(), 0
    words: list[tuple[str, tuple[int, ...]]] = []
    for position, piece in zip(targets.content, targets.pieces, strict=True):
        if not any(character.isalnum() for character in piece):
            continue
        found = text.find(piece.lower(), at)
        goes_on = bool(words) and 0 < found == at and text[at - 1].isalnum() and piece[0].isalnum()
        at = found + len(piece) if found >= 0 else at
        if goes_on:
            word, positions = words.pop()
            words.append((word + piece, (*positions, position)))
        else:
            words.append((piece, (position,)))
    return words


class WordMaps:
    """The running mean [B, W, h, w] of every word's map over the steps; column w is `names[w]`."""

    def __init__(self, words: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        self.names = tuple(name for name, _ in words)
        self._positions = [list(positions) for _, positions in words]
        self.steps = 0
        self.mean: Tensor | None = None

    def add(self, maps: Tensor) -> None:
        """Take in one step's mean maps [B, h, w, tokens]."""
        if not self._positions:
            return
        stack = torch.stack([maps[..., places].mean(dim=-1) for places in self._positions], dim=1)
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
