"""The loop that all latent losses share: move the latent down the gradient of the loss before a step is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from ..maps.probabilities import wide
from ..maps.view import View
from ..methods.base import LATENT, Method
from ..methods.losses import Losses
from ..prompt.targets import Targets
from .parts import NO_MAP, RunningPart, RunningParts, StepLog, relative_size, small, spread

log = logging.getLogger("prompt_fidelity")

Evaluate = Callable[[Tensor], "Tensor | None"]
# The part of the picture that the maps evaluated last show, None for all of it.
Showing = Callable[[], "View | None"]


class LatentOptimiser:
    """Applies one method to one sampling run: decides at which steps, makes the updates, keeps the log.

    `strength` scales the step size; `start` and `end` narrow the method's own window. `joint`: whether the maps are of
    words and picture in one softmax. `on_progress(StepLog)` is called
    after every update, and may raise to interrupt. `log` receives one finished StepLog per step (the caller's list, or
    a new one); what it holds already is of the run that this one continues, whose refinements are done. `warnings`
    holds what the artist should know before the run. Raises MethodError if the targets lack what the method needs.

    A combination is moved by all its parts at once: an update is Σ weight · step size · gradient over those whose
    window holds the step, from one backward pass. A refinement is each part's own affair: only the parts whose point
    fires and whose loss is not low enough yet take part in it.
    """

    def __init__(
        self,
        method: Method,
        targets: Targets,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        on_progress: Callable[[StepLog], None] | None = None,
        log: list[StepLog] | None = None,
        joint: bool = False,
    ) -> None:
        self.method = method
        self.targets = targets
        self.on_progress = on_progress
        self.log: list[StepLog] = [] if log is None else log
        self.warnings: list[str] = list(method.check(targets)) if strength > 0 else []
        self._parts = RunningParts(method, targets, LATENT, strength, start, end, joint)
        for part in self._parts.all:
            part.refined = self._done(part.place)

    def _done(self, place: int) -> int | None:
        """The last refinement point of a part of the method that fired in the run as the log has it."""
        return next((entry.refinements[place] for entry in reversed(self.log) if place in entry.refinements), None)

    def wants(self, progress: float) -> bool:
        """Whether the step at `progress` gets an update; if not, no network call need be made for it."""
        return bool(self._parts.active(progress))

    def step(
        self,
        x: Tensor,
        progress: float,
        factor: float,
        evaluate: Evaluate,
        sigma: float | None = None,
        showing: Showing = lambda: None,
    ) -> Tensor:
        """The latent [B, ...] after this step's updates, detached, in its own dtype; `x` itself is not changed.

        `evaluate(x)` runs the network on a latent that requires gradients (float32, or float64 if `x` is) and returns
        its mean maps [B, h, w, tokens], or None if none arrived. `factor` turns a step of the papers' variance-
        preserving latent z into one of the model's x: 1 + σ² where x = z·√(1 + σ²), as then ∂L/∂z = √(1 + σ²)·∂L/∂x;
        1 where the model samples in z itself. `showing()` says which part of the picture the maps show.

        Whatever `evaluate` or `on_progress` raises passes through; the optimiser is then as it was before the call.
        """
        if not self.wants(progress):
            return x
        with torch.inference_mode(False), torch.enable_grad():
            return self._step(x, progress, factor, evaluate, sigma, showing)

    def _step(
        self, x: Tensor, progress: float, factor: float, evaluate: Evaluate, sigma: float | None, showing: Showing
    ) -> Tensor:
        turns = [_Turn(part, progress, x) for part in self._parts.active(progress)]
        point = next((turn.point for turn in turns if turn.point is not None), None)
        size = sum(turn.size for turn in turns)
        entry = StepLog(len(self.log), progress, sigma, size, point, updates=torch.zeros(x.shape[0], dtype=torch.int32))
        begin = wide(x.detach()).clone()
        here = begin
        for iteration in count():
            leaf = here.detach().requires_grad_()
            maps = self._maps(leaf, evaluate)
            entry.evaluations += maps is not None
            if maps is None:
                entry.skip(NO_MAP)
                break
            self._judge(maps, showing(), turns, iteration, entry)
            closing = not any(bool(turn.refining.any()) for turn in turns)
            # While some images are refined, those that are done wait for the step's closing update, common to all.
            moving, update = _update(turns, closing, leaf, entry)
            here = torch.where(spread(moving, here), here - factor * update, here)
            entry.updates += moving.cpu().int()
            entry.moved = relative_size(here - begin, begin)
            if self.on_progress is not None and bool(moving.any()):
                self.on_progress(entry)
            if closing:
                break
        self._finish(entry, turns)
        return here.detach().to(x.dtype)

    def _maps(self, leaf: Tensor, evaluate: Evaluate) -> Tensor | None:
        maps = evaluate(leaf)
        if maps is None:
            return None
        if not maps.requires_grad:
            raise RuntimeError("the attention maps are detached from the latent: the network ran without gradients")
        return wide(maps)

    def _judge(self, maps: Tensor, view: View | None, turns: list[_Turn], iteration: int, entry: StepLog) -> None:
        """Compute every part's loss of these maps, those of the parts at rest for the log alone."""
        at_work = {turn.part: turn for turn in turns}
        seen = []
        for part in self._parts.all:
            losses = part.loss(maps if part in at_work else maps.detach(), self.targets, view)
            if part in at_work:
                at_work[part].judge(losses, iteration, self.targets, entry)
            seen.append(losses)
        entry.observe(self._parts.together(seen))

    def _finish(self, entry: StepLog, turns: list[_Turn]) -> None:
        if entry.evaluations:
            for turn in turns:
                if turn.point is not None:
                    turn.part.refined = entry.refinements[turn.part.place] = turn.point
        for reason in entry.skipped:
            log.warning("%s at %.0f %% of the run: %s", self.method.title, entry.progress * 100, reason)
        self.log.append(entry)

    def observe_after(self, maps: Tensor, view: View | None = None) -> None:
        """Note the loss that the last step ended at, from maps [B, h, w, tokens] of the network call after it."""
        if self.log and self.log[-1].totals:
            with torch.no_grad():
                maps = wide(maps.detach())
                losses = self._parts.together([part.loss(maps, self.targets, view) for part in self._parts.all])
            self.log[-1].after, self.log[-1].total_after = small(losses.per_target), small(losses.per_image)


class _Turn:
    """A part's share in the updates of one step."""

    def __init__(self, part: RunningPart, progress: float, x: Tensor) -> None:
        self.part = part
        self.size = part.schedule.size_at(progress) * part.weight
        self.point = part.schedule.refinement_due(progress, part.refined)
        everyone = torch.ones(x.shape[0], dtype=torch.bool, device=x.device)
        self.refining = everyone & (self.point is not None)  # bool [B]: images that this part has not done with
        self.usable = everyone  # bool [B]: images whose loss is a finite number, and not zero
        self.losses: Losses | None = None

    def judge(self, losses: Losses, iteration: int, targets: Targets, entry: StepLog) -> None:
        """Take in the losses of the latent as it is now, and decide which images this part refines further."""
        previous, self.losses = self.losses, losses
        per_image = losses.per_image.detach()
        entry.skip_images(~per_image.isfinite())
        self.usable = per_image.isfinite() & (per_image != 0)
        if self.point is not None:
            tested = previous if self.part.schedule.tests_late and previous is not None else losses
            satisfied = self.part.method.satisfied(tested, self.point, iteration, targets)
            # An image that cannot move now never will: its latent, and so its loss, stays what it is.
            self.refining = self.refining & ~satisfied & self.usable & (iteration < self.part.schedule.refine_steps)


def _update(turns: list[_Turn], closing: bool, leaf: Tensor, entry: StepLog) -> tuple[Tensor, Tensor]:
    """Which images move now, bool [B], and by how much per unit of `factor`: Σ step size · gradient over the parts."""
    masks = [turn.usable if closing else turn.refining for turn in turns]
    # Each image's loss depends on its own latent alone, so the gradient of the sum is every image's own gradient.
    pulls = [
        turn.size * torch.where(mask, turn.losses.per_image, 0.0).sum() for turn, mask in zip(turns, masks, strict=True)
    ]
    update = torch.autograd.grad(sum(pulls), leaf)[0]
    finite = update.flatten(1).isfinite().all(dim=1)
    moving = torch.stack(masks).any(dim=0)
    entry.skip_images(moving & ~finite)
    for turn in turns:
        turn.refining = turn.refining & finite
    return moving & finite, update
