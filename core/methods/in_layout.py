"""What the losses that take a layout have in common: which words belong into which region of the maps."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from ..layout.boxes import Layout
from ..layout.regions import regions
from ..layout.solver import solve
from ..maps.view import View
from ..prompt.targets import Targets
from .base import LatentLoss, LatentLossSettings, check_token_axis, setting
from .losses import Losses


@dataclass(frozen=True)
class LayoutLossSettings(LatentLossSettings):
    """What all losses on a layout can be set to."""

    attributes: bool = setting(
        True, "The words that describe an object belong into its place too; off: only the object's name does."
    )


@dataclass(frozen=True)
class Placed:
    """An object with its words' token positions and its region [h, w] of the maps, 0..1."""

    name: str
    words: tuple[tuple[int, ...], ...]
    region: Tensor


class LayoutLoss(LatentLoss):
    """A loss of every placed object's maps against its region. Objects without a place are left alone.

    `layout` comes with `placed`; without one the objects' places are the solver's.
    """

    takes_layout = True
    settings: LayoutLossSettings

    def __init__(self, settings: LayoutLossSettings | None = None, layout: Layout | None = None) -> None:
        super().__init__(settings)
        self.layout = layout

    def placed(self, layout: Layout) -> LayoutLoss:
        return type(self)(self.settings, layout)

    def applies(self, targets: Targets) -> bool:
        chosen = range(len(targets.objects)) if self.layout is None else [p.target for p in self.layout.placements]
        return any(targets.objects[i].positions for i in chosen)

    def check(self, targets: Targets) -> list[str]:
        if any(target.positions for target in targets.objects):
            return []
        return [
            f"{self.title} found no object in the prompt, so the picture is left unchanged. "
            "Name the objects in the list of words of Extract Targets."
        ]

    def loss(self, maps: Tensor, targets: Targets) -> Losses:
        return self.loss_at(maps, targets, None)

    @abstractmethod
    def loss_at(self, maps: Tensor, targets: Targets, view: View | None) -> Losses: ...

    def objects(self, maps: Tensor, targets: Targets, view: View | None) -> list[Placed]:
        """The placed objects on maps [B, h, w, tokens] that show `view`; one of which nothing is shown has an empty
        region.
        """
        check_token_axis(maps, targets)
        h, w = maps.shape[1:3]
        layout = self.layout if self.layout is not None else solve(targets, w, h)
        found = []
        for placement, region in zip(layout.placements, regions(layout, h, w, view=view), strict=True):
            target = targets.objects[placement.target]
            described = [attribute.positions for attribute in target.attributes if self.settings.attributes]
            words = tuple(positions for positions in (target.positions, *described) if positions)
            if words:
                found.append(Placed(placement.name, words, region.to(maps)))
        return found
