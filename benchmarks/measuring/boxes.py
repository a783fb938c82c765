"""Boxes drawn at random for a prompt's objects, independent of any seed, and whether the objects stand in them."""

from __future__ import annotations

import numpy as np
from prompt_fidelity.core.layout import Box, Layout, Placement
from prompt_fidelity.core.prompt.targets import Targets

from .cases import Case

# Sides of a box, as shares of the picture's, by the number of objects: about as large as an object, and room for all.
SIDES = {1: (0.34, 0.48), 2: (0.34, 0.48), 3: (0.32, 0.42)}
GAP = 0.02
# So long objects are put one after the other; then the boxes are drawn anew.
_TRIES = 30


def random_layout(targets: Targets, width: int, height: int, rng: np.random.Generator) -> Layout:
    """A box for every object; none overlaps another."""
    names = [target.phrase for target in targets.objects]
    while True:
        boxes: list[Box] = []
        for _ in range(_TRIES):
            box = _random_box(rng, *SIDES[len(names)])
            if all(_apart(box, other) for other in boxes):
                boxes.append(box)
            if len(boxes) == len(names):
                placements = tuple(Placement(i, name, box) for i, (name, box) in enumerate(zip(names, boxes)))
                return Layout(placements, width, height)


def _random_box(rng: np.random.Generator, least: float, most: float) -> Box:
    width, height = rng.uniform(least, most, 2)
    left, top = rng.uniform(0.0, 1.0 - width), rng.uniform(0.0, 1.0 - height)
    return Box(float(left), float(top), float(left + width), float(top + height))


def _apart(a: Box, b: Box) -> bool:
    """Whether two boxes have at least GAP between them."""
    across = max(a.left, b.left) - min(a.right, b.right)
    down = max(a.top, b.top) - min(a.bottom, b.bottom)
    return max(across, down) >= GAP


def inside(found: list, case: Case, layout: Layout) -> list[bool]:
    """For each wanted object, whether one of its noun and colour has its centre in the object's box."""
    return [
        any((item.noun, item.colour) == wanted and _holds(placement.box, item.centre, layout) for item in found)
        for wanted, placement in zip(case.wanted, layout.placements, strict=True)
    ]


def _holds(box: Box, centre: tuple[float, float], layout: Layout) -> bool:
    x, y = centre[0] / layout.width, centre[1] / layout.height
    return box.left <= x < box.right and box.top <= y < box.bottom
