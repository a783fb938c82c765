"""When a run's attention outputs are mixed and with which weights, whatever the method, and the log of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from .layout.boxes import Layout
from .methods.base import OutputMix
from .schedule import Schedule
from .targets import Targets

log = logging.getLogger("prompt_fidelity")

NO_LAYER = "no attention layer was seen (another node may have skipped the network), so nothing was mixed"


@dataclass
class MixLog:
    """What one step's mixing did: the weight of each placed object (`names`), and in how many layers it was in force.

    `unconditional`: whether the negative prompt's outputs were at hand wherever the method asked for them.
    """

    index: int
    progress: float
    sigma: float | None = None
    names: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    layers: int = 0
    unconditional: bool = True
    skipped: tuple[str, ...] = ()


class OutputMixer:
    """Applies one output mix to one sampling run: decides at which steps, keeps the regions of every map size, and the
    log.

    `strength` scales the weights; `start` and `end` narrow the method's own window. `log` receives one MixLog per mixed
    step (the caller's list, or a new one).
    """

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
        self.method = method
        self.layout = layout
        self.strength = strength
        self.schedule = Schedule(*method.window).narrowed(start, end)
        self.log: list[MixLog] = [] if log is None else log
        self._applies = strength > 0 and method.applies(targets) and bool(layout.placements)
        self._regions: dict[tuple[int, int, torch.device], tuple[Tensor, Tensor]] = {}
        self._entry: MixLog | None = None
        self._weights: Tensor | None = None
        self._seen: set = set()

    def wants(self, progress: float) -> bool:
        """Whether the step at `progress` is mixed."""
        return self._applies and self.schedule.active(progress)

    @property
    def active(self) -> bool:
        """Whether the network calls that are made now are mixed."""
        return self._entry is not None

    def begin(self, step: int, progress: float, sigma: float | None = None) -> None:
        """A step begins; the weights of all its network calls are those of its progress."""
        self.finish()
        if self.wants(progress):
            self._weights = self.method.scaled(self.method.weights(progress, self.layout), self.strength)
            names = tuple(placement.name for placement in self.layout.placements)
            self._entry = MixLog(step, progress, sigma, names, tuple(self._weights.tolist()))

    def finish(self) -> None:
        """The step that was begun is over: its log is complete."""
        entry, self._entry = self._entry, None
        if entry is None:
            return
        entry.layers = len(self._seen)
        self._seen = set()
        if not entry.layers:
            entry.skipped = (NO_LAYER,)
            log.warning("%s at %.0f %% of the run: %s", self.method.title, entry.progress * 100, NO_LAYER)
        self.log.append(entry)

    def covered(self, h: int, w: int, device: torch.device) -> Tensor:
        """Indices of the pixels of a map of h × w that belong to any object; all others stay as they are."""
        return self._on(h, w, device)[1]

    def mix(
        self, global_out: Tensor, local_outs: Tensor, layer, size: tuple[int, int], unconditional: Tensor | None = None
    ) -> Tensor:
        """The mixed output of the covered pixels [B, covered, C], from those pixels of `global_out`, `local_outs` [O,
        B, covered, C].
        """
        self._seen.add(layer)
        self._entry.unconditional &= unconditional is not None or not self.method.wants_unconditional
        regions, covered = self._on(*size, global_out.device)
        weights = self._weights.to(global_out.device)
        return self.method.mix(global_out, local_outs, regions[:, covered], weights, unconditional)

    def _on(self, h: int, w: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """(regions [O, pixels], covered pixels), computed once per map size."""
        key = (h, w, device)
        if key not in self._regions:
            regions = self.method.regions(self.layout, h, w).flatten(1)
            self._regions[key] = (regions.to(device), regions.any(dim=0).nonzero()[:, 0].to(device))
        return self._regions[key]
