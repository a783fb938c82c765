"""What acts inside a step's network calls: when, and its log. What score edits and output mixes have in common."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..methods.base import Method
from ..methods.schedule import Schedule

log = logging.getLogger("prompt_fidelity")


@dataclass
class InsideLog:
    """One step at which a method acted inside the network calls; `skipped` says why it could not."""

    index: int
    progress: float
    sigma: float | None = None
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


Entry = TypeVar("Entry", bound=InsideLog)


class InsideStep(Generic[Entry]):
    """Applies one method to one sampling run: decides at which steps, and keeps the log.

    `start` and `end` narrow the method's own window. `log` receives one entry per step at which the method acts (the
    caller's list, or a new one). Subclasses make the entry (`_entry_of`) and complete it (`_complete`).
    """

    def __init__(self, method: Method, applies: bool, start: float, end: float, log: list[Entry] | None) -> None:
        self.method = method
        self.schedule = Schedule(*method.window).narrowed(start, end)
        self.log: list[Entry] = [] if log is None else log
        self._applies = applies
        self._entry: Entry | None = None

    def wants(self, progress: float) -> bool:
        """Whether the method acts in the step at `progress`."""
        return self._applies and self.schedule.active(progress)

    @property
    def active(self) -> bool:
        """Whether the method acts in the network calls that are made now."""
        return self._entry is not None

    def begin(self, step: int, progress: float, sigma: float | None = None) -> None:
        """A step begins; what is done in all its network calls is that of its progress."""
        self.finish()
        if self.wants(progress):
            self._entry = self._entry_of(step, progress, sigma)

    def finish(self) -> None:
        """The step that was begun is over: its log is complete."""
        entry, self._entry = self._entry, None
        if entry is None:
            return
        self._complete(entry)
        for reason in entry.skipped:
            log.warning("%s at %.0f %% of the run: %s", self.method.title, entry.progress * 100, reason)
        self.log.append(entry)

    def _entry_of(self, step: int, progress: float, sigma: float | None) -> Entry:
        raise NotImplementedError

    def _complete(self, entry: Entry) -> None:
        raise NotImplementedError
