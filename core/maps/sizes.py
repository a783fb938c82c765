"""Maps at other sizes."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

# What is kept of single steps, and of words that are no targets, is no finer than so many pixels a side.
_FINEST = 32


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, T, h, w] at another size: the mean where it is smaller, blended between pixels where it is larger."""
    smaller = tuple(min(now, wanted) for now, wanted in zip(maps.shape[-2:], size, strict=True))
    return interpolate(adaptive_avg_pool2d(maps, smaller), size, mode="bilinear", align_corners=False)


def small_enough(maps: Tensor) -> Tensor:
    """[B, T, h, w], reduced to the finest size that is kept."""
    size = tuple(min(side, _FINEST) for side in maps.shape[-2:])
    return maps if size == tuple(maps.shape[-2:]) else adaptive_avg_pool2d(maps, size)
