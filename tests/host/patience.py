"""How long a test waits: as long as what it waits for is alive and something moves, however busy the machine is.

A clock alone cannot tell a machine that is busy from a server that hangs. What hangs shows it in one of three ways: its
process is gone, it stands still (its processor time does not grow), or it works on and on without a sign of progress.
"""

from __future__ import annotations

import os
import subprocess
import time

import psutil

# Of the clock, in which what is waited for uses hardly any of the processor and gives no sign.
STILL_SECONDS = 120.0
# A server or a page that waits for work uses less of the processor than this, a starved one more.
IDLE_SHARE = 0.004
# Of the clock, without a sign from one that works just enough not to stand still (a page that blinks).
SILENT_SECONDS = 1200.0
# Of the processor, spent without a sign of progress. What a test waits for takes a few.
WORK_SECONDS = 240.0


class Patience:
    """One wait. `moved()` notes a sign of progress; `check()`, called now and then, raises AssertionError when there is
    no more hope. `process` is what must be alive, and whose work counts; without one that of all processes that the
    tests started does. `work` bounds the whole wait, signs or not, in seconds of the processor. New lines in the file
    `log` are signs of progress.
    """

    def __init__(
        self, what: str, process: subprocess.Popen | None = None, work: float = WORK_SECONDS, log=None
    ) -> None:
        self.what = what
        self.process = process
        self.log = log
        self._most = work
        self._processor = Processor(process)
        self._begun = self._processor.seconds()
        self._written = self._size()
        self.moved()

    def moved(self) -> None:
        """Something was seen to happen."""
        self._sign, self._sign_work = time.monotonic(), self._processor.seconds()

    def check(self) -> None:
        """Whether to go on waiting. Raises AssertionError with the end of the log if not."""
        if self.process is not None and self.process.poll() is not None:
            self._give_up(f"the process ended with {self.process.returncode}")
        if self._size() != self._written:
            self._written = self._size()
            self.moved()
        now = self._processor.seconds()
        silent, worked = time.monotonic() - self._sign, now - self._sign_work
        if silent > STILL_SECONDS and worked < IDLE_SHARE * silent:
            self._give_up(f"nothing has moved for {silent:.0f} s")
        if silent > SILENT_SECONDS:
            self._give_up(f"no sign of progress for {silent:.0f} s")
        if worked > WORK_SECONDS:
            self._give_up(f"{worked:.0f} s of work without a sign of progress")
        if now - self._begun > self._most:
            self._give_up(f"{now - self._begun:.0f} s of work were not enough")

    def until(self, condition, pause: float = 0.1):
        """What `condition()` gives, as soon as it is true."""
        while not (found := condition()):
            self.check()
            time.sleep(pause)
        return found

    def _size(self) -> int:
        return os.path.getsize(self.log) if self.log is not None else 0

    def _give_up(self, why: str) -> None:
        words = ""
        if self.log is not None:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                words = "\n" + file.read()[-6000:]
        raise AssertionError(f"waiting for {self.what}: {why}{words}")


class Processor:
    """Seconds of the processor that a process and those it started have used, those that have ended included; without
    a process all that were started by this one.
    """

    def __init__(self, process: subprocess.Popen | None = None) -> None:
        self._process = process
        self._known: dict[tuple[int, float], float] = {}

    def seconds(self) -> float:
        for child in self._processes():
            try:
                times = child.cpu_times()
                self._known[child.pid, child.create_time()] = times.user + times.system
            except psutil.Error:  # ended meanwhile
                continue
        return sum(self._known.values())

    def _processes(self) -> list[psutil.Process]:
        if self._process is None:
            return psutil.Process().children(recursive=True)
        try:
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def finished(command: list[str], what: str, log, **options) -> int:
    """The exit status of a command that writes into the file `log`, which is its sign of progress."""
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, **options)
    patience = Patience(what, work=float("inf"), log=log)
    try:
        patience.until(lambda: process.poll() is not None, pause=0.5)
    finally:
        process.kill()
    return process.returncode
