"""The two pixels between which a quantile lies: all that its gradient reaches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...keeping import by_size


@by_size
def quantile_rank(quantile: float, count: int, dtype: torch.dtype = torch.float32) -> tuple[int, float]:
    """(lower, fraction): the quantile of `count` values lies `fraction` of the way from sorted value lower to lower +
    1.

    In the values' `dtype` as in torch.quantile: 0.9 · 1023 is 920.69995 in float32, and a descent that follows the
    exact rank may branch off to another pixel.
    """
    number = np.float64 if dtype == torch.float64 else np.float32
    rank = number(quantile) * number(count - 1)
    lower = np.floor(rank)
    return int(lower), float(rank - lower)


def sorted_neighbours(values: Tensor, lower: int) -> tuple[Tensor, Tensor]:
    """Values and pixels at sorted places `lower` and `lower + 1`: [rows, pixels] → two tensors [rows, 2]."""
    top, pixels = values.topk(values.shape[1] - lower, dim=1)
    places = [-1, -2 if top.shape[1] > 1 else -1]
    return top[:, places], pixels[:, places]
