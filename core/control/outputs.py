"""When a run's attention outputs are mixed and with which weights, whatever the method, and the log of it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layout.boxes import Layout
from ..maps.view import View
from ..methods.base import OutputMix
from ..prompt.targets import Targets
from .inside import InsideLog, InsideStep

NO_LAYER = "no attention layer was seen (another node may have skipped the network), so nothing was mixed"
_MOST_REGIONS = 256


@dataclass
class MixLog(InsideLog):
    """What one step's mixing did: the weight of each placed object (`names`), and in how many layers it was in force.

    `unconditional`: whether the negative prompt's outputs were at hand wherever the method asked for them.
    """

    weights: tuple[float, ...] = ()
    layers: int = 0
    unconditional: bool = True


class OutputMixer(InsideStep[MixLog]):
    """Applies one output mix to one sampling run, and keeps the regions of every map size.

    `strength` scales the weights; `start`, `end` and `log` as in InsideStep.
    """

    method: OutputMix

    def __init__(
        self,
        method: OutputMix,
        targets: Targets,
        layout: Layout,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        log: list[MixLog] | None = None,
    ) -> None:
        applies = strength > 0 and method.applies(targets) and bool(layout.placements)
        super().__init__(method, applies, start, end, log)
        self.layout = layout
        self.strength = strength
        self._regions: dict[tuple[int, int, torch.device, View | None], tuple[Tensor, Tensor]] = {}
        self._weights: Tensor | None = None
        self._seen: set = set()

    def _entry_of(self, step: int, progress: float, sigma: float | None) -> MixLog:
        self._weights = self.method.scaled(self.method.weights(progress, self.layout), self.strength)
        names = tuple(placement.name for placement in self.layout.placements)
        return MixLog(step, progress, sigma, names, weights=tuple(self._weights.tolist()))

    def _complete(self, entry: MixLog) -> None:
        entry.layers = len(self._seen)
        self._seen = set()
        if not entry.layers and any(entry.weights):
            entry.skipped = (NO_LAYER,)

    @property
    def weighs(self) -> bool:
        """Whether any object has a weight in the network calls that are made now."""
        return self.active and bool((self._weights != 0).any())

    def covered(self, h: int, w: int, device: torch.device, view: View | None = None) -> Tensor:
        """Indices of the pixels of a map of h × w that belong to any object; all others stay as they are.

        `view` is the part of the picture that the map shows, None for all of it.
        """
        return self._on(h, w, device, view)[1]

    def saw(self, layer: Hashable) -> None:
        """A layer was there to be mixed, in whatever it shows."""
        self._seen.add(layer)

    def mix(
        self,
        global_out: Tensor,
        local_outs: Tensor,
        layer: Hashable,
        size: tuple[int, int],
        unconditional: Tensor | None = None,
        view: View | None = None,
    ) -> Tensor:
        """The mixed output of the covered pixels [B, covered, C], from those pixels of `global_out`, `local_outs` [O,
        B, covered, C].
        """
        self.saw(layer)
        self._entry.unconditional &= unconditional is not None or not self.method.wants_unconditional
        regions, covered = self._on(*size, global_out.device, view)
        weights = self._weights.to(global_out.device)
        return self.method.mix(global_out, local_outs, regions[:, covered], weights, unconditional)

    def _on(self, h: int, w: int, device: torch.device, view: View | None) -> tuple[Tensor, Tensor]:
        """(regions [O, pixels], covered pixels), computed once per map size and view; of moving views the last few."""
        key = (h, w, device, view)
        if key not in self._regions:
            if len(self._regions) >= _MOST_REGIONS:
                del self._regions[next(iter(self._regions))]
            regions = self.method.regions(self.layout, h, w, view).flatten(1)
            self._regions[key] = (regions.to(device), regions.any(dim=0).nonzero()[:, 0].to(device))
        return self._regions[key]
