"""Writing to a descriptor whose reader may be slow, stopped, or gone, without ever waiting for it.

A terminal can be stopped (Ctrl-S, text selected in its window, a stalled ssh) and a pipe left unread for as long as
their reader likes. `write` only appends to a backlog; a thread does the write(2)s, blocked or not. So nothing that
shows output can hold up what moves the data.

Where the payload itself goes to standard output (`--output -`) this is not used: there a slow reader must slow the
sender, and one that is gone ends the transfer (`store.sequential_sink`).
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from tallow_cli.ui.backlog import Backlog, Text

# At the end: a reader that takes nothing for so long is taken to have stopped reading …
QUIET_S: Final = 30.0
# … and one that reads, however slowly, is waited for so long.
PATIENCE_S: Final = 300.0


class Writer(Protocol):
    """Where an Output's text goes."""

    @property
    def is_behind(self) -> bool:
        """Whether earlier text still waits to be written: its reader is slower than we are."""

    @property
    def problem(self) -> OSError | None:
        """Why writing has ended for good; BrokenPipeError is a reader that went away."""

    def write(self, text: Text, replaces: str | None = None) -> None:
        """Have it written, never waiting. `replaces` as in `Backlog.put`."""

    def flush(self, quiet_s: float, patience_s: float) -> bool:
        """Wait until all is written, while some of it is in every `quiet_s`. Returns whether it was."""


class InlineWriter:
    """Writes at once, by a function that cannot block: for streams that are no descriptors (tests, notebooks)."""

    is_behind = False

    def __init__(self, put: Callable[[str], None]) -> None:
        self._put = put
        self.problem: OSError | None = None

    def write(self, text: Text, replaces: str | None = None) -> None:
        if self.problem is not None:
            return
        try:
            for part in (text,) if isinstance(text, str) else text:
                self._put(part)
        except ValueError:  # closed
            self.problem = BrokenPipeError()
        except OSError as error:
            self.problem = error

    def flush(self, quiet_s: float, patience_s: float) -> bool:
        return self.problem is None


class DescriptorWriter:
    """Writes to `descriptor` from a thread of its own, started by the first write. Shared by all who write there."""

    def __init__(self, descriptor: int, encode: Callable[[str], bytes]) -> None:
        self._descriptor = descriptor
        self._backlog = Backlog(encode)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._writing = False  # a piece has been taken and is not out
        self._pieces_out = 0
        self.problem: OSError | None = None

    @property
    def is_behind(self) -> bool:
        return self._writing or not self._backlog.is_empty

    def write(self, text: Text, replaces: str | None = None) -> None:
        with self._changed:
            self._backlog.put(text, replaces)
            if self._thread is None and not self._backlog.is_closed:
                self._thread = threading.Thread(target=self._run, daemon=True, name="tallow-output")
                self._thread.start()
            self._changed.notify_all()

    def flush(self, quiet_s: float, patience_s: float) -> bool:
        now = time.monotonic()
        until, quiet_until = now + patience_s, now + quiet_s
        with self._changed:
            seen = self._pieces_out
            while self.is_behind:
                now = time.monotonic()
                if self._pieces_out != seen:
                    seen, quiet_until = self._pieces_out, now + quiet_s
                if now >= min(until, quiet_until):
                    self._backlog.drop_droppable()
                    return False
                self._changed.wait(min(until, quiet_until) - now)
        return self.problem is None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                while (piece := self._next_piece()) is None:
                    self._changed.notify_all()  # what waited turned out to be nothing
                    self._changed.wait()
                self._writing = True
            try:
                count = self._write(piece)
            except OSError as error:
                with self._changed:
                    self.problem = error
                    self._backlog.close()
                    self._writing = False
                    self._changed.notify_all()
                return
            with self._changed:
                self._pieces_out += 1
                self._backlog.written(count)

    def _next_piece(self) -> memoryview | None:
        return self._backlog.next_piece()

    def _write(self, piece: memoryview) -> int:
        while True:
            try:
                return os.write(self._descriptor, piece)
            except BlockingIOError:  # whoever shares it made it non-blocking
                with suppress(OSError, ValueError):
                    select.select([], [self._descriptor], [], 1.0)
