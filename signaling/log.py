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
from contextlib import suppress
from typing import Final

MOST_WAITING: Final = 2_000  # lines: a few hundred KB
FLUSH_S: Final = 1.0  # for the last of them, at the end


class LineLog:
    """Writes lines to `descriptor` from a thread of its own. A reader that goes away is written to no more."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self._writing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_gone = False

    def say(self, line: str) -> None:
        """Have `line` written, if its turn comes."""
        with self._changed:
            if self._is_gone:
                return
            if len(self._waiting) >= MOST_WAITING:
                self._dropped += 1
                return
            self._waiting.append(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="signaling-log")
                self._thread.start()
            self._changed.notify_all()

    def flush(self, patience_s: float = FLUSH_S) -> None:
        """Wait so long at most until every line is written."""
        until = time.monotonic() + patience_s
        with self._changed:
            while (self._waiting or self._writing) and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

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
            except OSError:
                with self._changed:
                    self._is_gone = True
                    self._writing = False
                    self._waiting.clear()
                    self._changed.notify_all()
                return

    def _take(self) -> list[str]:
        """Everything that waits, and how much was dropped before it came to that."""
        lines = [*self._waiting]
        self._waiting.clear()
        if self._dropped:
            lines.append(f"{self._dropped} more lines were not written: nobody read them in time.")
            self._dropped = 0
        return lines

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # whoever shares it made it non-blocking
                with suppress(OSError, ValueError):
                    select.select([], [self._descriptor], [], 1.0)
