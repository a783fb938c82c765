"""Relations into boxes without any model: a rough arrangement by repulsion, then a linear program that makes it exact.

1. Several arrangements of points start at random (seeded) places. Relations pull their points into order, unrelated
   objects push each other away. The calmest arrangement is taken.
2. Every pair of boxes is to be kept apart along one axis: a related pair along its relation's, another along the axis
   on which its points lie farther apart. All of that is linear in the boxes' edges, so SciPy's linear programming
   (HiGHS) finds the boxes that are as large as they should be, as close to their points as possible, and nowhere
   overlapping. As the points respect every order, a solution always exists.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from ..errors import MethodError
from ..prompt.targets import Targets
from .boxes import Box, Layout, Placement
from .constraints import Apart, Constraints, read

_STARTS = 16
_ROUNDS = 80
_PACE = 0.12
# Side of an object alone in the picture, as a share of the geometric mean of its sides; more objects are smaller.
_SIDE_ALONE = 0.62
_SIDE_FALLS = 0.42
_SMALLEST_SIDE = 0.12
# How strongly the arrangement as a whole is drawn to the middle of the picture.
_TO_THE_MIDDLE = 0.6
# A contained object's side, relative to what contains it.
_INNER = 0.55


@dataclass(frozen=True)
class SolverSettings:
    """`size` scales the boxes, `margin` keeps them from the border, `gap` from each other
    (fractions of the picture).
    """

    size: float = 1.0
    margin: float = 0.04
    gap: float = 0.02
    seed: int = 0


def solve(targets: Targets, width: int, height: int, settings: SolverSettings | None = None) -> Layout:
    """A layout of all objects of `targets` for a picture of `width` × `height` pixels in which their relations hold.

    The same seed gives the same layout. A relation that contradicts another is given up and noted. No objects give an
    empty layout.
    """
    return _solved(targets, width, height, settings or SolverSettings(), None)


def around(
    centres: np.ndarray, targets: Targets, width: int, height: int, settings: SolverSettings | None = None
) -> Layout:
    """As `solve`, but near given centres [objects, 2] (x, y in 0..1), which only make way for each other and the
    relations.
    """
    return _solved(
        targets, width, height, settings or SolverSettings(), np.asarray(centres, dtype=float).reshape(-1, 2)
    )


def box_size(count: int, width: int, height: int, settings: SolverSettings) -> np.ndarray:
    """[2]: width and height, in fractions of the picture, of each of `count` boxes if there is
    room; square in pixels.
    """
    aspect = width / height
    side = max(_SIDE_ALONE / count**_SIDE_FALLS, _SMALLEST_SIDE) * settings.size
    return np.minimum(side * np.array([aspect**-0.5, aspect**0.5]), 1 - 2 * settings.margin)


def _solved(targets: Targets, width: int, height: int, settings: SolverSettings, centres: np.ndarray | None) -> Layout:
    count = len(targets.objects)
    if not count:
        return Layout((), width, height)
    constraints = read(targets.relations, count)
    sizes = np.tile(box_size(count, width, height, settings), (count, 1))
    points = arrange(constraints, sizes, settings, centres)
    boxes = fit(constraints, points, sizes, width / height, settings)
    names = [target.phrase for target in targets.objects]
    placements = tuple(Placement(i, names[i], Box(*map(float, box)).clamped()) for i, box in enumerate(boxes))
    notes = tuple(
        f'"{names[r.subject]} {r.predicate} {names[r.object]}" contradicts another relation, so it was left out.'
        for r in constraints.given_up
    )
    return Layout(placements, width, height, targets.relations, notes)


def arrange(
    constraints: Constraints, sizes: np.ndarray, settings: SolverSettings, hints: np.ndarray | None = None
) -> np.ndarray:
    """Points [n, 2] in 0..1, x before y, that respect every order of `constraints`. `sizes` [n, 2] are the boxes'.

    With `hints` [n, 2] the points start there and only make way for each other and for the relations.
    """
    n = len(sizes)
    generator = np.random.default_rng(settings.seed)
    low = settings.margin + sizes / 2
    starts = generator.uniform(low, np.maximum(1 - low, low), (_STARTS, n, 2)) if hints is None else hints[None].copy()
    if n == 1:
        return np.clip(np.full((1, 2), 0.5) if hints is None else hints, low, np.maximum(1 - low, low))
    reach = (sizes[:, None] + sizes[None]) / 2 + settings.gap  # [n, n, 2] centre distance at which boxes do not meet
    firm = _firm_pairs(constraints, n)
    pushes = ~firm & ~np.eye(n, dtype=bool)
    points, energy = starts, np.zeros(len(starts))
    for round_ in range(_ROUNDS):
        pace = _PACE * (1 - round_ / _ROUNDS) + 0.02
        force, energy = _repulsion(points, reach, pushes, spread=hints is None)
        for c in constraints.apart:
            short = c.share * reach[c.first, c.second, c.axis] - (
                points[:, c.second, c.axis] - points[:, c.first, c.axis]
            )
            missing = np.maximum(short, 0)
            force[:, c.second, c.axis] += 2 * missing
            force[:, c.first, c.axis] -= 2 * missing
            energy += 4 * missing**2
        for inner, outer in constraints.within:
            _pull(force, points, inner, outer, (0, 1), 0.5)
        for i, j, axis in constraints.level:
            _pull(force, points, i, j, (axis,), 0.25)
            energy += 0.2 * (points[:, i, axis] - points[:, j, axis]) ** 2
        for i, j in constraints.near if hints is None else ():
            _pull(force, points, i, j, (0, 1), 0.04)
        if hints is None:
            force += _TO_THE_MIDDLE * (0.5 - points.mean(axis=1, keepdims=True))
        points = np.clip(points + pace * 2 * force, low, np.maximum(1 - low, low))
    return _in_order(points[int(np.argmin(energy))], constraints)


def _firm_pairs(constraints: Constraints, n: int) -> np.ndarray:
    """bool [n, n]: pairs whose distance the relations settle."""
    firm = np.zeros((n, n), dtype=bool)
    for pair in constraints.ordered:
        i, j = tuple(pair)
        firm[i, j] = firm[j, i] = True
    return firm


def _repulsion(
    points: np.ndarray, reach: np.ndarray, pushes: np.ndarray, spread: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Forces [starts, n, 2] and energies [starts] of objects that should not meet."""
    apart = points[:, :, None] - points[:, None]  # [starts, n, n, 2]
    relative = apart / reach
    overlap = np.maximum(1 - np.abs(relative), 0)  # share of the reach that is missing, per axis
    meeting = overlap.min(axis=-1) * pushes  # boxes meet where they meet on both axes
    # The way out is along the axis on which less is missing.
    shorter = overlap[..., 0] <= overlap[..., 1]
    direction = np.where(apart >= 0, 1.0, -1.0)
    index = np.arange(points.shape[1])
    direction = np.where((apart == 0) & (index[:, None] < index[None])[None, ..., None], -1.0, direction)
    force = np.stack([meeting * shorter, meeting * ~shorter], axis=-1) * direction * reach
    energy = (meeting**2).sum(axis=(1, 2))
    if spread:  # a light push apart keeps objects from crowding in a corner
        distance = np.sqrt((relative**2).sum(axis=-1, keepdims=True)) + 0.3
        force = force + 0.02 * pushes[..., None] * relative / distance**3
        energy = energy + 0.01 * (pushes / distance[..., 0]).sum(axis=(1, 2))
    return force.sum(axis=2), energy


def _pull(force: np.ndarray, points: np.ndarray, i: int, j: int, axes: tuple[int, ...], strength: float) -> None:
    for axis in axes:
        gap = points[:, j, axis] - points[:, i, axis]
        force[:, i, axis] += strength * gap
        force[:, j, axis] -= strength * gap


def _in_order(points: np.ndarray, constraints: Constraints) -> np.ndarray:
    """The points with every order of `constraints` strictly true: what comes after is moved behind
    what it comes after.
    """
    points = points.copy()
    for _ in range(len(points)):
        for c in constraints.apart:
            points[c.second, c.axis] = max(points[c.second, c.axis], points[c.first, c.axis] + 1e-3)
    return points


def fit(
    constraints: Constraints, points: np.ndarray, wanted: np.ndarray, aspect: float, settings: SolverSettings
) -> np.ndarray:
    """Boxes [n, 4] (left, top, right, bottom) near `points`, at most `wanted` [n, 2] large, within the constraints."""
    loose = replace(constraints, within=[])  # for a thing that is to lie in another and at once beside it
    tight = replace(settings, gap=0.0)  # for more things in a row than there is room for gaps
    for asked, spaced in ((constraints, settings), (loose, settings), (constraints, tight), (loose, tight)):
        boxes = _Program(asked, _all_pairs(asked, points, wanted), spaced).solve(points, wanted, aspect)
        if boxes is not None:
            return boxes
    raise MethodError("No layout was found for these relations: take out some that say where things stand.")


def _all_pairs(constraints: Constraints, points: np.ndarray, wanted: np.ndarray) -> list[Apart]:
    """The orders that keep every pair apart that the relations do not let overlap."""
    apart = list(constraints.apart)
    settled = constraints.ordered
    container = dict(constraints.within)
    wholly = {frozenset((c.first, c.second)) for c in apart if c.share == 1}
    for i, j in combinations(range(len(points)), 2):
        if frozenset((i, j)) in settled:
            continue
        # Things within two boxes that lie apart are apart themselves.
        i, j = (container.get(thing, thing) for thing in (i, j)) if container.get(i) != container.get(j) else (i, j)
        if i == j or frozenset((i, j)) in wholly:
            continue
        wholly.add(frozenset((i, j)))
        distance = (points[j] - points[i]) / ((wanted[i] + wanted[j]) / 2)
        axis = int(abs(distance[1]) > abs(distance[0]))
        # Equal points are ordered by index; an order along this axis has been made strict already.
        apart.append(Apart(i, j, axis) if distance[axis] >= 0 else Apart(j, i, axis))
    return apart


class _Program:
    """The linear program. Per object: centre x, y, width, height, and its distances to its point on both axes."""

    def __init__(self, constraints: Constraints, pairs: list[Apart], settings: SolverSettings):
        self.settings = settings
        self.pairs, self.within = pairs, constraints.within
        self.level = constraints.level
        self.touching = [c for c in constraints.apart if c.touching]
        self.rows: list[tuple[dict[int, float], float]] = []  # sum of coefficient × variable <= bound

    def centre(self, i: int, axis: int) -> int:
        return 6 * i + axis

    def size(self, i: int, axis: int) -> int:
        return 6 * i + 2 + axis

    def drift(self, i: int, axis: int) -> int:
        return 6 * i + 4 + axis

    def solve(self, points: np.ndarray, wanted: np.ndarray, aspect: float) -> np.ndarray | None:
        """Boxes [n, 4], or None if there are none."""
        n, margin, gap = len(points), self.settings.margin, self.settings.gap
        least = 6 * n  # the smallest relative size of all boxes; after it come the differences to be kept small
        count = least + 1 + len(self.level) + len(self.touching)
        cost = np.zeros(count)
        bounds: list[tuple[float, float | None]] = [(0.0, None)] * count
        inner = {i for i, _ in self.within}
        for i in range(n):
            share = _INNER if i in inner else 1.0
            for axis in (0, 1):
                bounds[self.centre(i, axis)] = (margin, 1 - margin)
                bounds[self.size(i, axis)] = (0.0, share * wanted[i, axis])
                self.at_most({self.centre(i, axis): 1, self.size(i, axis): 0.5}, 1 - margin)
                self.at_most({self.centre(i, axis): -1, self.size(i, axis): 0.5}, -margin)
                self.at_most({self.centre(i, axis): 1, self.drift(i, axis): -1}, points[i, axis])
                self.at_most({self.centre(i, axis): -1, self.drift(i, axis): -1}, -points[i, axis])
                self.at_most({least: share * wanted[i, axis], self.size(i, axis): -1}, 0)
                cost[self.size(i, axis)] = -1.0 / wanted[i, axis]
                cost[self.drift(i, axis)] = 0.3
            # Neither side more than 1.6 times the other, in pixels.
            self.at_most({self.size(i, 0): aspect, self.size(i, 1): -1.6}, 0)
            self.at_most({self.size(i, 1): 1, self.size(i, 0): -1.6 * aspect}, 0)
        bounds[least] = (0.0, 1.0)
        cost[least] = -4.0 * n
        for c in self.pairs:
            near = {self.centre(c.first, c.axis): 1, self.centre(c.second, c.axis): -1}
            half = 0.5 * c.share
            self.at_most(
                {**near, self.size(c.first, c.axis): half, self.size(c.second, c.axis): half},
                0 if c.touching else -gap * c.share,
            )
        for inside, outer in self.within:
            for axis in (0, 1):
                sizes = {self.size(inside, axis): 0.5, self.size(outer, axis): -0.5}
                self.at_most({self.centre(inside, axis): 1, self.centre(outer, axis): -1, **sizes}, 0)
                self.at_most({self.centre(inside, axis): -1, self.centre(outer, axis): 1, **sizes}, 0)
                self.at_most({self.size(inside, axis): 1, self.size(outer, axis): -_INNER}, 0)
        for place, (i, j, axis) in enumerate(self.level):
            difference = least + 1 + place
            self.at_most({self.centre(i, axis): 1, self.centre(j, axis): -1, difference: -1}, 0)
            self.at_most({self.centre(i, axis): -1, self.centre(j, axis): 1, difference: -1}, 0)
            cost[difference] = 0.25
        for place, c in enumerate(self.touching):
            between = least + 1 + len(self.level) + place
            halves = {self.size(c.first, c.axis): -0.5, self.size(c.second, c.axis): -0.5}
            self.at_most({self.centre(c.second, c.axis): 1, self.centre(c.first, c.axis): -1, **halves, between: -1}, 0)
            cost[between] = 2.0
        entries = [(row, variable, value) for row, (a, _) in enumerate(self.rows) for variable, value in a.items()]
        rows, variables, values = zip(*entries, strict=True)
        matrix = csr_array((values, (rows, variables)), shape=(len(self.rows), count))
        found = linprog(cost, A_ub=matrix, b_ub=[bound for _, bound in self.rows], bounds=bounds, method="highs")
        if not found.success:
            return None
        values = found.x[: 6 * n].reshape(n, 6)
        half = values[:, 2:4] / 2
        return np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1)

    def at_most(self, coefficients: dict[int, float], bound: float) -> None:
        self.rows.append((coefficients, bound))
