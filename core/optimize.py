"""The loop that all latent losses share: move the latent down the gradient of the loss before a step is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .attention import wide
from .losses import Losses
from .methods.base import LatentLoss
from .targets import Targets

log = logging.getLogger("prompt_fidelity")

Evaluate = Callable[[Tensor], "Tensor | None"]

NO_MAP = "no attention map arrived (another node may have skipped the network), so nothing was changed"


@dataclass
class StepLog:
    """What one step's updates did. All tensors are small, float32 and on the CPU.

    `first`, `last` [B, T] are the losses per target (column t is `names[t]`) at the step's first and last evaluation;
    the last is that of the latent before the closing update, whose effect shows at the next step, or in `after` and
    `total_after` if the host measures it. `totals` holds every evaluation's loss per image [B], in order. `updates` [B]
    counts each image's updates, of size `step_size` in the papers' units; `moved` [B] is the change of the latent
    relative to its own size.
    `refinement` is the point that fired, if one did, and `skipped` why an update was left out.
    """

    index: int
    progress: float
    sigma: float | None = None
    step_size: float = 0.0
    refinement: int | None = None
    names: tuple[str, ...] = ()
    first: Tensor | None = None
    last: Tensor | None = None
    after: Tensor | None = None
    total_after: Tensor | None = None
    totals: list[Tensor] = field(default_factory=list)
    updates: Tensor | None = None
    moved: Tensor | None = None
    skipped: tuple[str, ...] = ()

    @property
    def evaluations(self) -> int:
        """Network calls that this step's updates cost."""
        return len(self.totals)

    @property
    def refined(self) -> bool:
        """Whether a refinement fired and made updates beyond the step's ordinary one."""
        return self.refinement is not None and self.updates is not None and int(self.updates.max()) > 1

    @property
    def outcome(self) -> tuple[Tensor, Tensor]:
        """The latest known losses: per target [B, T], and per image [B]."""
        return (self.last, self.totals[-1]) if self.after is None else (self.after, self.total_after)

    def observe(self, losses: Losses) -> None:
        """Take in one evaluation."""
        self.names = losses.names
        self.last = _small(losses.per_target)
        self.first = self.last if self.first is None else self.first
        self.totals.append(_small(losses.per_image))

    def skip(self, reason: str) -> None:
        if reason not in self.skipped:
            self.skipped = (*self.skipped, reason)


class LatentOptimizer:
    """Applies one method to one sampling run: decides at which steps, makes the updates, keeps the log.

    `strength` scales the step size; `start` and `end` narrow the method's own window. `on_progress(StepLog)` is called
    after every update, and may raise to interrupt. `log` receives one finished StepLog per step (the caller's list, or
    a new one); `warnings` holds what the artist should know before the run. Raises MethodError if the targets lack
    what the method needs.
    """

    def __init__(
        self,
        method: LatentLoss,
        targets: Targets,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        on_progress: Callable[[StepLog], None] | None = None,
        log: list[StepLog] | None = None,
    ) -> None:
        self.method = method
        self.targets = targets
        self.strength = strength
        self.schedule = method.schedule.narrowed(start, end)
        self.on_progress = on_progress
        self.log: list[StepLog] = [] if log is None else log
        self.warnings: list[str] = list(method.check(targets)) if strength > 0 else []
        self._applies = strength > 0 and method.applies(targets)
        self._refined: int | None = None  # the last refinement point that fired

    def wants(self, progress: float) -> bool:
        """Whether the step at `progress` gets an update; if not, no network call need be made for it."""
        return self._applies and self.schedule.active(progress)

    def step(self, x: Tensor, progress: float, factor: float, evaluate: Evaluate, sigma: float | None = None) -> Tensor:
        """The latent [B, ...] after this step's updates, detached, in its own dtype; `x` itself is not changed.

        `evaluate(x)` runs the network on a latent that requires gradients (float32, or float64 if `x` is) and returns
        its mean maps [B, h, w, tokens], or None if none arrived. `factor` turns a step of the papers' variance-
        preserving latent z into one of the model's x: 1 + σ² where x = z·√(1 + σ²), as then ∂L/∂z = √(1 + σ²)·∂L/∂x;
        1 where the model samples in z itself.

        Whatever `evaluate` or `on_progress` raises passes through; the optimizer is then as it was before the call.
        """
        if not self._applies:
            return x
        with torch.inference_mode(False), torch.enable_grad():
            return self._step(x, progress, factor, evaluate, sigma)

    def _step(self, x: Tensor, progress: float, factor: float, evaluate: Evaluate, sigma: float | None) -> Tensor:
        size = self.schedule.size_at(progress) * self.strength
        point = self.schedule.refinement_due(progress, self._refined)
        entry = StepLog(len(self.log), progress, sigma, size, point, updates=torch.zeros(x.shape[0], dtype=torch.int32))
        begin = wide(x.detach()).clone()
        here = begin
        refining = torch.full((x.shape[0],), point is not None, device=x.device)
        previous = None
        for iteration in range(self.schedule.refine_steps + 1):
            losses, gradient = self._evaluate(here, evaluate, entry)
            if losses is None:
                entry.skip(NO_MAP)
                break
            usable = _usable(losses.per_image, gradient, entry)
            if point is not None:
                tested = previous if self.schedule.tests_late and previous is not None else losses
                satisfied = self.method.satisfied(tested, point, iteration, self.targets)
                # An image that cannot move now never will: its latent, and so its loss, stays what it is.
                refining = refining & ~satisfied & usable & (iteration < self.schedule.refine_steps)
            closing = not bool(refining.any())
            # While some images are refined, those that are done wait for the step's closing update, common to all.
            moving = usable if closing else refining
            here = torch.where(_like(moving, here), here - size * factor * gradient, here)
            entry.updates += moving.cpu().int()
            entry.moved = _relative_change(begin, here)
            if self.on_progress is not None and bool(moving.any()):
                self.on_progress(entry)
            if closing:
                break
            previous = losses
        self._finish(entry)
        return here.detach().to(x.dtype)

    def _evaluate(self, here: Tensor, evaluate: Evaluate, entry: StepLog) -> tuple[Losses | None, Tensor | None]:
        """Losses of every image (detached) and the gradient of their sum, [B, ...]; (None, None) without a map."""
        leaf = here.detach().requires_grad_()
        maps = evaluate(leaf)
        if maps is None:
            return None, None
        if not maps.requires_grad:
            raise RuntimeError("the attention maps are detached from the latent: the network ran without gradients")
        losses = self.method.loss(wide(maps), self.targets)
        # Each image's loss depends on its own latent alone, so the gradient of the sum is every image's own gradient.
        gradient = torch.autograd.grad(losses.per_image.sum(), leaf)[0]
        losses = Losses(losses.per_image.detach(), losses.per_target.detach(), losses.names)
        entry.observe(losses)
        return losses, gradient

    def _finish(self, entry: StepLog) -> None:
        if entry.refinement is not None and entry.evaluations:
            self._refined = entry.refinement
        for reason in entry.skipped:
            log.warning("%s at %.0f %% of the run: %s", self.method.title, entry.progress * 100, reason)
        self.log.append(entry)

    def observe_after(self, maps: Tensor) -> None:
        """Note the loss that the last step ended at, from maps [B, h, w, tokens] of the network call after it."""
        if self.log and self.log[-1].totals:
            with torch.no_grad():
                losses = self.method.loss(wide(maps.detach()), self.targets)
            self.log[-1].after, self.log[-1].total_after = _small(losses.per_target), _small(losses.per_image)


def _usable(per_image: Tensor, gradient: Tensor, entry: StepLog) -> Tensor:
    """bool [B]: images whose loss and gradient are finite and whose loss is not zero; the others are noted."""
    finite = per_image.isfinite() & gradient.flatten(1).isfinite().all(dim=1)
    for image in (~finite).nonzero().flatten().tolist():
        entry.skip(f"image {image + 1}: the loss or its gradient is not a finite number, so its update was skipped")
    return finite & (per_image != 0)


def _like(mask: Tensor, x: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (x.dim() - 1))


def _relative_change(before: Tensor, after: Tensor) -> Tensor:
    """‖after − before‖ / ‖before‖ of every image, [B]."""
    size = torch.linalg.vector_norm(before.flatten(1), dim=1).clamp_min(1e-12)
    return _small(torch.linalg.vector_norm((after - before).flatten(1), dim=1) / size)


def _small(x: Tensor) -> Tensor:
    return x.detach().to("cpu", torch.float32)
