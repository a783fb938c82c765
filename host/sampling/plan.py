"""What the Apply node was told, the same for every run of the patched model."""

from dataclasses import dataclass

import torch

from ...core.control.record import Record, RunLog
from ...core.layout import Layout
from ...core.methods.base import LATENT, PREDICTION, LatentLoss, Method, OutputMix, Part, ScoreEdit
from ...core.prompt.targets import Targets
from ...core.show.ignored import unnoticed
from ..progress import queue_entry
from .samplers import facts_of
from .solvers import name_of

# Pixels of the picture per latent pixel, in all models that can be patched.
_PIXELS = 8


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
    local: tuple[torch.Tensor, ...] = ()  # the encoded prompt of each placed object

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
    def _at_work(self) -> list[Part]:
        return [part for part in self.method.parts if part.weight > 0 and part.method.applies(self.targets)]

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
            warnings=self._warnings(sampler, (noise.shape[-1] * _PIXELS, noise.shape[-2] * _PIXELS)),
            **self._known,
        )

    @property
    def _known(self) -> dict:
        return {"strength": self.strength, "start": self.start, "end": self.end, "reason": self.reason}

    def _warnings(self, sampler=None, size: tuple[int, ...] = ()) -> list[str]:
        warnings = [*unnoticed(self.method, self.targets, self.layout, size), *self.method.check(self.targets)]
        warnings += self.hints if self.acts else ()
        if self.mix is not None and self.layout is None:
            warnings.append(
                "No layout is connected, so the objects go where the solver puts them. Connect Predict Layout to see "
                "and change their places."
            )
        elif self.mix is not None and not self.layout.placements:
            warnings.append("The layout has a place for none of the objects, so the picture is left unchanged.")
        facts = facts_of(sampler) if sampler is not None else None
        if facts is not None and facts.support == "approximate" and self.moves:
            warnings.append(
                f"The sampler {name_of(sampler)} takes the method's moves only in part: {facts.note}. Euler and "
                f"dpmpp_2m take them whole."
            )
        return warnings
