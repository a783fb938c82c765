"""A layout from the model's own early cross-attention: each object where the model already looks for it.

Attention maps of all words are alike in the first steps: a broad hill in the middle. What tells objects apart is where
a map exceeds the others', so the centre of mass is taken of that excess. Objects whose centres fall together are then
moved apart by assigning each to a cell of its own (scipy.optimize.linear_sum_assignment) so that they keep as much
of their attention as possible, under the prompt's relations.
"""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..errors import MethodError
from ..prompt.targets import Targets
from .boxes import Layout
from .solver import SolverSettings, around

# Weight of the distance to the centre of mass against the share of attention in a cell.
_DISTANCE = 2.0
# What a violated relation adds, per round, to the cost of a cell at the wrong end of its axis: a share of the largest.
_VIOLATION = 0.1
_ROUNDS = 60
# How far from the middle of its cell an object may stand, in cells: under a half, so that neighbours stay apart.
_WITHIN = 0.4


def centres_of_mass(maps: Tensor) -> np.ndarray:
    """[T, h, w] → [T, 2]: x and y in 0..1 of the centre of each map's excess over the mean of all maps."""
    excess = _excess(maps)
    t, h, w = excess.shape
    mass = excess.sum(dim=(1, 2)).clamp_min(1e-12)
    x = (excess.sum(dim=1) * ((torch.arange(w) + 0.5) / w)).sum(dim=1) / mass
    y = (excess.sum(dim=2) * ((torch.arange(h) + 0.5) / h)).sum(dim=1) / mass
    return torch.stack([x, y], dim=1).double().numpy()


def _excess(maps: Tensor) -> Tensor:
    """[T, h, w] ≥ 0: each map as a distribution, less the mean of all; squared, so that a peak outweighs a plain."""
    maps = maps.detach().to("cpu", torch.float64)
    shares = maps / maps.sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    excess = (shares - shares.mean(dim=0)).relu() if len(maps) > 1 else (shares - shares.mean()).relu()
    # A map that exceeds the others nowhere, such as a second mention's, speaks for itself.
    empty = excess.sum(dim=(1, 2), keepdim=True) <= 1e-12
    return torch.where(empty, shares, excess) ** 2


def from_attention(
    maps: Tensor, targets: Targets, width: int, height: int, settings: SolverSettings | None = None
) -> Layout:
    """A layout near the centres of the objects' attention `maps` [T, h, w], T being the number of objects.

    Raises MethodError if there is not one map per object.
    """
    if len(maps) != len(targets.objects):
        raise MethodError(
            f"There are attention maps of {len(maps)} objects, but the prompt has {len(targets.objects)}. "
            "Connect the conditioning and the targets of one Extract Targets node."
        )
    if not len(maps):
        return Layout((), width, height)
    return around(assign(maps, targets, width, height), targets, width, height, settings)


def assign(maps: Tensor, targets: Targets, width: int, height: int) -> np.ndarray:
    """Centres [T, 2]: every object in a cell of its own, as near to its attention as the relations allow."""
    centres = centres_of_mass(maps)
    rows, columns = _grid(len(maps), width, height)
    cells = np.array([((c + 0.5) / columns, (r + 0.5) / rows) for r in range(rows) for c in range(columns)])
    share = adaptive_avg_pool2d(_excess(maps)[:, None], (rows, columns)).flatten(1)  # [T, cells]
    share = (share / share.sum(dim=1, keepdim=True).clamp_min(1e-12)).numpy()
    cost = _DISTANCE * np.linalg.norm(centres[:, None] - cells[None], axis=-1) - share
    chosen = _under_relations(cost, cells, targets)
    half = np.array([_WITHIN / columns, _WITHIN / rows])
    # Within its cell an object stands as near to its centre of mass as it can.
    return np.clip(centres, cells[chosen] - half, cells[chosen] + half)


def _grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of about square cells, more than twice as many as objects."""
    cells = 2 * count + 2
    columns = max(ceil(sqrt(cells * width / height)), 2)
    return max(ceil(cells / columns), 2), columns


def _under_relations(cost: np.ndarray, cells: np.ndarray, targets: Targets) -> np.ndarray:
    """The cheapest assignment [T] of objects to cells in which the relations of direction hold.

    An assignment knows no pairs, so relations enter as prices: while one is violated, cells become dearer for both of
    its objects the farther they lie towards the wrong end. Contradictory orders are left to the boxes' solver.
    """
    cost = cost.copy()
    price = _VIOLATION * max(float(np.ptp(cost)), 1e-6)
    chosen = linear_sum_assignment(cost)[1]
    for _ in range(_ROUNDS):
        violated = [r for r in targets.relations if r.axis and not _held(cells, chosen, r)]
        if not violated:
            break
        for relation in violated:
            axis, sign = relation.axis
            along = cells[:, 0 if axis == "x" else 1] * sign
            cost[relation.subject] -= price * along
            cost[relation.object] += price * along
        chosen = linear_sum_assignment(cost)[1]
    return chosen


def _held(cells: np.ndarray, chosen: np.ndarray, relation) -> bool:
    axis, sign = relation.axis
    index = 0 if axis == "x" else 1
    return bool((cells[chosen[relation.subject], index] - cells[chosen[relation.object], index]) * sign > 0)
