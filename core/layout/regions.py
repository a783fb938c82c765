"""A layout's regions on a map of any size: which pixels belong to which object."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .boxes import Box, Layout, Placement

SHAPES = ("layout", "box", "disc")
# Where in a pixel its place is measured: the published code takes the upper left corner.
PLACES = ("centre", "corner")


def regions(
    layout: Layout, h: int, w: int, shape: str = "layout", radius: float = 0.2, place: str = "centre"
) -> Tensor:
    """[objects, h, w] in 0..1, one region per placement, for a map of h × w.

    `shape` (one of SHAPES) "layout" takes the mask where there is one and else the box; "disc" a disc of `radius`
    around the middle of the box, in units of the geometric mean of the picture's sides, so that it is round in every
    picture. `place` is one of PLACES.
    """
    return (
        torch.stack([_region(one, h, w, shape, radius, place) for one in layout.placements])
        if layout.placements
        else torch.zeros(0, h, w)
    )


def _region(placement: Placement, h: int, w: int, shape: str, radius: float, place: str) -> Tensor:
    if shape == "layout" and placement.mask is not None:
        region = adaptive_avg_pool2d(placement.mask[None].float(), (h, w))[0]
    elif shape == "disc":
        region = disc(placement.box.centre, radius, h, w, place)
    else:
        region = _box(placement.box, h, w, place)
    if not bool(region.any()):  # smaller than a pixel of this map
        x, y = placement.box.centre
        region[min(int(y * h), h - 1), min(int(x * w), w - 1)] = 1.0
    return region


def disc(centre: tuple[float, float], radius: float, h: int, w: int, place: str = "centre") -> Tensor:
    """[h, w] float32, 1 where a pixel lies nearer to `centre` (x, y in 0..1) than `radius`."""
    x, y = _positions(w, place), _positions(h, place)
    stretch = sqrt(w / h)
    squared = ((x - centre[0]) * stretch)[None] ** 2 + ((y - centre[1]) / stretch)[:, None] ** 2
    return (squared < radius**2).float()


def _box(box: Box, h: int, w: int, place: str) -> Tensor:
    x, y = _positions(w, place), _positions(h, place)
    across, down = (x >= box.left) & (x < box.right), (y >= box.top) & (y < box.bottom)
    return (down[:, None] & across[None]).float()


def _positions(count: int, place: str) -> Tensor:
    """[count] in 0..1: where the pixels of a row stand."""
    return (torch.arange(count, dtype=torch.float32) + (0.5 if place == "centre" else 0.0)) / count
