"""How a prompt's tokens compete for a pixel once the start token, which takes most of the attention, is left out."""

from __future__ import annotations

from torch import Tensor

from .targets import Targets

# Sharpens the probabilities before they compete anew (published by Attend-and-Excite and the methods built on it).
_SCALE = 100.0


def competing_columns(targets: Targets, words_only: bool = False) -> list[int]:
    """The tokens among which a pixel divides its attention.

    All but the first and the last column of each chunk (so the end token and padding take part), or the prompt's words
    alone.
    """
    if words_only:
        return list(targets.content)
    chunk = targets.chunk or targets.length
    return [p for p in range(targets.length) if p % chunk not in (0, chunk - 1)]


def token_shares(maps: Tensor, columns: list[int]) -> Tensor:
    """softmax over the tokens of 100·A, among `columns` only: [B, h, w, tokens] → [B, h, w, len(columns)]."""
    return (maps[..., columns] * _SCALE).softmax(dim=-1)
