"""What this end was at: its threads on a core, without one, or blocked, and by what (`measure.diagnosis.EndUse`).

Linux tells of each thread how long it ran, and how long it was ready while others had the cores
(/proc/self/task/*/schedstat). Where it does not, the processor time of the event loop's thread is all that is known.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import Final

from tallow_cli.measure.account import Stopwatch
from tallow_cli.measure.causes import Cause
from tallow_cli.measure.diagnosis import EndUse

# What is said of now is the mean of so many looks, at five a second: one look may fall between two writes.
_LOOKS: Final = 4
# So many pages that had to be read back from the disk in a second, with so much of the memory in use, are a machine
# without memory; a program's own pages come in at its start, too.
_MAJOR_FAULTS_PER_S: Final = 50
_FULL_MEMORY: Final = 0.9


class WorkClock:
    """What the worker's thread is at: it says so itself, and the event loop's thread reads it."""

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._stopwatch = Stopwatch(now, Cause.NOTHING)
        self.thread_id: int | None = None

    def at(self, now: float, cause: Cause) -> None:
        """From now on the calling thread works at this; NOTHING: it waits for work."""
        with self._lock:
            self.thread_id = threading.get_native_id()
            self._stopwatch.spend(now, cause)

    def take(self, now: float) -> dict[Cause, float]:
        with self._lock:
            return self._stopwatch.take(now)


class EndUseMeter:
    """Call `look` five times a second, on the event loop's thread, which made it."""

    def __init__(self, now: float, work: WorkClock) -> None:
        self._work = work
        self._loop_thread = threading.get_native_id()
        self._at = now
        self._loop_s = _thread_seconds(self._loop_thread) or (time.thread_time(), 0.0)
        self._work_s: tuple[float, float] | None = None
        self._faults = _major_faults()
        self._looks: deque[tuple[float, EndUse]] = deque(maxlen=_LOOKS)

    def look(self, now: float, memory_fraction: float | None) -> EndUse:
        """The mean of the last looks, this one included."""
        elapsed_s = now - self._at
        if elapsed_s > 0:
            self._looks.append((elapsed_s, self._use(now, elapsed_s, memory_fraction)))
            self._at = now
        return _mean(self._looks)

    def _use(self, now: float, elapsed_s: float, memory_fraction: float | None) -> EndUse:
        loop_s = _thread_seconds(self._loop_thread) or (time.thread_time(), 0.0)
        ran, waited = (max(0.0, after - before) for after, before in zip(loop_s, self._loop_s, strict=True))
        self._loop_s = loop_s
        work = self._work.take(now)
        work_ran, work_waited = self._worker_ran(elapsed_s)
        busy_s = sum(seconds for cause, seconds in work.items() if cause is not Cause.NOTHING)
        # What the thread needed of a core it did not spend blocked.
        part = max(0.0, 1 - (work_ran + work_waited) / busy_s) if busy_s > 0 else 0.0
        blocked: dict[Cause, float] = {
            cause: min(1.0, seconds / elapsed_s * (1.0 if cause is Cause.VERIFYING else part))
            for cause, seconds in work.items()
            if cause is not Cause.NOTHING
        }
        faults = _major_faults()
        if (
            memory_fraction or 0.0
        ) >= _FULL_MEMORY and faults - self._faults >= _MAJOR_FAULTS_PER_S * elapsed_s:
            blocked[Cause.MEMORY] = 1.0
        self._faults = faults
        return EndUse(
            min(1.0, max(ran, work_ran) / elapsed_s), min(1.0, max(waited, work_waited) / elapsed_s), blocked
        )

    def _worker_ran(self, elapsed_s: float) -> tuple[float, float]:
        """For how long the worker's thread ran and waited, of these seconds."""
        thread_id = self._work.thread_id
        seconds = None if thread_id is None else _thread_seconds(thread_id)
        before, self._work_s = self._work_s, seconds
        if seconds is None or before is None:
            return 0.0, 0.0
        ran, waited = (max(0.0, after - earlier) for after, earlier in zip(seconds, before, strict=True))
        return min(ran, elapsed_s), min(waited, elapsed_s)


def _mean(looks: deque[tuple[float, EndUse]]) -> EndUse:
    total_s = sum(elapsed_s for elapsed_s, _ in looks)
    if total_s <= 0:
        return EndUse()
    blocked: dict[Cause, float] = {}
    for elapsed_s, use in looks:
        for cause, share in use.blocked.items():
            blocked[cause] = blocked.get(cause, 0.0) + share * elapsed_s / total_s
    return EndUse(
        sum(use.core * elapsed_s for elapsed_s, use in looks) / total_s,
        sum(use.robbed * elapsed_s for elapsed_s, use in looks) / total_s,
        blocked,
    )


def _thread_seconds(thread_id: int) -> tuple[float, float] | None:
    """How long a thread of this process has run, and was ready to run while others had the cores."""
    with (
        suppress(OSError, ValueError),
        open(f"/proc/self/task/{thread_id}/schedstat", encoding="ascii") as file,
    ):
        ran_ns, waited_ns, _ = file.read().split()
        return int(ran_ns) / 1e9, int(waited_ns) / 1e9
    return None


def _major_faults() -> int:
    """Pages of this process that had to be read from a disk; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError), open("/proc/self/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[9])
    return 0


def memory_fraction() -> float | None:
    """Used share of physical memory (0-1); None where the system does not say (no /proc/meminfo)."""
    with suppress(OSError, ValueError, KeyError), open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
        total, available = (int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        return 1 - available / total
    return None
