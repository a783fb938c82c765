"""What the model had in mind at a place of the picture, in words."""

from __future__ import annotations

import torch
from torch import Tensor

from ..control.record import RunLog
from ..errors import MethodError

# A point is a spot of so much of the picture's shorter side.
_RADIUS = 0.05
_MOST_WORDS = 8


def words_at(
    run: RunLog, size: tuple[int, int], point: tuple[float, float], mask: Tensor | None = None, image: int = 0
) -> str:
    """A line per word, the most attended to first, for one picture of a run: at `point` (x, y in 0..1) of a picture of
    `size` (H, W), or where `mask` [1 or B, H, W] is light. Raises MethodError if nothing was recorded, or for an empty
    mask.
    """
    if run.maps.words is None:
        raise MethodError(
            "No attention has been recorded: the model of Apply Attention Control has not drawn a picture yet, or the "
            "prompt holds no object. Connect that model to the sampler."
        )
    lists = run.maps.words.at(_spot(size, point) if mask is None else mask)
    words = lists[min(image, len(lists) - 1)][:_MOST_WORDS]
    return "\n".join(
        f"{share:.0%}  {name}  ({times:.1f} × its share of the whole picture)" for name, share, times in words
    )


def _spot(size: tuple[int, int], point: tuple[float, float]) -> Tensor:
    """[1, H, W]: 1 in a disc around the point."""
    h, w = size
    radius = max(_RADIUS * min(h, w), 1.0)
    down, across = torch.arange(h)[:, None] + 0.5, torch.arange(w)[None] + 0.5
    return ((down - point[1] * h) ** 2 + (across - point[0] * w) ** 2 <= radius**2).float()[None]
