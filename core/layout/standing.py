"""Whether the objects of a picture stand where the layout put them, as far as their attention tells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MethodError
from ..maps.probabilities import smooth
from ..prompt.targets import Targets
from .boxes import Layout
from .regions import regions


@dataclass(frozen=True)
class Standing:
    """One object of one picture: whether its attention peaks inside its place, and which share of it lies there."""

    name: str
    inside: bool
    share: float


def standings(maps: Tensor, targets: Targets, layout: Layout) -> list[list[Standing]]:
    """For each image of maps [B, T, h, w] its placed objects' standings; T are the objects that have words of their
    own, in the prompt's order. Empty if the layout is of other objects.
    """
    try:
        layout.check(targets)
    except MethodError:
        return []
    columns = [i for i, target in enumerate(targets.objects) if target.positions]
    maps = smooth(maps.detach().float())
    h, w = maps.shape[-2:]
    found: list[list[Standing]] = [[] for _ in maps]
    for placement, region in zip(layout.placements, regions(layout, h, w), strict=True):
        if placement.target not in columns:
            continue
        own = maps[:, columns.index(placement.target)]  # [B, h, w]
        peaks = own.flatten(1).argmax(dim=1)
        shares = (own * region).sum(dim=(1, 2)) / own.sum(dim=(1, 2)).clamp_min(torch.finfo(own.dtype).tiny)
        for image, (peak, share) in enumerate(zip(peaks.tolist(), shares.tolist(), strict=True)):
            inside = bool(region.flatten()[peak] > 0.5)
            found[image].append(Standing(placement.name, inside, share))
    return found
