"""The loop of Attention Regulation's descent, twice: in torch for any device, and in NumPy for the CPU.

The arrays are so small (4,096 numbers for a layer of Stable Diffusion 1.5) that much of the time goes into calling
functions, and NumPy's are called in half the time of torch's. Tried for such a layer, and no quicker: np.partition and
np.argpartition instead of sorting, bumps as products of two profiles, BLAS with the update folded in.
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


def quick(tensor: Tensor) -> Tensor | np.ndarray:
    """The tensor as an array of the library that is quicker at small ones on its device."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


@dataclass(frozen=True)
class Course:
    """The constants of a descent.

    The quantile lies `fraction` of the way between the pixels at sorted places `lower` and `upper`. With `push` as its
    unit, ∂L/∂p is mean − share at every pixel, plus (quantile − peak) · pull at the two pixels of the quantile, each by
    its part. An update is weights · shrink − step · gradient. The loss is (quantile − peak)² + share_weight ·
    (mean − share)² + size_weight · mean of weights², each the mean over the targets.
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
    share_weight: float
    size_weight: float

    def loss(self, quantiles, means, squares):
        """Each target's part of the loss, from its quantile, mean and mean squared weight: arrays of either library."""
        return (quantiles - self.peak) ** 2 + self.share_weight * (means - self.share) ** 2 + self.size_weight * squares


@dataclass(frozen=True)
class Trace:
    """Every iteration before its update: weights [iterations, T, rows, centres], losses [iterations, rows].

    A loss that is not a number counts as infinite.
    """

    weights: Tensor
    losses: Tensor


def run(base: Tensor, start: Tensor, matrix: Tensor, transposed: Tensor, course: Course) -> Trace:
    """The descent from `start` [T, rows, centres] on `base` [T, rows, pixels].

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
    for i, (now, quantile, mean) in enumerate(
        zip(weights.unbind(0), quantiles.unbind(0), means.unbind(0), strict=True)
    ):
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
    each = course.loss(quantiles, means, weights.square().mean(dim=-1)).unflatten(1, (targets, rows))
    losses = each.mean(dim=1).nan_to_num_(nan=torch.inf, posinf=torch.inf)
    return Trace(weights.unflatten(1, (targets, rows)), losses)


# A descent whose steps are too large may overflow: its losses are infinite then, which is no cause for warnings.
@np.errstate(over="ignore", invalid="ignore")
def run_in_numpy(base: Tensor, start: Tensor, matrix: Tensor, transposed: Tensor, course: Course) -> Trace:
    targets, rows, pixels = base.shape
    n, count = targets * rows, matrix.shape[0]
    logits, bumps = base.reshape(n, pixels).numpy(), matrix.numpy()
    number = logits.dtype.type  # NumPy would widen single precision by a Python float in an array
    from_pixels = transposed.numpy() * number(course.step)
    constants = (course.peak, course.share, course.shrink, -_CERTAIN, _CERTAIN)
    peak, share, shrink, least, most = (np.array(x, number) for x in constants)
    # The largest value has no neighbour beyond it.
    neighbours = slice(course.lower, course.upper + 1)
    between = np.array([1.0 - course.fraction, course.fraction][: course.upper - course.lower + 1], number)
    pull, mean_of = between * number(course.pull), np.full(pixels, 1.0 / pixels, number)

    weights = np.empty((course.iterations, n, count), number)
    quantiles, means = np.empty((2, course.iterations, n), number)
    weights[0] = start.reshape(n, count).numpy()
    # All room that an iteration needs, and all views of it, so that the loop only calculates.
    p, g, ordered, part = np.empty((4, n, pixels), number)
    p3, g3, part3 = (x.reshape(targets, rows, pixels) for x in (p, g, part))
    total, change = np.empty((rows, pixels), number), np.empty((n, count), number)
    values = ordered[:, neighbours]
    p_each, values_each, g_flat = p[:, None], values[:, :, None], g.reshape(-1)
    there, first = np.empty((n, len(between), pixels), bool), np.arange(0, n * pixels, pixels)[:, None]
    excess, missing = np.empty((2, n, 1), number)
    excess_row, missing_row = excess[:, 0], missing[:, 0]
    push = np.empty((n, len(between)), number)

    for i, (now, quantile, mean) in enumerate(zip(weights, quantiles, means, strict=True)):
        np.dot(now, bumps, out=p)
        np.add(p, logits, out=p)
        p.clip(least, most, out=p)
        np.exp(p, out=p)
        np.add.reduce(p3, axis=0, out=total, initial=1.0)
        np.reciprocal(total, out=total)  # dividing by an array that is repeated takes NumPy three times as long
        np.multiply(p3, total, out=p3)
        np.copyto(ordered, p)
        ordered.sort(axis=1)
        np.matmul(values, between, out=quantile)
        np.dot(p, mean_of, out=mean)
        if i == course.iterations - 1:
            break
        # g = p·∂L/∂p, then p·(∂L/∂p − Σ p·∂L/∂p)
        np.subtract(mean, share, out=excess_row)
        np.multiply(p, excess, out=g)
        np.subtract(quantile, peak, out=missing_row)
        np.multiply(values, missing, out=push)
        np.multiply(push, pull, out=push)
        np.equal(p_each, values_each, out=there)
        places = there.argmax(axis=2)
        places += first
        np.add.at(g_flat, places, push)
        np.add.reduce(g3, axis=0, out=total)
        np.multiply(p3, total, out=part3)
        np.subtract(g, part, out=g)
        np.dot(g, from_pixels, out=change)
        following = weights[i + 1]
        np.multiply(now, shrink, out=following)
        np.subtract(following, change, out=following)
    each = course.loss(quantiles, means, np.einsum("inc,inc->in", weights, weights) / count)
    losses = np.fmin(each.reshape(-1, targets, rows).mean(axis=1), np.inf)  # fmin prefers whatever is a number
    return Trace(torch.from_numpy(weights.reshape(-1, targets, rows, count)), torch.from_numpy(losses))
