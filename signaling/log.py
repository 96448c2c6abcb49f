"""What the server says, a line at a time, without ever waiting for whoever reads it.

Strangers decide how much a server logs, and its reader may stop reading (a stopped terminal, a collector that hangs):
neither may stop the server or fill its memory. What nobody takes is dropped, and counted.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

MOST_WAITING: Final = 2_000  # lines: a few hundred KB
FLUSH_S: Final = 1.0  # for the last of them, at the end


def _dropped(count: int) -> str:
    return f"{count} more lines were not written: nobody read them in time."


class LineLog:
    """Writes lines to `descriptor` from a thread of its own. A reader that goes away is written to no more.

    `dropped(count)` is the line that stands for `count` that nobody read in time.
    """

    def __init__(
        self,
        descriptor: int = 2,
        dropped: Callable[[int], str] = _dropped,
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.problem: OSError | None = None  # why nothing is written any more
        self.total_dropped = 0
        self._descriptor = descriptor
        self._dropped_line = dropped
        self._most_waiting = most_waiting
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self._writing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def say(self, line: str) -> None:
        """Have `line` written, if its turn comes."""
        with self._changed:
            if self.problem is not None:
                return
            if len(self._waiting) >= self._most_waiting:
                self._dropped += 1
                self.total_dropped += 1
                return
            self._waiting.append(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="signaling-log")
                self._thread.start()
            self._changed.notify_all()

    def flush(self, patience_s: float = FLUSH_S) -> bool:
        """Wait so long at most until every line is written. Returns whether nothing waits, or ever will."""
        until = time.monotonic() + patience_s
        with self._changed:
            while (self._waiting or self._writing) and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._waiting and not self._writing

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                while not self._waiting:
                    self._changed.wait()
                self._writing = True
                lines = self._take()
            try:
                self._write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
            except OSError as problem:
                with self._changed:
                    self.problem = problem
                    self._writing = False
                    self._waiting.clear()
                    self._changed.notify_all()
                return

    def _take(self) -> list[str]:
        """Everything that waits, and how much was dropped before it came to that."""
        lines = [*self._waiting]
        self._waiting.clear()
        if self._dropped:
            lines.append(self._dropped_line(self._dropped))
            self._dropped = 0
        return lines

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # whoever shares it made it non-blocking
                with suppress(OSError, ValueError):
                    select.select([], [self._descriptor], [], 1.0)
