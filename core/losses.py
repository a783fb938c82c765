"""The mathematics that the losses on attention maps share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# The clamp on norms of torch's cosine_similarity, which the published code uses.
COSINE_EPS = 1e-8


@dataclass(frozen=True)
class Losses:
    """A method's loss of every image of a batch, and the parts that it is made of.

    per_image [B] is what the latent descends on; per_target [B, T] what the artist reads, column t named `names[t]`.
    """

    per_image: Tensor
    per_target: Tensor
    names: tuple[str, ...]


def first_max(values: Tensor, dim: int = -1) -> Tensor:
    """Maximum along `dim`, whose gradient flows to the first maximal entry alone (amax shares it among equals)."""
    return values.gather(dim, values.argmax(dim=dim, keepdim=True)).squeeze(dim)


def cosine_matrix(maps: Tensor) -> Tensor:
    """Cosine similarity over the pixels of every two maps, [B, n, pixels] → [B, n, n]; that of a zero map is 0."""
    unit = maps / torch.linalg.vector_norm(maps, dim=-1, keepdim=True).clamp_min(COSINE_EPS)
    return unit @ unit.transpose(-1, -2)
