"""Which seeds promise to draw what the prompt says, told from the first part of each one's run.

In the direction of FarsightAlign: whether all objects will be there is decided early, and what a method would repair
tells how much is in want of repair. Three such things are looked at in the maps of the last step that was drawn, and
chosen for how well they tell the pictures of one prompt apart (benchmarks/seeds.py has the figures):

- *weakest*: the strongest pixel of the object whose strongest pixel is weakest. Attend-and-Excite's criterion, on the
  attention itself, which needs no sharpness that fits the model.
- *binding*: SynGen's loss, of attributes that look elsewhere than their objects do.
- *overlap*: how much of their attention two objects give to the same places.

Each is standardised over the seeds, so that all three count alike whatever the model, and their mean is the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from ..maps.distances import pixel_distributions
from ..maps.probabilities import wide
from ..methods.syngen import SynGen
from ..prompt.targets import Targets

# How far seeds that follow each other may go: the host's widget ends there.
_SEEDS = 1 << 64
# Below this spread over the seeds a sign says nothing.
_NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Signs:
    """What a seed's early maps show. Of all three, less is better: `weakest` is negative."""

    weakest: float
    binding: float
    overlap: float


@dataclass(frozen=True)
class Ranked:
    """A seed with its signs; `score` is in standard deviations among the seeds, higher is better."""

    seed: int
    score: float
    signs: Signs


def signs_of(maps: Tensor, targets: Targets) -> Signs:
    """Of one picture's mean maps [1, h, w, tokens]. The prompt must have an object."""
    maps = wide(maps)
    objects = [maps[..., list(target.positions)].mean(dim=-1)[0] for target in targets.objects if target.positions]
    weakest = min(float(own.max()) for own in objects)
    binding = float(SynGen().loss(maps, targets).per_image[0]) if SynGen().applies(targets) else 0.0
    return Signs(-weakest, binding, overlap(torch.stack(objects)))


def overlap(maps: Tensor) -> float:
    """Σ over pairs of maps [T, h, w], each as a distribution over the pixels, of Σ min: 0 to the number of pairs."""
    spread = pixel_distributions(maps)
    return float(sum(torch.minimum(a, b).sum() for a, b in combinations(spread, 2)))


def seeds_from(first: int, count: int) -> list[int]:
    """`count` seeds, one after the other."""
    return [(first + i) % _SEEDS for i in range(count)]


def ranked(seeds: Sequence[int], signs: Sequence[Signs]) -> list[Ranked]:
    """Best first; of equals the earlier drawn is first."""
    table = np.array([(one.weakest, one.binding, one.overlap) for one in signs], dtype=np.float64)
    table = np.nan_to_num(table, nan=0.0)
    spread = table.std(axis=0)
    standard = np.where(spread > _NO_SPREAD, (table - table.mean(axis=0)) / np.maximum(spread, _NO_SPREAD), 0.0)
    scores = -standard.mean(axis=1)
    order = np.argsort(-scores, kind="stable")
    return [Ranked(seeds[i], float(scores[i]), signs[i]) for i in order]


def summary(best_first: Sequence[Ranked]) -> str:
    """A line per seed, best first."""
    lines = ["Seeds by what the first part of the run promises, in standard deviations (higher is better):"]
    for place, one in enumerate(best_first, start=1):
        lines.append(
            f"{place}. seed {one.seed}: {one.score:+.2f} (weakest object's peak {-one.signs.weakest:.3f}, "
            f"attributes astray {one.signs.binding:.3f}, overlap {one.signs.overlap:.3f})"
        )
    return "\n".join(lines)
