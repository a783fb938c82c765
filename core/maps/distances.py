"""How far apart attention maps are: the mathematics that the losses share."""

from __future__ import annotations

import torch
from torch import Tensor

# The clamp on norms of torch's cosine_similarity, which the published code uses.
COSINE_EPS = 1e-8
# Inside a logarithm a probability is kept this far from 0 and 1: the clamp of torch.distributions, which SynGen uses.
LOG_EPS = torch.finfo(torch.float32).eps


def first_max(values: Tensor, dim: int = -1) -> Tensor:
    """Maximum along `dim`, whose gradient flows to the first maximal entry alone (amax shares it among equals)."""
    return values.gather(dim, values.argmax(dim=dim, keepdim=True)).squeeze(dim)


def cosine_matrix(maps: Tensor) -> Tensor:
    """Cosine similarity over the pixels of every two maps, [B, n, pixels] → [B, n, n]; that of a zero map is 0."""
    unit = maps / torch.linalg.vector_norm(maps, dim=-1, keepdim=True).clamp_min(COSINE_EPS)
    return unit @ unit.transpose(-1, -2)


def pixel_distributions(maps: Tensor) -> Tensor:
    """Every map divided by its sum over the pixels: [..., h, w] → [..., h·w]; a map of zeros stays zero."""
    flat = maps.flatten(-2)
    return flat / flat.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)


def symmetric_kl(p: Tensor, q: Tensor) -> Tensor:
    """½·(KL(p‖q) + KL(q‖p)) over the last axis, [..., pixels] → [...], the other axes broadcast.

    Where one of the two is exactly 0 the divergence proper is infinite; here that pixel counts with the clamped
    logarithm and pulls nothing.
    """
    log_p, log_q = (x.clamp(LOG_EPS, 1 - LOG_EPS).log() for x in (p, q))
    terms = (p - q) * (log_p - log_q) / 2
    return torch.where((p > 0) & (q > 0), terms, terms.detach()).sum(dim=-1)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """½·(KL(p‖m) + KL(q‖m)) with m = (p + q)/2 over the last axis, in nats: between 0 and ln 2."""
    log_m = ((p + q) / 2).clamp_min(LOG_EPS).log()
    return sum((x * (x.clamp_min(LOG_EPS).log() - log_m)).sum(dim=-1) for x in (p, q)) / 2


def from_their_mean(distributions: Tensor) -> Tensor:
    """KL(q‖m) of each of n distributions, m being their mean: [..., n, pixels] → [..., n], in nats, from 0 to ln n.

    The mean over n is their generalised Jensen-Shannon divergence.
    """
    tiny = torch.finfo(distributions.dtype).tiny
    mean = distributions.mean(dim=-2, keepdim=True)
    return (distributions * (distributions.clamp_min(tiny).log() - mean.clamp_min(tiny).log())).sum(dim=-1)
