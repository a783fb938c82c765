"""What the sampling runs of one Apply node did, for the viewer and the report."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

from torch import Tensor

from ..check.evidence import Evidence
from ..layout.boxes import Layout
from ..maps.recorder import TargetMaps
from ..methods.base import Method
from ..prompt.targets import Targets
from .arranged import ArrangeLog
from .outputs import MixLog
from .parts import StepLog
from .scores import EditLog

# A sampler that tiles a picture makes a run of every tile; of so many the maps are kept.
_MOST_RUNS = 64
# Noise levels of two pieces of one run, which two schedules may have computed.
_SAME_LEVEL = 1e-3


@dataclass(eq=False)
class RunLog:
    """What one run did: the drawing of a picture from its first noise level to its last, in one piece or in several.

    It holds small CPU tensors only. `steps` is the list that the run's LatentOptimiser logs to, `edits` that of its
    ScoreEditor, `mixes` that of its OutputMixer, `arranged` that of its LatentArranger. `layout` is where the
    objects were to go, if that was said. `seconds` is the time spent on the updates, `run_seconds` that of the
    whole sampling, if known. `reason` is why `auto` chose the method. `recognised` counts the steps whose beginning
    was seen, of `total_steps`. `size` is the latent's (batch, height, width), of which a cell is `pixels` of the
    picture wide, `level` the noise level that it ends at and `ends_like` some values of the latent there. `carried`
    is what one piece leaves to the next, until the picture is drawn. `evidence` is what the model said of the finished
    picture, if it was asked.
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
    arranged: list[ArrangeLog] = field(default_factory=list)
    maps: TargetMaps = field(default_factory=TargetMaps)
    layout: Layout | None = None
    seconds: float = 0.0
    run_seconds: float | None = None
    finished: bool = False
    interrupted: bool = False
    recognised: int | None = None
    pieces: int = 1
    size: tuple[int, ...] = ()
    pixels: int = 8
    level: float = 0.0
    ends_like: tuple[float, ...] = ()
    carried: dict = field(default_factory=dict)
    evidence: Evidence | None = None

    def warn(self, sentence: str) -> None:
        """Note something that the artist should know, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def end(
        self,
        seconds: float,
        run_seconds: float | None = None,
        interrupted: bool = False,
        recognised: int | None = None,
    ) -> None:
        """Note that the run, or a piece of it, is over, in whichever way (call it in `finally`)."""
        self.seconds += seconds
        if run_seconds is not None:
            self.run_seconds = run_seconds + (self.run_seconds or 0.0)
        if recognised is not None:
            self.recognised = recognised + (self.recognised or 0)
        self.interrupted = interrupted
        self.finished = True
        if not self.open:
            self.carried = {}

    @property
    def open(self) -> bool:
        """Whether another piece may go on where this one ended: above the last noise level."""
        return self.finished and not self.interrupted and self.level > 0

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

    def rearranged(self) -> list[ArrangeLog]:
        """The steps before which the noise was rearranged."""
        return [entry for entry in self.arranged if entry.shifts is not None]

    @property
    def acted(self) -> bool:
        """Whether there was a step at which the method was in force."""
        return bool(self.steps or self.edits or self.mixes or any(not entry.skipped for entry in self.arranged))


class _OfTheLatest:
    """A field of the record that is the latest run's."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, record: Record | None, owner: type | None = None):
        return self if record is None else getattr(record.latest, self.name)

    def __set__(self, record: Record, value) -> None:
        setattr(record.latest, self.name, value)


class Record:
    """Travels on the RECORD wire: made empty by the Apply node, filled while samplers run, read by the viewer.

    It holds the runs of one queue entry (`execution`): two samplers may share an Apply node, a second pass may follow a
    first, a sampler may draw its picture in tiles. Pieces that go on with each other (halves of a schedule, one step at
    a time) are one run. The host caches a node's outputs, so the same object comes back when a workflow is queued
    again: the first run of another entry empties it. All that a RunLog has is also the record's, as the latest run's.
    """

    def __init__(self) -> None:
        self.runs: list[RunLog] = []
        self.count = 0  # of the runs in this queue entry, those no longer kept included
        self.execution: str | None = None
        self.executions = 0
        self._planned = RunLog()
        self._shown: list[tuple[weakref.ref, RunLog]] = []

    @property
    def latest(self) -> RunLog:
        """The run begun or continued last; before the first, what is known of any."""
        return self.runs[-1] if self.runs else self._planned

    def plan(self, method: Method, targets: Targets, **known) -> None:
        """Note what is known before any run: as `begin`, for the Apply node."""
        self.runs, self.count = [], 0
        self._planned = _new_run(method, targets, **known)

    def begin(
        self,
        method: Method,
        targets: Targets,
        *,
        sigmas: Sequence[float] = (),
        size: tuple[int, ...] = (),
        latent: Tensor | None = None,
        execution: str | None = None,
        **known,
    ) -> RunLog:
        """The log of the run that begins now, `runs[-1]` from here on: a new one, or one that it goes on with.

        `sigmas` are the run's noise levels, `size` its latent's (batch, height, width), `latent` what it starts from,
        `execution` the queue entry. Without any of these every run is the first of its entry. `known` are further
        fields of RunLog.
        """
        level = float(sigmas[0]) if len(sigmas) else math.inf
        if execution is None or execution != self.execution:
            self._forget(execution)
        fresh = _new_run(method, targets, **known)
        fresh.size, fresh.level = tuple(size), float(sigmas[-1]) if len(sigmas) else 0.0
        earlier = self._to_go_on_with(level, fresh.size, latent)
        if earlier is None:
            self.runs = [*self.runs[-_MOST_RUNS + 1 :], fresh]
            self.count += 1
            return fresh
        self.runs = [*(run for run in self.runs if run is not earlier), earlier]
        return _continued(earlier, fresh)

    def drawn(self, run: RunLog, samples: Tensor) -> None:
        """Note the latent that a run has just ended with, to know it again if another goes on from it."""
        run.ends_like = _likeness(samples) if run.open else ()

    def run_of(self, picture: Tensor, execution: str | None = None) -> tuple[RunLog, bool]:
        """The run that drew a picture [B, H, W, 3], and whether that is as good as sure.

        A picture that was asked for before has the run that it had then: the host's cache may bring back an older one.
        Of the others it is the latest run of its size, else of as many images, else the latest. It may be of another
        picture if nothing was sampled in this queue entry (`execution`), but was in several before it.
        """
        self._shown = [(ref, run) for ref, run in self._shown if ref() is not None]
        known = next((run for ref, run in self._shown if ref() is picture), None)
        if known is not None:
            return known, True
        batch, h, w = picture.shape[:3]
        runs = self.runs[::-1]
        fitting = [run for run in runs if run.size == (batch, h // run.pixels, w // run.pixels)]
        as_many = [run for run in runs if run.size[:1] == (batch,)]
        run = next(iter([*fitting, *as_many]), self.latest)
        older = execution is not None and execution != self.execution and self.executions > 1
        if not older:
            self._shown.append((weakref.ref(picture), run))
        return run, not older

    def _forget(self, execution: str | None) -> None:
        """The runs of another queue entry are over. Where entries aren't told apart, runs yet to be completed stay."""
        if execution is None and any(run.open for run in self.runs):
            return
        self.runs, self.count = [], 0
        self.execution = execution
        self.executions += 1

    def _to_go_on_with(self, level: float, size: tuple[int, ...], latent: Tensor | None) -> RunLog | None:
        """The run that one beginning at this noise level continues: known by its latent, or the one that waits
        longest, as samplers that draw regions or tiles by turns take these in the same order.
        """
        waiting = [run for run in self.runs if run.open and run.size == size]
        if latent is not None and waiting:
            likeness = _likeness(latent)
            same = next((run for run in waiting if run.ends_like == likeness), None)
            if same is not None:
                return same
        return next((run for run in waiting if math.isclose(run.level, level, rel_tol=_SAME_LEVEL)), None)

    # What the record itself has of its latest run.
    updates = _OfTheLatest()
    evaluations = _OfTheLatest()
    window = _OfTheLatest()
    acted = _OfTheLatest()
    open = _OfTheLatest()

    def warn(self, sentence: str) -> None:
        """As RunLog.warn, of the latest run."""
        self.latest.warn(sentence)

    def end(self, seconds: float, run_seconds: float | None = None, interrupted: bool = False) -> None:
        """As RunLog.end, of the latest run."""
        self.latest.end(seconds, run_seconds, interrupted)

    def measured(self) -> list[StepLog]:
        """As RunLog.measured, of the latest run."""
        return self.latest.measured()

    def edited(self) -> list[EditLog]:
        """As RunLog.edited, of the latest run."""
        return self.latest.edited()

    def rearranged(self) -> list[ArrangeLog]:
        """As RunLog.rearranged, of the latest run."""
        return self.latest.rearranged()


for _field in fields(RunLog):
    _delegate = _OfTheLatest()
    _delegate.__set_name__(Record, _field.name)
    setattr(Record, _field.name, _delegate)


def _new_run(
    method: Method,
    targets: Targets,
    *,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    warnings: Sequence[str] = (),
    **known,
) -> RunLog:
    # The text encoder's attention may lie on the GPU, and the encoder itself should not be kept by a record.
    targets = replace(targets, text_attention=None, encode=None)
    return RunLog(method, targets, strength, start, end, warnings=list(warnings), **known)


def _continued(run: RunLog, piece: RunLog) -> RunLog:
    """The run with another piece to come."""
    for sentence in piece.warnings:
        run.warn(sentence)
    if piece.sampler not in run.sampler.split(", "):
        run.sampler = ", ".join(filter(None, (run.sampler, piece.sampler)))
    run.total_steps = (run.total_steps or 0) + (piece.total_steps or 0)
    run.level = piece.level
    run.pieces += 1
    run.finished = False
    return run


def _likeness(latent: Tensor, places: int = 32) -> tuple[float, ...]:
    """A few of a latent's values: enough to know it again."""
    flat = latent.detach().flatten()
    return tuple(flat[:: max(flat.numel() // places, 1)].float().cpu().tolist())
