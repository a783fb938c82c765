"""When a run's noise is rearranged, and the log of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layout.boxes import Layout
from ..methods.base import Rearrangement
from ..methods.schedule import Schedule
from ..prompt.targets import Targets

log = logging.getLogger("prompt_fidelity")

NOT_SEEN = "the picture was not begun from noise, or no map arrived in time"
# A run that begins before this point begins from noise, and has maps one step later.
_NOISE = 0.05


@dataclass
class ArrangeLog:
    """What was moved before a step: how far, in cells of the latent (down, across), of each image's placed objects:
    `shifts` [B, O, 2], column o is `names[o]`. `skipped` says why nothing was.
    """

    index: int
    progress: float
    names: tuple[str, ...] = ()
    shifts: Tensor | None = None
    skipped: tuple[str, ...] = ()


class LatentArranger:
    """Rearranges one run's latent once, before the first step at or after the method's start, by the maps of the steps
    before it. Where there was none before it, a run that begins from noise waits for one, and one that begins from a
    picture is left alone.

    `start` and `end` narrow the method's own window; `log` as in InsideStep.
    """

    def __init__(
        self,
        method: Rearrangement,
        targets: Targets,
        layout: Layout | None,
        start: float = 0.0,
        end: float = 1.0,
        log: list[ArrangeLog] | None = None,
    ) -> None:
        self.method, self.targets, self.layout = method, targets, layout
        self.schedule = Schedule(*method.window).narrowed(start, end)
        self.log: list[ArrangeLog] = [] if log is None else log

    def due(self, progress: float) -> bool:
        """Whether it is to be done before the step at `progress`."""
        return not self.log and self.schedule.active(progress)

    def step(self, x: Tensor, step: int, progress: float, maps: Tensor | None, reason: str = "") -> Tensor:
        """The latent [B, ..., h, w] in its new order, a new tensor, by the maps [B, T, h', w'] of the objects with
        words of their own. Without maps, or for a `reason` against it, `x` itself.
        """
        if maps is None and not reason and progress < _NOISE:
            return x
        entry = ArrangeLog(step, progress)
        self.log.append(entry)
        if self.layout is None or not self.layout.placements:
            return x
        if maps is None or reason:
            entry.skipped = (f"{self.method.title} left the noise as it was: {reason or NOT_SEEN}",)
            log.warning("At %.0f %% of the run: %s", progress * 100, entry.skipped[0])
            return x
        size = tuple(x.shape[-2:])
        made = [self.method.arrange(own, self.targets, self.layout, size) for own in maps]
        entry.names = tuple(placement.name for placement in self.layout.placements)
        entry.shifts = torch.stack([each.shifts for each in made])
        return torch.stack([each.of(image) for each, image in zip(made, x, strict=True)])
