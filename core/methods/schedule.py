"""When a latent is updated, by how much, and when it is refined. The one place that knows.

Progress is the fraction of the noise schedule that is behind us, in [0, 1] (the host's percent): the published codes
count steps, "25 of 50", which is 0 to 0.5 here and holds for any number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

# A step at "20 %" may be at 0.19999999 by the host's arithmetic.
_SLACK = 1e-6


@dataclass(frozen=True)
class Schedule:
    """One update per step while start <= progress < end; up to `refine_steps` more at each point of `refine_at`.

    `step_size` is in units of the variance-preserving latent (the papers' α). `decay` is the share that its square
    loses over the run: 0.5 is the published √linspace(1, ½), 0 is a constant size.
    `tests_late`: the published loops look at the loss from before the last update, so they stop one update late.
    """

    start: float = 0.0
    end: float = 0.5
    step_size: float = 1.0
    decay: float = 0.5
    refine_at: tuple[float, ...] = ()
    refine_steps: int = 0
    tests_late: bool = False

    def narrowed(self, start: float = 0.0, end: float = 1.0) -> Schedule:
        """The part of this schedule inside [start, end)."""
        return replace(self, start=max(self.start, start), end=min(self.end, end))

    def active(self, progress: float) -> bool:
        return self.start - _SLACK <= progress < self.end - _SLACK

    def size_at(self, progress: float) -> float:
        return self.step_size * sqrt(1.0 - self.decay * min(max(progress, 0.0), 1.0))

    def refinement_due(self, progress: float, last_done: int | None = None) -> int | None:
        """Index of the refinement point that fires now, None if none does.

        A point fires at the first step at or after it, once. If several have been passed since the last one that was
        done (a run that starts late), only the latest fires. `last_done` is the index of the last one that fired.
        """
        if self.refine_steps < 1:
            return None
        passed = [i for i, at in enumerate(self.refine_at) if at <= progress + _SLACK]
        if not passed:
            return None
        latest = max(passed, key=lambda i: self.refine_at[i])
        if last_done is not None and self.refine_at[latest] <= self.refine_at[last_done]:
            return None
        return latest
