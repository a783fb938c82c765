"""The latent losses that are at work in one run, whichever way they act: their shares, their losses, their log."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..maps.joint import over_the_text
from ..maps.view import View
from ..methods.base import LatentLoss, Method
from ..methods.losses import Losses, weighted
from ..methods.schedule import Schedule
from ..prompt.targets import Targets

NO_MAP = "no attention map arrived (another node may have skipped the network), so nothing was changed"


@dataclass(eq=False)
class RunningPart:
    """A part of the method in this run: its schedule within the run's window, and the last refinement point that
    fired.
    """

    method: LatentLoss
    weight: float
    schedule: Schedule
    place: int  # among the method's parts
    refined: int | None = None
    joint: bool = False

    def loss(self, maps: Tensor, targets: Targets, view: View | None = None) -> Losses:
        """The method's loss of the network's maps [B, h, w, tokens] of `view` of the picture, None for all of it."""
        divided = self.joint and not self.method.of_the_whole
        return self.method.loss_at(over_the_text(maps) if divided else maps, targets, view)


class RunningParts:
    """The parts of `method` that act on `acts_on` ("latent" or "prediction") in this run, and what they have in common.

    `strength` scales the step size; `start` and `end` narrow the method's own window. `joint`: whether the maps are of
    words and picture in one softmax (core.maps.joint).
    """

    def __init__(
        self,
        method: Method,
        targets: Targets,
        acts_on: str,
        strength: float,
        start: float,
        end: float,
        joint: bool = False,
    ) -> None:
        self.targets = targets
        self.all = [
            RunningPart(
                part.method, part.weight * strength, part.method.schedule.narrowed(start, end), place, joint=joint
            )
            for place, part in enumerate(method.parts)
            if isinstance(part.method, LatentLoss)
            and part.method.settings.acts_on == acts_on
            and part.weight * strength > 0
            and part.method.applies(targets)
        ]

    def active(self, progress: float) -> list[RunningPart]:
        """The parts whose window holds the step at `progress`."""
        return [part for part in self.all if part.schedule.active(progress)]

    def together(self, seen: list[Losses]) -> Losses:
        """All parts' losses as one, each counted by its share in the pull, so that the total can be compared over
        steps.
        """
        pulls = [part.weight * part.schedule.step_size for part in self.all]
        whole = sum(pulls)
        shares = [pull / whole if whole else 1 / len(pulls) for pull in pulls]
        return weighted(seen, shares, [part.method.title for part in self.all])


@dataclass
class StepLog:
    """What one step's updates did. All tensors are small, float32 and on the CPU.

    `first`, `last` [B, T] are the losses per target (column t is `names[t]`) at the step's first and last evaluation;
    the last is that of the latent before the closing update, whose effect shows at the next step, or in `after` and
    `total_after` if the host measures it. `totals` holds every evaluation's loss per image [B], in order. `updates` [B]
    counts each image's updates, of size `step_size` in the papers' units; `moved` [B] is the change of the latent
    relative to its own size. `evaluations` counts the network calls that the updates cost, none where the step's own
    pass gave the gradient.
    `refinement` is the point that fired, if one did, `refinements` those of each part of the method (its place: the
    point), and `skipped` why an update was left out.
    """

    index: int
    progress: float
    sigma: float | None = None
    step_size: float = 0.0
    refinement: int | None = None
    refinements: dict[int, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    first: Tensor | None = None
    last: Tensor | None = None
    after: Tensor | None = None
    total_after: Tensor | None = None
    totals: list[Tensor] = field(default_factory=list)
    evaluations: int = 0
    updates: Tensor | None = None
    moved: Tensor | None = None
    skipped: tuple[str, ...] = ()

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
        self.last = small(losses.per_target)
        self.first = self.last if self.first is None else self.first
        self.totals.append(small(losses.per_image))

    def skip(self, reason: str) -> None:
        if reason not in self.skipped:
            self.skipped = (*self.skipped, reason)

    def skip_images(self, broken: Tensor) -> None:
        """Note the images, bool [B], that get no update because their loss or its gradient is no number."""
        for image in broken.nonzero().flatten().tolist():
            self.skip(f"image {image + 1}: the loss or its gradient is not a finite number, so its update was skipped")


def spread(values: Tensor, x: Tensor) -> Tensor:
    """Values of every image [B], shaped so that they broadcast to `x` [B, ...]."""
    return values.view(-1, *[1] * (x.dim() - 1))


def relative_size(change: Tensor, x: Tensor) -> Tensor:
    """‖change‖ / ‖x‖ of every image, [B]."""
    size = torch.linalg.vector_norm(x.flatten(1), dim=1).clamp_min(1e-12)
    return small(torch.linalg.vector_norm(change.flatten(1), dim=1) / size)


def small(x: Tensor) -> Tensor:
    """What a log keeps of a tensor."""
    return x.detach().to("cpu", torch.float32)
