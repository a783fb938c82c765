"""What a loss on attention maps gives, and several of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Losses:
    """A method's loss of every image of a batch, and the parts that it is made of.

    per_image [B] is what the latent descends on; per_target [B, T] what the artist reads, column t named `names[t]`.
    """

    per_image: Tensor
    per_target: Tensor
    names: tuple[str, ...]


def weighted(all_losses: Sequence[Losses], weights: Sequence[float], titles: Sequence[str]) -> Losses:
    """Several methods' losses as one: their weighted sum per image, and everyone's columns, named
    by method and target.
    """
    if len(all_losses) == 1 and weights[0] == 1.0:
        return all_losses[0]
    per_image = sum(weight * losses.per_image for weight, losses in zip(weights, all_losses, strict=True))
    names = tuple(f"{title}: {name}" for title, losses in zip(titles, all_losses, strict=True) for name in losses.names)
    return Losses(per_image, torch.cat([losses.per_target for losses in all_losses], dim=1), names)
