"""Divide & Bind Your Attention for Improved Generative Semantic Nursing.

Li, Keuper, Zhang, Khoreva, BMVC 2023, arXiv 2307.10864. Every object must have excited regions *with edges*, so that
objects divide the picture between them (Attend-and-Excite asks for one strong pixel), and an attribute's map must be
distributed as its object's is. From the paper's formulas; maps and loop are Attend-and-Excite's, on which it builds.
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
from ..maps.distances import first_max, jensen_shannon, pixel_distributions
from ..maps.probabilities import smooth
from ..prompt.targets import Targets
from .base import LatentLoss, LatentLossSettings, check_token_axis, setting
from .losses import Losses


@dataclass(frozen=True)
class DivideAndBindSettings(LatentLossSettings):
    """Defaults: Attend-and-Excite's schedule, one update a step (the attendance loss has no value to reach)."""

    step_size: float = setting(
        0.5,
        "How far one update moves the latent (α). The total variation sums over all pixels, so a small α goes far: at "
        "0.5 the "
        "first update is about as long as Attend-and-Excite's at 20.",
        minimum=0.0,
        maximum=1000.0,
        step=0.1,
    )
    binding: float = setting(
        1.0,
        "Weight of the binding of attributes to their objects (the paper's λ); 0 only divides the picture among "
        "objects.",
        minimum=0.0,
        maximum=100.0,
        step=0.1,
    )
    competing: str = setting("auto", COMPETING_TOOLTIP, options=COMPETING)
    sharpness: float = setting(SHARPNESS, SHARPNESS_TOOLTIP, minimum=1.0, maximum=1000.0, step=1.0)


class DivideAndBind(LatentLoss):
    """loss = −min over objects of TV(object's map) + λ·Σ JSD(attribute's map, object's map)."""

    name = "divide_and_bind"
    title = "Divide & Bind"
    paper = "2307.10864"
    PRESETS = {
        "paper": DivideAndBindSettings(),
        "demo": DivideAndBindSettings(step_size=10.0, binding=0.2, sharpness=3.0),
    }
    settings: DivideAndBindSettings

    def applies(self, targets: Targets) -> bool:
        return any(target.positions for target in targets.objects)

    def check(self, targets: Targets) -> list[str]:
        if not self.applies(targets):
            return [
                "Divide & Bind found no object in the prompt, so the picture is left unchanged. "
                "Name the objects in the list of words of Extract Targets."
            ]
        return []

    def loss(self, maps: Tensor, targets: Targets) -> Losses:
        """Per object: its total variation, negative, and the divergence of its attributes. Unbounded below."""
        check_token_axis(maps, targets)
        columns = competing_columns(targets, self.settings.competing)
        place = {position: i for i, position in enumerate(columns)}
        shares = token_shares(maps, columns, self.settings.sharpness).movedim(-1, 1)  # [B, competing, h, w]
        shares = smooth(shares) if self.settings.smoothing else shares

        def word(positions: tuple[int, ...]) -> Tensor | None:
            """Mean map of a word's pieces [B, h, w], summed over encoders; None if none of them competes."""
            read = targets.by_encoder([p for p in positions if p in place])
            return sum(shares[:, [place[p] for p in pieces]].mean(dim=1) for pieces in read) if read else None

        names, divided, bound = [], [], []
        for target in targets.objects:
            own = word(target.positions)
            if own is None:
                continue
            described = [other for attribute in target.attributes if (other := word(attribute.positions)) is not None]
            names.append(target.phrase)
            divided.append(-total_variation(own))
            bound.append(
                self.settings.binding * sum((divergence(own, other) for other in described), own.new_zeros(len(own)))
            )
        if not names:
            return Losses(maps.new_zeros(len(maps)), maps.new_zeros(len(maps), 0), ())
        attendance, binding = torch.stack(divided, dim=1), torch.stack(bound, dim=1)  # [B, T]
        return Losses(first_max(attendance) + binding.sum(dim=1), attendance + binding, tuple(names))

    def satisfied(self, losses: Losses, point_index: int, iteration: int, targets: Targets) -> Tensor:
        """Never: a refinement, if one is set, takes all of its steps."""
        return torch.zeros_like(losses.per_image, dtype=torch.bool)


def total_variation(maps: Tensor) -> Tensor:
    """Σ |difference| between neighbours to the right and below: [..., h, w] → [...]."""
    return maps.diff(dim=-1).abs().sum(dim=(-2, -1)) + maps.diff(dim=-2).abs().sum(dim=(-2, -1))


def divergence(a: Tensor, b: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two maps as distributions over the pixels, [B, h, w] → [B]."""
    return jensen_shannon(pixel_distributions(a), pixel_distributions(b))
