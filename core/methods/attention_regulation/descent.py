"""The descent inside Attention Regulation: maps to add to the targets' scores so that each target gets its share.

Zhang et al., ECCV 2024, arXiv 2403.06381. The published code differentiates a softmax over all 77 tokens with autograd.
Only the targets' columns change, though, so the other tokens enter as one number per pixel (the log-sum-exp of their
scores), and the gradient is written out below.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .bumps import Bumps
from .loop import Course, quick, run
from .quantile import quantile_rank

# A sum of exponentials whose logarithm is no farther from 0 than this has lost nothing to overflow or underflow.
_PLAIN = 57.0


@dataclass(frozen=True)
class Aim:
    """What the descent works towards in every row, T targets: the sum of three means over targets (and bumps).

    (q − peak)², q being the target's `quantile` over the pixels; share_weight · (mean − share)², the mean over the
    pixels, share = min(1, share_each · T) / T; size_weight · weight².
    """

    quantile: float = 0.9
    peak: float = 0.9
    share_each: float = 0.2
    share_weight: float = 80.0
    size_weight: float = 0.09

    def share(self, targets: int) -> float:
        return min(1.0, self.share_each * targets) / targets


@dataclass(frozen=True)
class Descent:
    """Every iteration of a descent, before its update.

    `weights` [iterations, T, rows, centres], `losses` [iterations, rows]. What is not a number counts as infinite.
    """

    weights: Tensor
    losses: Tensor
    bumps: Bumps

    def best(self, images: int) -> Tensor:
        """Index of each image's iteration of lowest mean loss over its rows, the first of equals: [images]."""
        losses = quick(self.losses)
        return torch.as_tensor(losses.reshape(len(losses), images, -1).mean(2).argmin(0))

    def added(self, best: Tensor) -> Tensor:
        """The map to add of the iteration `best` [images], [T, rows, pixels]; 0 where a loss is infinite."""
        weights, losses, matrix, best = (quick(x) for x in (self.weights, self.losses, self.bumps.matrix, best))
        iterations, targets, rows, count = weights.shape
        each = list(range(len(best)))
        kept = weights.reshape(iterations, targets, len(each), -1, count)[best, :, each]  # [images, T, heads, centres]
        hopeless = losses.reshape(iterations, len(each), -1)[best, each] == torch.inf  # [images, heads]
        kept.swapaxes(1, 2)[hopeless] = 0.0
        return torch.as_tensor(kept.swapaxes(0, 1).reshape(targets, rows, count) @ matrix)


def against_rest(scores: Tensor, groups: list[list[int]]) -> Tensor:
    """Each target's score over that of all other tokens together: scores [..., pixels, tokens] → [T, rows, pixels].

    `groups` are the targets' token positions. A target of several tokens counts as one whose probability is their sum:
    what is added to all of its tokens alike adds to their log-sum-exp.
    """
    others = log_sum_of_rest(scores, [p for group in groups for p in group])  # [..., pixels]
    base = others.new_empty(len(groups), *others.shape)
    for one, group in zip(base, groups, strict=True):
        own = scores[..., group[0]] if len(group) == 1 else scores[..., group].logsumexp(dim=-1)
        torch.sub(own, others, out=one)
    return base.flatten(1, -2)


def log_sum_of_rest(scores: Tensor, left_out: list[int]) -> Tensor:
    """log Σ exp over all columns but those `left_out`: [..., tokens] → [...]."""
    if scores.device.type != "cpu":  # where asking whether all is well costs more than the sum
        return _log_sum_of_rest_at_any_scale(scores, left_out)
    counts = [1.0] * scores.shape[-1]
    for column in left_out:
        counts[column] = 0.0
    # Attention scores are seldom beyond what exp can take, so the maximum need not be found and subtracted first. A
    # column left out that overflows makes nan of its row, which fails the test as well.
    sums = (scores.exp() @ scores.new_tensor(counts)).log_()
    least, most = sums.aminmax()
    if -_PLAIN < least and most < _PLAIN:
        return sums
    return torch.where(sums.abs() < _PLAIN, sums, _log_sum_of_rest_at_any_scale(scores, left_out))


def _log_sum_of_rest_at_any_scale(scores: Tensor, left_out: list[int]) -> Tensor:
    columns = torch.tensor(left_out, device=scores.device)
    return scores.index_fill(-1, columns, -torch.inf).logsumexp(dim=-1)


def descend(base: Tensor, start: Tensor, bumps: Bumps, aim: Aim, iterations: int, rate: float) -> Descent:
    """Plain gradient descent on the bumps' weights, each row (an image's head) by itself.

    base [T, rows, pixels] from `against_rest`, start [T, rows, centres]. The published step, rows · rate · gradient of
    the mean over the rows, is that of each row alone: rate · gradient of the row's loss.

    With z = base + Σ w·bump the probabilities are p_t = exp z_t / (1 + Σ_u exp z_u), and a loss with derivatives
    g_t = ∂L/∂p_t has ∂L/∂z_t = p_t·(g_t − Σ_u g_u p_u). g is a constant over the pixels (from the mean), but for the
    two pixels between which the quantile lies.
    """
    targets, rows, pixels = base.shape
    count = bumps.count
    lower, fraction = quantile_rank(aim.quantile, pixels, base.dtype)
    push = 2.0 * aim.share_weight / (targets * pixels)
    course = Course(
        iterations,
        lower,
        min(lower + 1, pixels - 1),
        fraction,
        aim.peak,
        aim.share(targets),
        pull=2.0 / targets / push,
        shrink=1.0 - rate * 2.0 * aim.size_weight / (count * targets),
        step=rate * push,
        share_weight=aim.share_weight,
        size_weight=aim.size_weight,
    )
    trace = run(base, start, bumps.matrix, bumps.transposed, course)
    return Descent(trace.weights, trace.losses, bumps)
