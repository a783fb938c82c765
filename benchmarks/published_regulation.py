"""Attention Regulation's edit of one layer the published way, written plainly: the measure that ours is held against.

Twenty iterations, each of which adds the bumps to the scores, takes a softmax over all tokens and differentiates it
with autograd, anomaly mode on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def bumps(side: int) -> Tensor:
    """[centres, side * side]: Gaussians with sigma = side / 16, 2 sigma apart, the x of a centre varying slowest."""
    sigma = side // 16
    centres = [(x, y) for x in range(2 * sigma, side, 2 * sigma) for y in range(2 * sigma, side, 2 * sigma)]
    at = torch.arange(side)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)).flatten() for cx, cy in centres])


def published_edit(scores: Tensor, columns: list[int], weights: Tensor, iterations: int = 20) -> Tensor:
    """Edited scores of the conditional rows: scores [rows, pixels, tokens], starting weights [rows, centres, T]."""
    rows, pixels, _ = scores.shape
    count = len(columns)
    grid = bumps(math.isqrt(pixels))
    share = min(1.0, 0.2 * count) / count
    best, lowest = None, math.inf
    with torch.enable_grad(), torch.autograd.set_detect_anomaly(True):
        for _ in range(iterations):
            weights = weights.detach().requires_grad_()
            added = torch.einsum("rct,cp->rpt", weights, grid)
            edited = scores.clone()
            edited[:, :, columns] = edited[:, :, columns] + added
            p = edited.softmax(dim=-1)[:, :, columns]
            peaks = ((torch.quantile(p, 0.9, dim=1) - 0.9) ** 2).mean()
            shares = ((p.mean(dim=1) - share) ** 2).mean()
            loss = peaks + 80.0 * shares + 0.09 * (weights**2).mean()
            if loss.item() < lowest:
                best, lowest = added.detach(), loss.item()
            (gradient,) = torch.autograd.grad(loss, weights)
            weights = weights - rows * 100.0 * gradient
    edited = scores.clone()
    edited[:, :, columns] += best
    return edited
