"""A trace in a file: JSON lines, written from a thread of their own (docs/reference/trace.md).

The event loop only puts a line into a bounded queue: a disk that is slow, full or gone costs lines, never time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final

import msgspec

from signaling.log import MOST_WAITING, LineLog
from tallow_cli import __version__
from tallow_cli.errors import BadOption, ReportExists, TargetUnwritable
from tallow_cli.tracing import milliseconds

VERSION: Final = 1
OPTION: Final = "--trace"
_FLUSH_S: Final = 2.0  # for the last lines; a disk that takes longer has stopped


class TraceFile:
    """A `Trace`. Make it with `open_trace`, and call `close` whatever happens."""

    def __init__(
        self,
        descriptor: int,
        path: str,
        role: str,
        now: float,
        unix_time: float,
        *,
        flush_s: float = _FLUSH_S,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._flush_s = flush_s
        self._descriptor = descriptor
        self._path = path
        self._began_at = now
        self.events = 0  # put down so far
        self._log = LineLog(descriptor, _dropped, most_waiting=most_waiting)
        header = {
            "trace_version": VERSION,
            "tallow": __version__,
            "vantage_point": role,
            "reference_time": round(unix_time * 1e3),
            "time_units": "ms",
        }
        self._log.say(msgspec.json.encode(header).decode())

    def __call__(self, now: float, name: str, data: Mapping[str, object]) -> None:
        """Have an event written, if there is room for it. Never waits."""
        event = {"time": milliseconds(now - self._began_at), "name": name, "data": data}
        self.events += 1
        self._log.say(msgspec.json.encode(event).decode())

    def close(self) -> str | None:
        """Write what waits, for a moment at most. Returns a sentence for people if the trace is not whole."""
        is_written = self._log.flush(self._flush_s)
        problem = self._log.problem
        if is_written or problem is not None:  # otherwise its thread hangs in a write
            try:
                os.close(self._descriptor)
            except OSError as error:  # NFS tells here that it kept nothing
                problem = problem or error
        if problem is not None:
            return f"The trace {self._path} ends early: it could not be written ({_reason(problem)})."
        if not is_written:
            return f"The trace {self._path} ends early: whatever it is written to takes nothing more."
        if self._log.total_dropped:
            return f"The trace {self._path} has gaps: {self._log.total_dropped:,} of its lines were not taken in time."
        return None


def open_trace(
    path: str,
    *,
    role: str,
    now: float,
    unix_time: float,
    flush_s: float = _FLUSH_S,
    most_waiting: int = MOST_WAITING,
) -> TraceFile:
    """A new file for this user only, or a pipe or device that is there and is read.

    Raises BadOption, ReportExists, TargetUnwritable.
    """
    if path == "-":
        raise BadOption(OPTION, "it needs a file of its own; standard output is taken")
    try:
        descriptor = _open(path)
    except FileExistsError:
        raise ReportExists(path, OPTION) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL, which no path holds
        raise TargetUnwritable(path, _reason(error), option=OPTION) from error
    return TraceFile(descriptor, path, role, now, unix_time, flush_s=flush_s, most_waiting=most_waiting)


def _open(path: str) -> int:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    if found is None or stat.S_ISREG(found.st_mode):
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    # Non-blocking, for a FIFO without a reader would be waited for; then blocking again, in the thread.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    os.set_blocking(descriptor, True)
    return descriptor


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        if error.errno == errno.ENXIO:
            return "nobody reads this pipe"
        return (error.strerror or type(error).__name__).lower()
    return str(error)


def _dropped(count: int) -> str:
    event = {"time": None, "name": "trace:lines_dropped", "data": {"lines": count}}
    return msgspec.json.encode(event).decode()
