"""How a solver goes through its steps: which of its network calls begin one."""

import math
import weakref
from collections.abc import Mapping

import torch

from .samplers import SamplerFacts

# Some solvers shift their copy of the first sigma a little; schedules of 1000 steps still differ by more than this.
_SAME = 1e-3
# The first call of a solver is at its first step, unless it is farther than this from the schedule's first level.
_NEAR_THE_START = math.log(2.0)
# How near to an entry a call must be that is at none, as a share of the way to the entry's neighbour: half where the
# solver tells nothing else of its steps, less where it does, as calls inside a step are often made half way.
_HALF_WAY, _QUARTER = 0.5, 0.25
# A solver that has made so many calls without a report will make none.
_SILENT = 4
# So many calls are remembered between two callbacks.
_MOST_CALLS = 16


class Counted:
    """A solver of the host: a fixed number of calls a step (samplers.py), at whatever noise level."""

    def __init__(self, facts: SamplerFacts, sigmas: list[float]):
        self.facts = facts
        self.total = len(sigmas) - 1
        self._index = -1
        self._left = 0

    def begins(self, level: float, x: torch.Tensor | None) -> int | None:
        if self._left > 0:
            self._left -= 1
            return None
        self._index += 1
        calls = min(self.facts.calls, self.total - self._index) if self.facts.tapers else self.facts.calls
        self._left = calls - 1
        return self._index

    def called_back(self, told) -> None:
        """Counting needs no word from the solver."""


class Followed:
    """A solver that is not the host's: followed by the noise levels it calls at, and by the callbacks it gives.

    Levels alone do not tell: solvers call between the entries of the schedule inside a step, at the next entry before
    its step, or, adding noise first, above every entry (Euler Dy by 41 %, RES by 25 %). What is relied on:

    1. The first call is the first step's. How far off the schedule it is, later steps may be as well.
    2. A solver reports every step once, mostly with the latent of the step's own call: which call after a report that
       was, or whether the report comes when all calls of a step are made, is seen at the first reports.
    3. Until then, and for a solver that never reports, a call at an entry of the schedule counts; where the solver
       keeps off the schedule, one as far from an entry as the step before was, or the nearest.
    """

    def __init__(self, sigmas: list[float]):
        self._logs = [math.log(sigma) if sigma > 0 else -math.inf for sigma in sigmas]
        self.total = len(sigmas) - 1
        self._index = -1
        self._level = math.inf  # of the step begun last, a logarithm as all levels here
        self._shift = 0.0  # ... and how far that was above its entry
        self._reports = 0
        self._reported = -1  # the number of the step reported last
        self._due: int | None = None  # which call after a report begins the next step
        self._calls: list[weakref.ref | None] = []  # the latents of those since the last report
        self._since = 0
        self._begun = False  # whether one of them began a step

    def begins(self, level: float, x: torch.Tensor | None) -> int | None:
        self._since += 1
        self._calls = [*self._calls[-_MOST_CALLS + 1 :], None if x is None else weakref.ref(x)]
        log = math.log(level) if level > 0 else -math.inf
        index = self._index_at(log)
        if index is None or index >= self.total:
            return None
        self._index, self._level, self._begun = index, log, True
        self._shift = log - self._logs[index] if math.isfinite(log) else 0.0
        return index

    def called_back(self, told) -> None:
        """The solver reports a step: its latent is told["x"] (the host's KSAMPLER is told so by all of its solvers)."""
        x = told.get("x") if isinstance(told, Mapping) else getattr(told, "x", None)
        place = next((i for i, call in enumerate(self._calls, 1) if x is not None and call and call() is x), None)
        if self._reports == 0:
            # A report that comes when all of the step's calls are made: the next call is the next step's.
            self._due = 1 if self._since > 1 and place != 1 else None
        elif place is not None:
            self._due = place + self._since - len(self._calls)
        elif self._due is None:
            self._due = self._since
        self._reports += 1
        step = told.get("i") if isinstance(told, Mapping) else getattr(told, "i", None)
        self._reported = step if isinstance(step, int) else -1
        self._calls, self._since, self._begun = [], 0, False

    def _index_at(self, log: float) -> int | None:
        if self._index < 0:
            return 0 if abs(log - self._logs[0]) < _NEAR_THE_START else self._entry(log)
        if abs(log - self._level) < _SAME and not self._repeated:
            return None  # once more inside the step
        if self._reports and self._begun:
            return None  # the step in progress is yet to be reported
        if self._due is not None:
            return max(self._index, self._reported) + 1 if self._since == self._due else None
        index = self._entry(log)
        if index is not None or abs(self._shift) < _SAME:
            return index
        index = self._entry(log - self._shift)
        silent = not self._reports and self._since > _SILENT
        if index is None and (self._reports or silent):
            index = self._nearest(log - self._shift, _HALF_WAY if silent else _QUARTER)
        return index

    @property
    def _repeated(self) -> bool:
        """Whether the schedule's next entry is the level of the step that was begun."""
        following = self._logs[self._index + 1 : self._index + 2]
        return bool(following) and abs(following[0] - self._logs[self._index]) < _SAME

    def _entry(self, log: float) -> int | None:
        """The next entry of the schedule at this very level."""
        later = range(self._index + 1, self.total)
        return next((index for index in later if abs(log - self._logs[index]) < _SAME), None)

    def _nearest(self, log: float, share: float) -> int | None:
        """The entry nearest to a level, if the level is no farther than `share` of the way to the entry's neighbour."""
        later = [index for index in range(self._index + 1, self.total) if math.isfinite(self._logs[index])]
        if not later or not math.isfinite(log):
            return None
        index = min(later, key=lambda index: abs(log - self._logs[index]))
        neighbour = index - 1 if log > self._logs[index] or index + 1 >= self.total else index + 1
        way = abs(self._logs[neighbour] - self._logs[index])
        return index if abs(log - self._logs[index]) < share * way else None
