"""The prompt's own tokens among those that a tokenizer makes: without start, end, padding, and without the template
that the tokenizers of language models put around a prompt.

What belongs to the template is found by comparison: it is what the tokens of two short prompts begin and end with.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch

from .encoder import Encoder

_PROBES = ("x", "Z")  # two prompts that share no token
_WEIGHTED = "(x:1.5)"
Place = tuple[int, int]  # (chunk, index in it)


class Words:
    """Finds the prompt's own tokens in the lists of a CLIP's tokenizers."""

    def __init__(self, clip):
        first, second, weighted = (clip.tokenize(text, return_word_ids=True) for text in (*_PROBES, _WEIGHTED))
        self._probes, self._weighted = (first, second), weighted

    def places(self, encoder: Encoder, chunks: list, text: str) -> list[Place]:
        """Where the tokens that spell `text` are among `chunks`, in order."""
        if not text.strip():
            return []
        places = _words(encoder, chunks)
        ids = _ids(chunks, places)
        before, after = self._template(encoder)
        start, end = _common(ids, before), _common(ids[::-1], after[::-1])
        # A token at the seam may have swallowed the prompt's first or last character. Where less than that is the
        # template's, the prompt has brought its own.
        start = start if start >= len(before) - 1 else 0
        end = end if end >= len(after) - 1 else 0
        return places[start : max(start, len(places) - end)]

    def knows_weights(self, encoder: Encoder) -> bool:
        """Whether the tokenizer takes brackets and weights out of a prompt, rather than spelling them."""
        chunks = self._weighted[encoder.key]
        spelled, plain = (
            _ids(probe[encoder.key], self.places(encoder, probe[encoder.key], text))
            for probe, text in ((self._weighted, _WEIGHTED), (self._probes[0], _PROBES[0]))
        )
        return bool(chunks) and spelled == plain

    def _template(self, encoder: Encoder) -> tuple[list, list]:
        """Tokens before and after the prompt's own."""
        first, second = (_ids(probe[encoder.key], _words(encoder, probe[encoder.key])) for probe in self._probes)
        return first[: _common(first, second)], first[len(first) - _common(first[::-1], second[::-1]) :]


def pieces_of(encoder: Encoder, chunks: list, places: Sequence[Place]) -> list[str | None]:
    """The vocabulary's string for each token; None for an embedding's vector."""
    vocabulary = encoder.tokenizer.inv_vocab
    # WordPiece (HunyuanDiT's BERT) marks the pieces that go on a word.
    mark = "##" if "[CLS]" in vocabulary.values() else ""
    tokens = [chunks[chunk][index][0] for chunk, index in places]
    return [None if isinstance(t, torch.Tensor) else vocabulary.get(t, "").removeprefix(mark) for t in tokens]


def word_ids(chunks: list, places: Sequence[Place]) -> list[int]:
    """The host's number of each token's word; 1 where its tokenizer gives none."""
    return [_word(chunks[chunk][index]) for chunk, index in places]


def _word(token: tuple) -> int:
    return token[2] if len(token) > 2 else 1


def _words(encoder: Encoder, chunks: list) -> list[Place]:
    """All tokens that are part of a word to the host, a template's among them.

    A few tokenizers say nothing of words (LongCat, Lens): there padding is known by its token.
    """
    padding = encoder.tokenizer.pad_token
    return [
        (c, i)
        for c, chunk in enumerate(chunks)
        for i, token in enumerate(chunk)
        if _word(token) and not (len(token) < 3 and _same(token[0], padding))
    ]


def _ids(chunks: list, places: Sequence[Place]) -> list:
    return [chunks[chunk][index][0] for chunk, index in places]


def _same(a, b) -> bool:
    return isinstance(a, Integral) and isinstance(b, Integral) and a == b


def _common(first: Sequence, second: Sequence) -> int:
    """How many tokens two lists begin with alike; vectors are like nothing."""
    count = 0
    for a, b in zip(first, second):
        if not _same(a, b):
            break
        count += 1
    return count
