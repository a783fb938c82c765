"""A layout's regions on a map of any size: which pixels belong to which object."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..maps.view import Axis, View
from .boxes import Box, Layout, Placement

SHAPES = ("layout", "box", "disc")
# Where in a pixel its place is measured: the published code takes the upper left corner.
PLACES = ("centre", "corner")


def regions(
    layout: Layout,
    h: int,
    w: int,
    shape: str = "layout",
    radius: float = 0.2,
    place: str = "centre",
    view: View | None = None,
) -> Tensor:
    """[objects, h, w] in 0..1, one region per placement, for a map of h × w.

    `shape` (one of SHAPES) "layout" takes the mask where there is one and else the box; "disc" a disc of `radius`
    around the middle of the box, in units of the geometric mean of the picture's sides, so that it is round in every
    picture. `place` is one of PLACES. `view` is the part of the picture that the map shows, None for all of it: a
    layout speaks of the picture, so a region is then what of it lies in that part.
    """
    return (
        torch.stack([_region(one, h, w, shape, radius, place, view) for one in layout.placements])
        if layout.placements
        else torch.zeros(0, h, w)
    )


def _region(placement: Placement, h: int, w: int, shape: str, radius: float, place: str, view: View | None) -> Tensor:
    if shape == "layout" and placement.mask is not None:
        region = _mask(placement.mask[None].float(), h, w, view)
    elif shape == "disc":
        region = disc(placement.box.centre, radius, h, w, place, view)
    else:
        region = _box(placement.box, h, w, place, view)
    if not bool(region.any()):
        _fill_centre(region, placement.box, view)
    return region


def _fill_centre(region: Tensor, box: Box, view: View | None) -> None:
    """An object smaller than a pixel of this map gets that pixel; one that lies elsewhere in the picture gets none."""
    h, w = region.shape
    across, down = _axes(h, w, view)
    if view is not None and box.width * across.count * w > len(across.shown):
        if box.height * down.count * h > len(down.shown):
            return
    column, row = across.pixel_at(box.centre[0], w), down.pixel_at(box.centre[1], h)
    if column is not None and row is not None:
        region[row, column] = 1.0


def _axes(h: int, w: int, view: View | None) -> tuple[Axis, Axis]:
    """Across and down."""
    return (Axis.whole(w), Axis.whole(h)) if view is None else (view.across, view.down)


def _mask(mask: Tensor, h: int, w: int, view: View | None) -> Tensor:
    if view is not None:
        mask = view.of(adaptive_avg_pool2d(mask, (view.height, view.width)))
    return adaptive_avg_pool2d(mask, (h, w))[0]


def disc(
    centre: tuple[float, float], radius: float, h: int, w: int, place: str = "centre", view: View | None = None
) -> Tensor:
    """[h, w] float32, 1 where a pixel lies nearer to `centre` (x, y in 0..1) than `radius`."""
    x, y = _positions(h, w, place, view)
    stretch = sqrt(w / h) if view is None else sqrt(view.width / view.height)
    squared = ((x - centre[0]) * stretch)[None] ** 2 + ((y - centre[1]) / stretch)[:, None] ** 2
    return (squared < radius**2).float()


def _box(box: Box, h: int, w: int, place: str, view: View | None) -> Tensor:
    x, y = _positions(h, w, place, view)
    across, down = (x >= box.left) & (x < box.right), (y >= box.top) & (y < box.bottom)
    return (down[:, None] & across[None]).float()


def _positions(h: int, w: int, place: str, view: View | None) -> tuple[Tensor, Tensor]:
    """x [w] and y [h] in 0..1 of the picture: where a map's pixels stand."""
    across, down = _axes(h, w, view)
    offset = 0.5 if place == "centre" else 0.0
    return across.positions(w, offset), down.positions(h, offset)
