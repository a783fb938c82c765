"""How a prompt's tokens compete for a pixel once the start token, which takes most of the attention, is left out."""

from __future__ import annotations

from torch import Tensor

from .targets import Targets

# Sharpens the probabilities before they compete anew (published by Attend-and-Excite and the methods built on it).
_SCALE = 100.0


COMPETING = ("auto", "all", "words")
COMPETING_TOOLTIP = (
    "The tokens among which a pixel divides its attention. all: padding and end token take part (published for Stable Diffusion 1). "
    "words: the prompt's own words only (published for Stable Diffusion 2, whose padding is no end token). "
    "auto: as published for the model's text encoder."
)


def competing_columns(targets: Targets, competing: str = "auto") -> list[int]:
    """The tokens among which a pixel divides its attention; `competing` is one of COMPETING.

    All but the first and the last column of each chunk (so the end token and padding take part), or the prompt's words
    alone.
    """
    if competing == "words" or (competing == "auto" and not targets.pads_with_end):
        return list(targets.content)
    chunk = targets.chunk or targets.length
    return [p for p in range(targets.length) if p % chunk not in (0, chunk - 1)]


def token_shares(maps: Tensor, columns: list[int]) -> Tensor:
    """softmax over the tokens of 100·A, among `columns` only: [B, h, w, tokens] → [B, h, w, len(columns)]."""
    return (maps[..., columns] * _SCALE).softmax(dim=-1)
