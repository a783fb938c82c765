"""How much better a picture fits the prompt than prompts without the object.

ε(c) = ‖D(x + σn, σ, c) − x‖² is how badly the model denoises the picture x under the prompt c. The published classifier
takes the prompt whose ε, averaged over noise n and level σ, is least; here an object is in the picture if that is the
artist's prompt, and none of those that do not ask for the object. All prompts see the same noise, as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Noise over picture at the first look and at the last. With less noise the picture itself tells what it is, and the
# prompt makes no difference; with more nothing of it is left.
MOST_NOISE, LEAST_NOISE = 12.0, 3.0


@dataclass(frozen=True)
class Evidence:
    """`gains` [B, T]: by which part of the error the prompt fits each picture better than the best-fitting prompt
    without the object; below 0 that fits better. NaN for an object that was not asked for. `looks` are the noisy
    copies of each picture that were denoised, in `passes` passes of the network and `seconds` altogether.
    """

    gains: Tensor
    looks: int
    passes: int
    seconds: float


def noise_levels(looks: int) -> list[float]:
    """Noise over picture for each look, evenly spaced in its logarithm."""
    if looks == 1:
        return [float(np.sqrt(MOST_NOISE * LEAST_NOISE))]
    return np.geomspace(MOST_NOISE, LEAST_NOISE, looks).tolist()


def gains(errors: Tensor, whose: Sequence[int], count: int) -> Tensor:
    """[B, count] from the errors [looks, 1 + contrasts, B], the prompt's own first, and the object of each contrast."""
    relative = (errors[:, 1:] / errors[:, :1] - 1.0).mean(dim=0)  # [contrasts, B]
    found = torch.full((errors.shape[2], count), torch.nan)
    for t in set(whose):
        found[:, t] = relative[[i for i, owner in enumerate(whose) if owner == t]].amin(dim=0)
    return found
