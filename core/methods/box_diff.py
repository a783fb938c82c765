"""BoxDiff: Text-to-Image Synthesis with Training-Free Box-Constrained Diffusion.

Xie, Li, Huang, Liu, Zhang, Zheng, Shou, ICCV 2023, arXiv 2307.10816. An object's strongest pixels inside its box are to
be strong (inner-box constraint) and its strongest outside weak (outer-box), and its map's profiles along both axes are
to begin and end where the box does (corner constraint). From the paper's formulas; the maps and the loop are
Attend-and-Excite's, on which it builds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps.competition import (
    COMPETING,
    COMPETING_TOOLTIP,
    SHARPNESS,
    SHARPNESS_TOOLTIP,
    competing_columns,
    token_shares,
)
from ..maps.probabilities import smooth
from ..maps.view import View
from ..prompt.targets import Targets
from .base import setting
from .in_layout import LayoutLoss, LayoutLossSettings, Placed
from .losses import Losses


@dataclass(frozen=True)
class BoxDiffSettings(LayoutLossSettings):
    """Defaults: as published for Stable Diffusion 1, on Attend-and-Excite's schedule."""

    step_size: float = setting(
        20.0, "How far one update moves the latent (the paper's α, 20).", minimum=0.0, maximum=1000.0, step=0.5
    )
    refine_at: tuple[float, ...] = setting(
        (0.0, 0.2, 0.4), "Points of the run at which updates are repeated until every object is in its box."
    )
    refine_steps: int = setting(20, "Most updates at one refinement point.", minimum=0, maximum=100, step=1)
    strongest: float = setting(
        0.2,
        "Which share of the pixels inside and outside a box counts: the strongest (the paper's P).",
        minimum=0.01,
        maximum=1.0,
        step=0.01,
    )
    corners: float = setting(
        1.0,
        "Weight of the corner constraint, by which an object fills its box instead of standing somewhere in it.",
        minimum=0.0,
        maximum=100.0,
        step=0.1,
    )
    edge_pixels: int = setting(
        1,
        "How many pixels of the map to each side of a box's edges the corner constraint looks at (the paper's L).",
        minimum=0,
        maximum=16,
        step=1,
    )
    enough: float = setting(
        0.2,
        "The largest loss of an object, without the corners' part at best 0, at which a refinement ends.",
        minimum=0.0,
        maximum=2.0,
        step=0.01,
    )
    competing: str = setting("auto", COMPETING_TOOLTIP, options=COMPETING)
    sharpness: float = setting(SHARPNESS, SHARPNESS_TOOLTIP, minimum=1.0, maximum=1000.0, step=1.0)


class BoxDiff(LayoutLoss):
    """loss = Σ over objects of (1 − mean of the strongest inside) + mean of the strongest outside + corners·edges."""

    name = "box_diff"
    title = "BoxDiff"
    paper = "2307.10816"
    PRESETS = {
        "published": BoxDiffSettings(),
        "demo": BoxDiffSettings(refine_at=(), refine_steps=0, sharpness=3.0),
    }
    settings: BoxDiffSettings

    def loss_at(self, maps: Tensor, targets: Targets, view: View | None) -> Losses:
        placed = self.objects(maps, targets, view)
        columns = competing_columns(targets, self.settings.competing)
        place = {position: i for i, position in enumerate(columns)}
        shares = token_shares(maps, columns, self.settings.sharpness).movedim(-1, 1)  # [B, competing, h, w]
        shares = smooth(shares) if self.settings.smoothing else shares
        per_target, names = [], []
        for each in placed:
            words = [[place[p] for p in positions if p in place] for positions in each.words]
            own = [self._of_word(shares[:, indices].mean(dim=1), each) for indices in words if indices]
            if own:
                per_target.append(torch.stack(own).mean(dim=0) * float(each.region.any()))
                names.append(each.name)
        if not names:
            return Losses(maps.sum(dim=(1, 2, 3)) * 0.0, maps.new_zeros(len(maps), 0), ())
        stacked = torch.stack(per_target, dim=1)  # [B, T]
        return Losses(stacked.sum(dim=1), stacked, tuple(names))

    def _of_word(self, own: Tensor, placed: Placed) -> Tensor:
        """[B]: the three constraints on a word's map [B, h, w]."""
        s, inside = self.settings, placed.region > 0.5
        inner = 1.0 - mean_of_strongest(own, inside, s.strongest)
        outer = mean_of_strongest(own, ~inside, s.strongest)
        return inner + outer + s.corners * edges_apart(own, inside, s.edge_pixels)

    def satisfied(self, losses: Losses, point_index: int, iteration: int, targets: Targets) -> Tensor:
        return (losses.per_target <= self.settings.enough).all(dim=1)


def mean_of_strongest(maps: Tensor, where: Tensor, share: float) -> Tensor:
    """[B]: mean of the strongest `share` of the pixels of each map [B, h, w] at which `where` [h, w] holds; 0 for
    none.
    """
    values = maps[:, where]  # [B, pixels]
    if not values.shape[1]:
        return maps.sum(dim=(1, 2)) * 0.0
    return values.topk(max(round(share * values.shape[1]), 1), dim=1).values.mean(dim=1)


def edges_apart(maps: Tensor, inside: Tensor, reach: int) -> Tensor:
    """[B]: how far the profiles (maxima along the other axis) of maps [B, h, w] are from those of the box `inside` [h,
    w], within `reach` pixels of its edges, summed over both axes.
    """
    apart = maps.new_zeros(len(maps))
    for axis in (0, 1):
        wanted = inside.any(dim=axis)  # [w] or [h]
        if not bool(wanted.any()):
            continue
        profile = maps.amax(dim=1 + axis)  # [B, w] or [B, h]
        along = torch.arange(len(wanted), device=maps.device)
        first, last = along[wanted].min(), along[wanted].max()
        near = ((along - first).abs() <= reach) | ((along - last).abs() <= reach)
        apart = apart + (profile - wanted.to(maps)).abs()[:, near].mean(dim=1)
    return apart
