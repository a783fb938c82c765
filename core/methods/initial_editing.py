"""Guided Image Synthesis via Initial Image Editing in Diffusion Model.

Mao, Wang, Aizawa, ACM Multimedia 2023, arXiv 2305.03382. Which object a model draws where depends on the noise that it
begins with: some pieces of it become a cat more readily than others. So the pieces to which a word attends most are
moved to where its object belongs, and the noise stays noise: nothing is added, only the order changes.

The paper exchanges small blocks of the noise before the run. Here an object's piece is moved whole, with the size and
shape of its place, and after the first steps, whose maps come free with the run: the latent is nearly all noise still,
and no further pass is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..layout.arranging import Arrangement, arrangement
from ..layout.boxes import Layout
from ..layout.regions import regions
from ..maps.sizes import resized
from ..prompt.targets import Targets
from .base import Rearrangement, setting


@dataclass(frozen=True)
class InitialEditingSettings:
    start: float = setting(
        0.08,
        "Point of the run at which the noise is rearranged, after the model's first look at it.",
        minimum=0.01,
        maximum=1.0,
        step=0.01,
    )
    end: float = setting(
        0.6,
        "Point of the run after which it is too late: the picture has taken shape.",
        minimum=0.0,
        maximum=1.0,
        step=0.01,
    )
    resolution: str = setting(
        "auto",
        "Size of the attention maps that say where each object begins.",
        options=("auto", "1/1", "1/2", "1/4", "1/8"),
    )


class InitialEditing(Rearrangement):
    """x ← P · x, where P moves each object's most attended piece of the latent into the object's region."""

    name = "initial_editing"
    title = "Initial Image Editing"
    paper = "2305.03382"
    PRESETS = {"default": InitialEditingSettings()}
    settings: InitialEditingSettings

    def applies(self, targets: Targets) -> bool:
        return any(target.positions for target in targets.objects)

    def check(self, targets: Targets) -> list[str]:
        if self.applies(targets):
            return []
        return [
            f"{self.title} found no object in the prompt, so the picture is left unchanged. "
            "Name the objects in the list of words of Extract Targets."
        ]

    def arrange(self, maps: Tensor, targets: Targets, layout: Layout, size: tuple[int, int]) -> Arrangement:
        columns = [i for i, target in enumerate(targets.objects) if target.positions]
        own = maps.new_zeros(len(layout.placements), *maps.shape[-2:])
        held = regions(layout, *size)
        for row, placement in enumerate(layout.placements):
            if placement.target in columns:
                own[row] = maps[columns.index(placement.target)]
            else:
                held[row] = 0.0
        return arrangement(resized(own[None], size)[0], held)
