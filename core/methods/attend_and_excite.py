"""Attend-and-Excite: Attention-Based Semantic Guidance for Text-to-Image Diffusion Models.

Chefer, Alaluf, Vinker, Wolf, Cohen-Or, SIGGRAPH 2023, arXiv 2301.13826. Every object of the prompt must have at least
one pixel that attends to it strongly; the object whose strongest pixel is weakest moves the latent.
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
from ..maps.distances import first_max
from ..maps.probabilities import smooth
from ..prompt.targets import Targets
from .base import PREDICTION, LatentLoss, LatentLossSettings, check_token_axis, setting
from .losses import Losses


@dataclass(frozen=True)
class AttendAndExciteSettings(LatentLossSettings):
    """Defaults: as published for Stable Diffusion 1 (50 steps: updates in steps 0-24, refinement at 0, 10, 20)."""

    step_size: float = setting(
        20.0, "How far one update moves the latent (the paper's α, 20).", minimum=0.0, maximum=1000.0, step=0.5
    )
    refine_at: tuple[float, ...] = setting(
        (0.0, 0.2, 0.4),
        "Points of the run at which updates are repeated until every object's peak reaches its threshold.",
    )
    refine_steps: int = setting(
        20, "Most updates at one refinement point (the paper's 20).", minimum=0, maximum=100, step=1
    )
    thresholds: tuple[float, ...] = setting(
        (0.05, 0.5, 0.8), "The attention peak, 0 to 1, that every object must reach at each refinement point."
    )
    competing: str = setting("auto", COMPETING_TOOLTIP, options=COMPETING)
    sharpness: float = setting(SHARPNESS, SHARPNESS_TOOLTIP, minimum=1.0, maximum=1000.0, step=1.0)


class AttendAndExcite(LatentLoss):
    """loss = max over objects of (1 − peak of the object's map), maps being softmax(100·A) over the words."""

    name = "attend_and_excite"
    title = "Attend-and-Excite"
    paper = "2301.13826"
    PRESETS = {
        "published": AttendAndExciteSettings(),
        "one-pass": AttendAndExciteSettings(refine_at=(), refine_steps=0, acts_on=PREDICTION),
        "demo": AttendAndExciteSettings(
            step_size=60.0, refine_at=(), refine_steps=0, sharpness=3.0, acts_on=PREDICTION
        ),
    }
    settings: AttendAndExciteSettings

    def applies(self, targets: Targets) -> bool:
        return bool(self._objects(targets))

    def _objects(self, targets: Targets) -> list[tuple[str, list[int]]]:
        """Name and tokens of every object that a pixel can attend to, as indices into the competing columns."""
        place = {position: i for i, position in enumerate(self.competing_columns(targets))}
        objects = [(target.name, [place[p] for p in target.positions if p in place]) for target in targets.objects]
        return [(name, indices) for name, indices in objects if indices]

    def check(self, targets: Targets) -> list[str]:
        if not self.applies(targets):
            return [
                "Attend-and-Excite found no object in the prompt, so the picture is left unchanged. "
                "Name the objects in the list of words of Extract Targets."
            ]
        names = [name for name, _ in self._objects(targets)]
        if len(names) == 1:
            return [f'The prompt has one object, "{names[0]}": Attend-and-Excite has no other to balance it against.']
        return []

    def loss(self, maps: Tensor, targets: Targets) -> Losses:
        """Largest of the objects' losses max(0, 1 − peak); per_target holds one column per object."""
        per_target = (1.0 - self.peaks(maps, targets)).relu()
        return Losses(first_max(per_target), per_target, tuple(name for name, _ in self._objects(targets)))

    def peaks(self, maps: Tensor, targets: Targets) -> Tensor:
        """Strongest pixel of each object's map, over all pieces of its name: [B, h, w, tokens] → [B, T]."""
        check_token_axis(maps, targets)
        shares = token_shares(maps, self.competing_columns(targets), self.settings.sharpness)  # [B, h, w, competing]
        peaks = []
        for _, indices in self._objects(targets):
            own = shares[..., indices].movedim(-1, 1)  # [B, pieces, h, w]
            own = smooth(own) if self.settings.smoothing else own
            peaks.append(first_max(own.flatten(1)))
        return torch.stack(peaks, dim=1)

    def competing_columns(self, targets: Targets) -> list[int]:
        """The tokens among which a pixel divides its attention."""
        return competing_columns(targets, self.settings.competing)

    def satisfied(self, losses: Losses, point_index: int, iteration: int, targets: Targets) -> Tensor:
        thresholds = self.settings.thresholds
        wanted = thresholds[min(point_index, len(thresholds) - 1)] if thresholds else 1.0
        return losses.per_image <= 1.0 - wanted
