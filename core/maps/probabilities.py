"""Cross-attention maps: from queries and keys to one mean map per image, and the smoothing that the methods share."""

from __future__ import annotations

from math import exp, sqrt

import torch
from torch import Tensor

SMOOTHING_SIGMA = 0.5


def wide(x: Tensor) -> Tensor:
    """`x` in the precision of scores, losses and updates: float32, or float64 if it is that already."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def scores(q: Tensor, k: Tensor, scale: float | None = None, mask: Tensor | None = None) -> Tensor:
    """q kᵀ · scale + mask: q [rows, heads, pixels, d], k [rows, heads, tokens, d] → float32 [rows, heads, pixels,
    tokens].

    `scale` is 1/√d unless given. `mask` broadcasts to the scores: it is added, or, if boolean, False shuts a token out.
    """
    q, k = wide(q), wide(k)
    product = (q * (1.0 / sqrt(q.shape[-1]) if scale is None else scale)) @ k.transpose(-1, -2)
    if mask is None:
        return product
    return product.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else product + mask.to(product.dtype)


def probabilities(q: Tensor, k: Tensor, scale: float | None = None, mask: Tensor | None = None) -> Tensor:
    """Softmax of `scores` over the tokens, written out so that it can be recorded and differentiated."""
    return scores(q, k, scale, mask).softmax(dim=-1)


def fold_repeats(probs: Tensor, tokens: int) -> Tensor:
    """Undo the repetition of a conditioning that was batched with a longer one: [..., r·tokens] → [..., tokens].

    The copies share a token's probability among them, so a token has the sum over its copies.
    """
    if probs.shape[-1] % tokens:
        raise ValueError(f"{probs.shape[-1]} columns are no whole number of copies of {tokens} tokens")
    return probs if probs.shape[-1] == tokens else probs.unflatten(-1, (-1, tokens)).sum(dim=-2)


def smoothing_weights(sigma: float = SMOOTHING_SIGMA) -> tuple[float, float]:
    """(centre, side) of the three taps whose outer product is the 3×3 smoothing kernel.

    The published codes (Attend-and-Excite, T-SAM) use exp(−(d/2σ)²), not the Gaussian exp(−d²/2σ²): centre .332,
    edge .122, corner .045 for σ = 0.5.
    """
    side = exp(-((1 / (2 * sigma)) ** 2))
    return 1 / (1 + 2 * side), side / (1 + 2 * side)


def smooth(maps: Tensor, sigma: float = SMOOTHING_SIGMA) -> Tensor:
    """Smooth [..., h, w] with the 3×3 kernel of `smoothing_weights`; beyond the border the map is mirrored.

    Shifted sums instead of a convolution: exact float32 on every device (a convolution may run in TF32) and a
    deterministic gradient. A side of 1 has nothing to mirror and is repeated.
    """
    for dim in (-1, -2):
        maps = _smooth_along(maps, dim, sigma)
    return maps


def _smooth_along(maps: Tensor, dim: int, sigma: float) -> Tensor:
    size = maps.shape[dim]
    if size == 1:
        return maps
    centre, side = smoothing_weights(sigma)
    before = torch.cat([maps.narrow(dim, 1, 1), maps.narrow(dim, 0, size - 1)], dim)
    after = torch.cat([maps.narrow(dim, 1, size - 1), maps.narrow(dim, size - 2, 1)], dim)
    return centre * maps + side * (before + after)


class MapMean:
    """Mean map over all heads of all layers of one resolution, kept as a running sum (a layer counts by its heads)."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._heads = 0
        self._size: tuple[int, int] | None = None

    @property
    def layers_seen(self) -> bool:
        return self._sum is not None

    def add(self, probs: Tensor, h: int, w: int) -> None:
        """Take in one layer's probabilities [B, heads, h·w, tokens]."""
        if self._size is not None and self._size != (h, w):
            raise ValueError(f"a layer's map is {h}×{w}, those before it are {self._size[0]}×{self._size[1]}")
        if probs.shape[-2] != h * w:
            raise ValueError(f"{probs.shape[-2]} pixels do not make a map of {h}×{w}")
        total = wide(probs).sum(dim=1)  # [B, heads, h*w, tokens] -> [B, h*w, tokens]
        self._sum = total if self._sum is None else self._sum + total
        self._heads += probs.shape[1]
        self._size = (h, w)

    @property
    def mean(self) -> Tensor:
        """[B, h, w, tokens], differentiable if the probabilities were."""
        if self._sum is None:
            raise ValueError("no layer was recorded")
        return (self._sum / self._heads).unflatten(1, self._size)
