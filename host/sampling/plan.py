"""What the Apply node was told, the same for every run of the patched model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ...core.control.record import Record, RunLog
from ...core.layout import Layout, solve
from ...core.methods.base import LATENT, PREDICTION, LatentLoss, Method, OutputMix, Part, Rearrangement, ScoreEdit
from ...core.prompt.targets import Targets
from ...core.show.ignored import unnoticed
from ..progress import queue_entry
from .samplers import facts_of
from .second_look import Questions
from .solvers import name_of

# watch(maps, progress): a step's mean maps [B, h, w, tokens], and the point of the run, 0 to 1, at which it was taken.
Watch = Callable[[torch.Tensor, float], None]


@dataclass(frozen=True)
class Plan:
    """What the Apply node was told; the same for every run of the patched model."""

    method: Method
    targets: Targets
    strength: float
    start: float
    end: float
    record: Record
    node_id: str | None = None
    reason: str = ""  # why the method was chosen, where the artist left the choice to the pack
    layout: Layout | None = None
    hints: tuple[str, ...] = ()
    recompute: str = "auto"  # whether the network's blocks are run again for a gradient: one of recompute.CHOICES
    blocks: str = "auto"  # which of the network's blocks are looked at and edited, as in networks.base
    pixels: int = 8  # of the picture, one way, to a cell of the latent
    local: tuple[tuple[torch.Tensor, dict], ...] = ()  # the encoded prompt of each placed object
    watch: Watch | None = None  # who is told of every step's maps
    questions: Questions | None = None  # what the model is asked about the finished picture

    @property
    def window(self) -> tuple[float, float]:
        """The part of the run to which the Apply node narrows the method's own."""
        return self.start, self.end

    @property
    def acts(self) -> bool:
        """Whether anything is to be changed at all; if not, the maps are only recorded."""
        return self.strength > 0 and self.method.applies(self.targets)

    @property
    def moves(self) -> bool:
        """Whether the latent is to be moved before a step, which needs a fitting sampler."""
        return LATENT in self._acting_on

    @property
    def guides(self) -> bool:
        """Whether predictions are to be corrected."""
        return PREDICTION in self._acting_on

    @property
    def _acting_on(self) -> set[str]:
        losses = [part.method for part in self._at_work if isinstance(part.method, LatentLoss)] if self.acts else []
        return {loss.settings.acts_on for loss in losses}

    @property
    def edit(self) -> Part | None:
        """The edit of attention scores, if there is one, which any pass of the network lets us do."""
        return next((part for part in self._at_work if isinstance(part.method, ScoreEdit)), None) if self.acts else None

    @property
    def mix(self) -> Part | None:
        """The mixture of attention outputs, if there is one, which any pass of the network lets us do."""
        return next((part for part in self._at_work if isinstance(part.method, OutputMix)), None) if self.acts else None

    @property
    def arrangement(self) -> Part | None:
        """The rearrangement of the noise, if there is one."""
        return (
            next((part for part in self._at_work if isinstance(part.method, Rearrangement)), None)
            if self.acts
            else None
        )

    @property
    def _at_work(self) -> list[Part]:
        return [part for part in self.method.parts if part.weight > 0 and part.method.applies(self.targets)]

    def laid_out(self, width: int, height: int) -> Plan:
        """The plan for a picture of `width` × `height` pixels: a method that takes a layout has the artist's, or the
        solver's.
        """
        layout = self.layout
        if layout is None and self.method.takes_layout:
            layout = solve(self.targets, width, height)
        return self if layout is None else replace(self, layout=layout, method=self.method.placed(layout))

    def announce(self) -> None:
        """Notes in the record all that is known when the node has run."""
        self.record.plan(self.method, self.targets, warnings=self._warnings(), **self._known)

    def begin(self, sampler, sigmas: torch.Tensor, noise: torch.Tensor, latent: torch.Tensor | None = None) -> RunLog:
        """The log of the run that begins now with this sampler, or that it continues."""
        return self.record.begin(
            self.method,
            self.targets,
            sigmas=sigmas.tolist(),
            size=(noise.shape[0], *noise.shape[-2:]),
            latent=latent,
            execution=queue_entry(),
            sampler=name_of(sampler),
            total_steps=max(len(sigmas) - 1, 0),
            warnings=self._warnings(sampler, (noise.shape[-1] * self.pixels, noise.shape[-2] * self.pixels)),
            pixels=self.pixels,
            **self._known,
        )

    @property
    def _known(self) -> dict:
        return {"strength": self.strength, "start": self.start, "end": self.end, "reason": self.reason}

    def _warnings(self, sampler=None, size: tuple[int, ...] = ()) -> list[str]:
        warnings = [*unnoticed(self.method, self.targets, self.layout, size), *self.method.check(self.targets)]
        warnings += self.hints if self.acts else ()
        if self.acts and self.method.takes_layout and self.layout is None:
            warnings.append(
                "No layout is connected, so the objects go where the solver puts them. Connect Predict Layout to see "
                "and change their places."
            )
        elif self.method.takes_layout and self.layout is not None and not self.layout.placements:
            warnings.append("The layout has a place for none of the objects, so the picture is left unchanged.")
        facts = facts_of(sampler) if sampler is not None else None
        if facts is not None and facts.support == "approximate" and self.moves:
            warnings.append(
                f"The sampler {name_of(sampler)} takes the method's moves only in part: {facts.note}. Euler and "
                f"dpmpp_2m take them whole."
            )
        return warnings
