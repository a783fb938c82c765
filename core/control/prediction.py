"""A latent loss that acts in the model's prediction: the step's own pass gives the gradient, no further call is made.

The published update moves the latent by δ before a step. Here the step is taken from the latent as it is, and its
prediction of the picture is moved instead: D ← D + ρ·δ. One Euler step from σ to σ' makes (1 − σ'/σ)·ΔD of that and the
published way (σ'/σ)·δ, so ρ = σ'/(σ − σ') moves it by as much. With σ' one step of the published run away, whatever
the run's own steps are, the correction is a field of the latent and the noise level alone: 8 steps and 50 steps get the
same push (a strength per unit of log σ), and a sampler makes of it what it makes of any model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..maps.view import View
from ..methods.base import PREDICTION, Method
from ..prompt.targets import Targets
from .inside import InsideStep
from .parts import NO_MAP, RunningParts, StepLog, relative_size


class PredictionGuide(InsideStep[StepLog]):
    """Corrects the predictions of one sampling run: at which steps, which loss to descend on, and the log.

    `strength` scales the step size; `start`, `end` and `log` as in InsideStep; `joint`: whether the maps are of words
    and picture in one softmax. Solvers that call the network several times a step get a correction each time.
    """

    def __init__(
        self,
        method: Method,
        targets: Targets,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        log: list[StepLog] | None = None,
        joint: bool = False,
    ) -> None:
        self._parts = RunningParts(method, targets, PREDICTION, strength, start, end, joint)
        super().__init__(method, bool(self._parts.all), start, end, log)
        self.targets = targets
        self._progress = 0.0
        self._usable: Tensor | None = None

    def wants(self, progress: float) -> bool:
        """Whether the step at `progress` is corrected."""
        return bool(self._parts.active(progress))

    def _entry_of(self, step: int, progress: float, sigma: float | None) -> StepLog:
        self._progress = progress
        size = sum(part.schedule.size_at(progress) * part.weight for part in self._parts.active(progress))
        return StepLog(step, progress, sigma, size)

    def _complete(self, entry: StepLog) -> None:
        if entry.updates is None:
            entry.updates = torch.zeros(1, dtype=torch.int32)
            if not entry.skipped:
                entry.skip(NO_MAP)

    def pull(self, maps: Tensor, view: View | None = None) -> Tensor:
        """What one call's correction descends on: Σ step size · loss over parts and images.

        `maps` are the call's, [B, h, w, tokens], of the part `view` of the picture, None for all of it.

        Raises RuntimeError if the maps carry no gradient.
        """
        if not maps.requires_grad:
            raise RuntimeError("the attention maps are detached from the latent: the network ran without gradients")
        active = self._parts.active(self._progress)
        seen = [part.loss(maps if part in active else maps.detach(), self.targets, view) for part in self._parts.all]
        together = self._parts.together(seen)
        self._usable = together.per_image.detach().isfinite()
        self._entry.observe(together)
        self._entry.skip_images(~self._usable)
        return sum(
            part.schedule.size_at(self._progress)
            * part.weight
            * torch.where(losses.per_image.isfinite(), losses.per_image, 0.0).sum()
            for part, losses in zip(self._parts.all, seen, strict=True)
            if part in active
        )

    def note(self, moved: Tensor, finite: Tensor, x: Tensor) -> None:
        """Note a call's correction: `moved` [B, ...] is by how much it moves the latent `x` in this step.

        Images of which `finite` [B] is false were left alone, as their gradient is no number.
        """
        self._entry.skip_images(self._usable & ~finite)
        if self._entry.updates is None:
            self._entry.updates = (self._usable & finite).cpu().int()
            self._entry.moved = relative_size(moved, x)
