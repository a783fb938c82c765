"""The descent inside Attention Regulation: maps to add to the targets' scores so that each target gets its share.

Zhang et al., ECCV 2024, arXiv 2403.06381. The published code differentiates a softmax over all 77 tokens with autograd.
Only the targets' columns change, though, so the other tokens enter as one number per pixel (the log-sum-exp of their
scores), and the gradient is written out below.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .quantile import quantile_rank, sorted_neighbours

# A target this far above or below all other tokens together has probability 1 or 0 to the last digit of float32, and no
# gradient. Farther below its probability would be a denormal number, which slows the arithmetic tenfold.
_CERTAIN = 60.0
# Bumps are cut off where they are far below the last digit of the sum (also for the denormal numbers' sake).
_BUMP_FLOOR = 1e-12


@dataclass(frozen=True)
class Bumps:
    """Gaussians on a grid over the map. `matrix` [centres, h·w] holds one in each row, `transposed` is its transpose.

    As published, σ is a sixteenth of the side in whole pixels, centres are 2σ apart and the first is at 2σ; the x of a
    centre varies slowest. Side is the shorter one; σ is never below one pixel, and a side too short has one centre.
    """

    matrix: Tensor
    transposed: Tensor

    @property
    def count(self) -> int:
        return self.matrix.shape[0]

    @staticmethod
    @lru_cache(maxsize=8)
    def on(h: int, w: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Bumps:
        sigma = max(min(h, w) // 16, 1)
        with torch.inference_mode(False), torch.no_grad():
            across, down = _profile(w, sigma), _profile(h, sigma)  # [centres in x, w], [centres in y, h]
            matrix = torch.einsum("ax,by->abyx", across, down).flatten(2).flatten(0, 1)
            matrix = torch.where(matrix < _BUMP_FLOOR, 0.0, matrix).to(device, dtype)
            return Bumps(matrix, matrix.t().contiguous())


def _profile(side: int, sigma: int) -> Tensor:
    """The bumps along one axis, [centres, side]."""
    centres = list(range(2 * sigma, side, 2 * sigma)) or [(side - 1) / 2]
    distance = torch.arange(side, dtype=torch.float64) - torch.tensor(centres, dtype=torch.float64)[:, None]
    return torch.exp(-(distance**2) / (2 * sigma**2)).float()


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
    """Every iteration of a descent, before its update: `weights` [iterations, T, rows, centres], `losses` [iterations, rows]."""

    weights: Tensor
    losses: Tensor
    bumps: Bumps

    def best(self, images: int) -> Tensor:
        """Index of each image's iteration of lowest mean loss over its rows, the first of equals: [images]."""
        mean = self.losses.unflatten(1, (images, -1)).mean(dim=2)
        return mean.nan_to_num(nan=torch.inf).argmin(dim=0)

    def added(self, best: Tensor) -> Tensor:
        """The map to add of the iteration `best` [images], [T, rows, pixels]; 0 where a loss is not a finite number."""
        rows = self.losses.shape[1]
        iteration = best.repeat_interleave(rows // best.shape[0])  # [rows]
        at = torch.arange(rows, device=best.device)
        kept = self.weights[iteration, :, at]  # [rows, T, centres]
        kept = torch.where(self.losses[iteration, at].isfinite()[:, None, None], kept, 0.0)
        return (kept @ self.bumps.matrix).transpose(0, 1)


def against_rest(scores: Tensor, groups: list[list[int]]) -> Tensor:
    """Each target's score over that of all other tokens together: scores [..., pixels, tokens] → [T, rows, pixels].

    `groups` are the targets' token positions. A target of several tokens counts as one whose probability is their sum:
    what is added to all of its tokens alike adds to their log-sum-exp.
    """
    positions = torch.tensor([p for group in groups for p in group], device=scores.device)
    rest = scores.index_fill(-1, positions, -torch.inf)
    top = rest.amax(dim=-1, keepdim=True)
    others = rest.sub_(top).exp_().sum(dim=-1).log_().add_(top.squeeze(-1))  # [..., pixels]
    own = [scores[..., group[0]] if len(group) == 1 else scores[..., group].logsumexp(dim=-1) for group in groups]
    return torch.stack([one - others for one in own]).flatten(1, -2)


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
    between = base.new_tensor([1.0 - fraction, fraction])
    mean_of = base.new_full((pixels,), 1.0 / pixels)
    share = aim.share(targets)
    push = 2.0 * aim.share_weight / (targets * pixels)
    pull = between * (2.0 / targets / push)
    shrink = 1.0 - rate * 2.0 * aim.size_weight / (count * targets)

    base = base.reshape(targets * rows, pixels)
    weights = base.new_empty(iterations, targets * rows, count)
    quantiles, means = base.new_empty(2, iterations, targets * rows)
    weights[0] = start.reshape(targets * rows, count)
    # Buffers for the loop; `p` and `g` are [T * rows, pixels], their views with a 3 in the name [T, rows, pixels].
    p, g = torch.empty_like(base), torch.empty_like(base)
    p3, g3 = p.view(targets, rows, pixels), g.view(targets, rows, pixels)
    total = base.new_empty(rows, pixels)
    for i, (now, quantile, mean) in enumerate(zip(weights.unbind(0), quantiles.unbind(0), means.unbind(0), strict=True)):
        torch.addmm(base, now, bumps.matrix, out=p)
        p.clamp_(-_CERTAIN, _CERTAIN).exp_()
        torch.sum(p3, 0, out=total)
        p3.div_(total.add_(1.0))
        values, places = sorted_neighbours(p, lower)
        torch.mv(values, between, out=quantile)
        torch.mv(p, mean_of, out=mean)
        if i == iterations - 1:
            break
        # g = p·∂L/∂p, then p·(∂L/∂p − Σ p·∂L/∂p), both in units of `push`
        torch.mul(p, (mean - share).unsqueeze(1), out=g)
        g.scatter_add_(1, places, values * torch.outer(quantile - aim.peak, pull))
        torch.sum(g3, 0, out=total)
        g3.addcmul_(p3, total, value=-1.0)
        torch.addmm(now, g, bumps.transposed, beta=shrink, alpha=-rate * push, out=weights[i + 1])
    weights = weights.unflatten(1, (targets, rows))
    terms = (quantiles - aim.peak).square() + aim.share_weight * (means - share).square()  # [iterations, T * rows]
    losses = terms.unflatten(1, (targets, rows)).mean(dim=1) + aim.size_weight * weights.square().mean(dim=(1, 3))
    return Descent(weights, losses, bumps)
