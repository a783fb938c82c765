"""What one sampling run did, for the viewer and the report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..maps.recorder import TargetMaps
from ..methods.base import Method
from ..prompt.targets import Targets
from .latent import StepLog
from .outputs import MixLog
from .scores import EditLog


@dataclass
class Record:
    """Travels on the RECORD wire: made empty by the Apply node, filled while the sampler runs, read by the viewer.

    The host caches a node's outputs, so the same object comes back when a workflow is queued again: `begin` empties it.
    It holds small CPU tensors only. `steps` is the list that the run's LatentOptimiser logs to, `edits` that of its
    ScoreEditor, `mixes` that of its OutputMixer. `seconds` is the time spent on the updates, `run_seconds` that of the
    whole sampling, if known. `reason` is why `auto` chose the method.
    """

    method: Method | None = None
    targets: Targets | None = None
    strength: float = 1.0
    start: float = 0.0
    end_at: float = 1.0
    sampler: str = ""
    total_steps: int | None = None
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    steps: list[StepLog] = field(default_factory=list)
    edits: list[EditLog] = field(default_factory=list)
    mixes: list[MixLog] = field(default_factory=list)
    maps: TargetMaps = field(default_factory=TargetMaps)
    seconds: float = 0.0
    run_seconds: float | None = None
    finished: bool = False
    interrupted: bool = False

    def begin(
        self,
        method: Method,
        targets: Targets,
        *,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        sampler: str = "",
        total_steps: int | None = None,
        warnings: list[str] | tuple[str, ...] = (),
        reason: str = "",
    ) -> None:
        """Forget the run before and note what this one is; `self.steps`, `self.edits` and `self.mixes` are the run's
        logs to fill.
        """
        # The text encoder's attention may lie on the GPU, and the encoder itself should not be kept by a record.
        fresh = Record(
            method,
            replace(targets, text_attention=None, encode=None),
            strength,
            start,
            end,
            sampler,
            total_steps,
            reason,
            list(warnings),
        )
        self.__dict__.update(fresh.__dict__)

    def warn(self, sentence: str) -> None:
        """Note something that the artist should know, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def end(self, seconds: float, run_seconds: float | None = None, interrupted: bool = False) -> None:
        """Note that the run is over, in whichever way (call it in `finally`)."""
        self.seconds = seconds
        self.run_seconds = run_seconds
        self.interrupted = interrupted
        self.finished = True

    @property
    def updates(self) -> int:
        """Updates of the image that got most of them."""
        counts = [entry.updates for entry in self.steps if entry.updates is not None]
        return int(sum(counts).max()) if counts else 0

    @property
    def evaluations(self) -> int:
        """Network calls that the updates cost, over and above plain sampling."""
        return sum(entry.evaluations for entry in self.steps)

    @property
    def window(self) -> tuple[float, float]:
        """The part of the run in which updates were allowed: the method's own, narrowed by the Apply node's."""
        start, end = self.method.window
        return max(start, self.start), min(end, self.end_at)

    def measured(self) -> list[StepLog]:
        """The steps at which a loss was computed."""
        return [entry for entry in self.steps if entry.first is not None]

    def edited(self) -> list[EditLog]:
        """The steps at which scores were edited."""
        return [entry for entry in self.edits if entry.before is not None]

    @property
    def acted(self) -> bool:
        """Whether there was a step at which the method was in force."""
        return bool(self.steps or self.edits or self.mixes)
