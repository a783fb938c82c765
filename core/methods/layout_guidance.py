"""Training-Free Layout Control with Cross-Attention Guidance.

Chen, Laina, Vedaldi, WACV 2024, arXiv 2304.03373, "backward guidance". Of all the attention that goes to an object's
words, as much as possible must go to them from inside the object's box:
E = (1 − Σ over the box of A / Σ over the picture of A)².
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps.probabilities import smooth
from ..maps.view import View
from ..prompt.targets import Targets
from .base import PREDICTION, setting
from .in_layout import LayoutLoss, LayoutLossSettings, Placed
from .losses import Losses

# A map without any attention has no share in its box, and pulls nothing.
_LEAST_MASS = 1e-6
_EVERY_STEP = tuple(i / 50 for i in range(10))


@dataclass(frozen=True)
class LayoutGuidanceSettings(LayoutLossSettings):
    """Defaults: as published for Stable Diffusion 1: η = 30, and five updates in each of the first 10 of 50 steps."""

    step_size: float = setting(
        30.0, "How far one update moves the latent (the paper's η, 30).", minimum=0.0, maximum=1000.0, step=0.5
    )
    decay: float = setting(
        0.0, "Share that the square of the step size loses over the run (published: 0).", minimum=0.0, maximum=1.0,
        step=0.05,
    )  # fmt: skip
    end: float = setting(
        0.2, "Where in the run the updates stop (published: a fifth).", minimum=0.0, maximum=1.0, step=0.01
    )
    refine_at: tuple[float, ...] = setting(
        _EVERY_STEP, "Points of the run at which updates are repeated until the objects are in their boxes."
    )
    refine_steps: int = setting(
        4, "Most updates at one point beside the step's own (published: five in all).", minimum=0, maximum=100, step=1
    )
    smoothing: bool = setting(False, "Smooth the maps with a 3×3 kernel first (published: no).")
    enough: float = setting(
        0.2, "The mean energy of the objects, 0 to 1, at which a step's updates end.", minimum=0.0, maximum=1.0,
        step=0.01,
    )  # fmt: skip


class LayoutGuidance(LayoutLoss):
    """loss = Σ over objects of the mean over their words of (1 − share of the word's attention inside the box)²."""

    name = "layout_guidance"
    title = "Layout Guidance"
    paper = "2304.03373"
    PRESETS = {
        "published": LayoutGuidanceSettings(),
        "one-pass": LayoutGuidanceSettings(refine_at=(), refine_steps=0, acts_on=PREDICTION),
        "scenes": LayoutGuidanceSettings(end=0.5, refine_at=(), refine_steps=0, acts_on=PREDICTION),
        "demo": LayoutGuidanceSettings(end=0.5, refine_at=(), refine_steps=0),
    }
    # There the last blocks know best where an object is: more of them in its box, fewer objects that nobody asked for.
    BLOCKS = {"scenes": "double 1, single 2-3"}
    settings: LayoutGuidanceSettings

    def loss_at(self, maps: Tensor, targets: Targets, view: View | None) -> Losses:
        """Per object its energy, 0 (all inside) to 1."""
        placed = self.objects(maps, targets, view)
        if not placed:
            return Losses(maps.sum(dim=(1, 2, 3)) * 0.0, maps.new_zeros(len(maps), 0), ())
        per_target = torch.stack([self._energy(maps, each) for each in placed], dim=1)  # [B, T]
        return Losses(per_target.sum(dim=1), per_target, tuple(each.name for each in placed))

    def _energy(self, maps: Tensor, placed: Placed) -> Tensor:
        """[B]: an object's energy; 0 where nothing of its box is shown."""
        energies = []
        for positions in placed.words:
            own = maps[..., list(positions)].mean(dim=-1)  # [B, h, w]
            own = smooth(own) if self.settings.smoothing else own
            energies.append((1.0 - share_inside(own, placed.region)) ** 2)
        return torch.stack(energies).mean(dim=0) * float(placed.region.any())

    def satisfied(self, losses: Losses, point_index: int, iteration: int, targets: Targets) -> Tensor:
        return losses.per_target.mean(dim=1) <= self.settings.enough


def share_inside(maps: Tensor, region: Tensor) -> Tensor:
    """[B]: how much of each map's [B, h, w] sum lies in the region [h, w]."""
    return (maps * region).sum(dim=(1, 2)) / maps.sum(dim=(1, 2)).clamp_min(_LEAST_MASS)
