"""How a prompt's tokens compete for a pixel once the start token, which takes most of the attention, is left out."""

from __future__ import annotations

from torch import Tensor

from ..prompt.targets import Targets

SHARPNESS = 100.0  # as published by Attend-and-Excite and the methods built on it
SHARPNESS_TOOLTIP = (
    "How sharply the words compete for a pixel: the maps are multiplied by this before the softmax over the words "
    "(published: 100). "
    "Less for a model whose attention is sharp already, where at 100 every word holds its pixel for certain and "
    "nothing moves."
)

COMPETING = ("auto", "all", "words")
COMPETING_TOOLTIP = (
    "The tokens among which a pixel divides its attention. all: padding and end token take part (published for Stable "
    "Diffusion 1). "
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
    return [p for stretch in targets.stretches for p in stretch.columns[1:-1]]


def token_shares(maps: Tensor, columns: list[int], sharpness: float = SHARPNESS) -> Tensor:
    """softmax over the tokens of sharpness·A, among `columns` only: [B, h, w, tokens] → [B, h, w, len(columns)]."""
    return (maps[..., columns] * sharpness).softmax(dim=-1)
