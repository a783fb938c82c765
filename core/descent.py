"""The loop of Attention Regulation's descent, twice: in torch for any device, and in NumPy for the CPU.

The arrays are so small (4,096 numbers for a layer of Stable Diffusion 1.5) that the time goes into calling functions, and
NumPy's are called in half the time of torch's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .quantile import sorted_neighbours

# A target this far above or below all other tokens together has probability 1 or 0 to the last digit of float32, and no
# gradient. Farther below its probability would be a denormal number, which slows the arithmetic tenfold.
_CERTAIN = 60.0


@dataclass(frozen=True)
class Course:
    """The constants of a descent.

    The quantile lies `fraction` of the way between the pixels at sorted places `lower` and `upper`. With `push` as its
    unit, ∂L/∂p is mean − share at every pixel, plus (quantile − peak) · pull at the two pixels of the quantile, each by
    its part. An update is weights · shrink − step · gradient.
    """

    iterations: int
    lower: int
    upper: int
    fraction: float
    peak: float
    share: float
    pull: float
    shrink: float
    step: float


@dataclass(frozen=True)
class Trace:
    """Every iteration before its update: weights [iterations, n, centres], quantiles and means [iterations, n]."""

    weights: Tensor
    quantiles: Tensor
    means: Tensor


def run(base: Tensor, start: Tensor, matrix: Tensor, transposed: Tensor, course: Course) -> Trace:
    """The descent from `start` [T, rows, centres] on `base` [T, rows, pixels]; n = T · rows in the trace.

    `matrix` [centres, pixels] holds the bumps, `transposed` is its transpose.
    """
    loop = run_in_numpy if base.device.type == "cpu" else run_in_torch
    return loop(base, start, matrix, transposed, course)


def run_in_torch(base: Tensor, start: Tensor, matrix: Tensor, transposed: Tensor, course: Course) -> Trace:
    targets, rows, pixels = base.shape
    count = matrix.shape[0]
    between = base.new_tensor([1.0 - course.fraction, course.fraction])
    pull, mean_of = between * course.pull, base.new_full((pixels,), 1.0 / pixels)
    base = base.reshape(targets * rows, pixels)
    weights = base.new_empty(course.iterations, targets * rows, count)
    quantiles, means = base.new_empty(2, course.iterations, targets * rows)
    weights[0] = start.reshape(targets * rows, count)
    # `p` and `g` are [T * rows, pixels]; their views p3 and g3 are [T, rows, pixels].
    p, g = torch.empty_like(base), torch.empty_like(base)
    p3, g3 = p.view(targets, rows, pixels), g.view(targets, rows, pixels)
    total = base.new_empty(rows, pixels)
    for i, (now, quantile, mean) in enumerate(zip(weights.unbind(0), quantiles.unbind(0), means.unbind(0), strict=True)):
        torch.addmm(base, now, matrix, out=p)
        p.clamp_(-_CERTAIN, _CERTAIN).exp_()
        torch.sum(p3, 0, out=total)
        p3.div_(total.add_(1.0))
        values, places = sorted_neighbours(p, course.lower)
        torch.mv(values, between, out=quantile)
        torch.mv(p, mean_of, out=mean)
        if i == course.iterations - 1:
            break
        # g = p·∂L/∂p, then p·(∂L/∂p − Σ p·∂L/∂p)
        torch.mul(p, (mean - course.share).unsqueeze(1), out=g)
        g.scatter_add_(1, places, values * torch.outer(quantile - course.peak, pull))
        torch.sum(g3, 0, out=total)
        g3.addcmul_(p3, total, value=-1.0)
        torch.addmm(now, g, transposed, beta=course.shrink, alpha=-course.step, out=weights[i + 1])
    return Trace(weights, quantiles, means)


def run_in_numpy(base: Tensor, start: Tensor, matrix: Tensor, transposed: Tensor, course: Course) -> Trace:
    targets, rows, pixels = base.shape
    count = matrix.shape[0]
    logits, bumps, from_pixels = (t.numpy() for t in (base.reshape(targets * rows, pixels), matrix, transposed))
    number = logits.dtype.type  # NumPy would widen single precision by a Python float in an array
    between = np.array([1.0 - course.fraction, course.fraction], dtype=number)
    pull, mean_of = between * number(course.pull), np.full(pixels, 1.0 / pixels, dtype=number)
    peak, share, shrink, step = (number(x) for x in (course.peak, course.share, course.shrink, course.step))
    weights = np.empty((course.iterations, targets * rows, count), dtype=number)
    quantiles, means = np.empty((2, course.iterations, targets * rows), dtype=number)
    weights[0] = start.reshape(targets * rows, count).numpy()
    p, g, ordered, share_of = (np.empty_like(logits) for _ in range(4))
    p3, g3, share_of3 = (x.reshape(targets, rows, pixels) for x in (p, g, share_of))
    total, there = np.empty((rows, pixels), dtype=number), np.empty(logits.shape, dtype=bool)
    change, each = np.empty((targets * rows, count), dtype=number), np.arange(targets * rows)
    for i, (now, quantile, mean) in enumerate(zip(weights, quantiles, means, strict=True)):
        np.matmul(now, bumps, out=p)
        np.add(p, logits, out=p)
        np.clip(p, -_CERTAIN, _CERTAIN, out=p)
        np.exp(p, out=p)
        np.add.reduce(p3, axis=0, out=total)
        total += 1
        np.divide(p3, total, out=p3)
        ordered[:] = p
        ordered.sort(axis=1)
        values = ordered[:, [course.lower, course.upper]]
        np.matmul(values, between, out=quantile)
        np.matmul(p, mean_of, out=mean)
        if i == course.iterations - 1:
            break
        # g = p·∂L/∂p, then p·(∂L/∂p − Σ p·∂L/∂p)
        np.multiply(p, (mean - share)[:, None], out=g)
        beyond = quantile - peak
        for side in (0, 1):
            np.equal(p, values[:, side, None], out=there)
            g[each, there.argmax(axis=1)] += values[:, side] * beyond * pull[side]
        np.add.reduce(g3, axis=0, out=total)
        np.multiply(p3, total, out=share_of3)
        np.subtract(g, share_of, out=g)
        np.matmul(g, from_pixels, out=change)
        change *= step
        np.multiply(now, shrink, out=weights[i + 1])
        weights[i + 1] -= change
    return Trace(*(torch.from_numpy(x) for x in (weights, quantiles, means)))
