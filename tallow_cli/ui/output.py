"""A text stream people or scripts read: never waited for, and written in letters that it has."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, TextIO

from tallow_cli.ui.sanitize import columns
from tallow_cli.ui.writer import PATIENCE_S, QUIET_S, DescriptorWriter, InlineWriter, Writer

# Our own typography, for streams that lack it; anything else they lack is written as an escape.
_PLAIN_LETTERS: Final = {"…": "...", "–": "-", "·": "-", "→": "->", "✓": "*"}
# Where every letter must keep its column.
_NARROW_LETTERS: Final = {**_PLAIN_LETTERS, "…": ".", "→": ">"}

# The reader is gone: it closed the pipe, or its terminal hung up.
_GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.ENXIO, errno.ESHUTDOWN, errno.ECONNRESET})


class Output:
    """Writes without ever waiting; a reader that went away is written to no more, and ends nothing.

    It is file enough for rich's Console: `write`, `flush`, `isatty`, `encoding`. `writer` is shared with another
    Output that leads to the same place, so that what is said on both comes in order. With `must_tell`, a write after
    one that failed for another reason than that the reader went away (a full disk) raises its OSError.
    """

    def __init__(self, stream: TextIO, *, writer: Writer | None = None, must_tell: bool = False) -> None:
        self._stream = stream
        self.writer = writer or writer_for(stream)
        self._must_tell = must_tell
        self._lists_are_cut = False
        self.is_terminal = stream.isatty()

    def write(self, text: str) -> int:
        """Have it written. Raises OSError as the class says."""
        self.put(text)
        return len(text)

    def put(self, text: str | Iterable[str], *, replaces: str | None = None) -> None:
        """`write`, for a text that may be made in parts when it is its turn, or replace one that still waits.

        Parts are asked for on another thread.
        """
        if self._must_tell and (problem := self.problem) is not None:
            raise problem
        self.writer.write(text if isinstance(text, str) else self._parts(text), replaces)

    def cut_lists(self) -> None:
        """Nobody waits for the rest of what is written in parts: whole parts of it are left out from now on."""
        self._lists_are_cut = True

    def line(self, text: str = "", *, replaces: str | None = None) -> None:
        self.put(text + "\n", replaces=replaces)

    def flush(self) -> None:
        """For rich; `finish` waits."""

    def finish(self, quiet_s: float = QUIET_S, patience_s: float = PATIENCE_S) -> bool:
        """Wait for the reader, while it reads. Returns whether everything is written."""
        return self.writer.flush(quiet_s, patience_s)

    @property
    def is_behind(self) -> bool:
        return self.writer.is_behind

    @property
    def is_in_front(self) -> bool:
        """False for a terminal that has another job in its foreground: a shell's prompt stands where we would draw."""
        if not self.is_terminal or sys.platform == "win32":
            return True
        with suppress(OSError, ValueError):
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        return True  # not the terminal that controls us

    @property
    def is_gone(self) -> bool:
        """Whether nobody reads this any more."""
        problem = self.writer.problem
        return problem is not None and (isinstance(problem, BrokenPipeError) or problem.errno in _GONE)

    @property
    def problem(self) -> OSError | None:
        """Why nothing can be written, where it is not that the reader went away."""
        return None if self.is_gone else self.writer.problem

    @property
    def columns(self) -> int | None:
        """The width of the terminal that this leads to; None where it leads elsewhere."""
        return self._size().columns if self.is_terminal else None

    @property
    def rows(self) -> int:
        """The height of that terminal, or a usual one."""
        return self._size().lines

    def _size(self) -> os.terminal_size:
        """Of the terminal that this leads to: standard output may be a pipe, and standard error a narrow window."""
        with suppress(OSError, ValueError):
            size = os.get_terminal_size(self._stream.fileno())
            if size.columns and size.lines:
                return size
        return shutil.get_terminal_size()

    def _parts(self, text: Iterable[str]) -> Iterator[str]:
        for part in text:
            if self._lists_are_cut:
                return
            if part:
                yield part

    def isatty(self) -> bool:
        return self.is_terminal

    @property
    def encoding(self) -> str:
        return self._stream.encoding or "ascii"

    @property
    def is_utf8(self) -> bool:
        return self.encoding.lower().replace("-", "") in ("utf8", "utf8sig")

    def columns_kept(self, text: str) -> str:
        """`text` in letters that the stream has, each as wide as it was: for what is drawn to fit."""
        if self.is_utf8 or text.isascii():
            return text
        return "".join(_narrow(letter, self.encoding) for letter in text)


def outputs(stdout: TextIO, stderr: TextIO) -> tuple[Output, Output]:
    """What is written to standard output (the results) and to standard error (for people)."""
    results = Output(stdout, must_tell=True)
    return results, Output(stderr, writer=results.writer if _lead_to_one_place(stdout, stderr) else None)


def writer_for(stream: TextIO) -> Writer:
    """A writer that never waits, where the stream is a descriptor's."""
    encoding = stream.encoding or "ascii"

    def put(text: str) -> None:
        stream.write(encodable(text, encoding))
        stream.flush()

    # Only what is sure to be a descriptor's: a subclass may stand for anything.
    if sys.platform == "win32" or type(stream) is not io.TextIOWrapper:
        return InlineWriter(put)
    try:
        stream.flush()
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return InlineWriter(put)
    return DescriptorWriter(descriptor, lambda text: encodable(text, encoding).encode(encoding, "replace"))


def encodable(text: str, encoding: str) -> str:
    """`text` in letters that `encoding` has: ours in plain ones, others as escapes."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(letter if _has(encoding, letter) else _plain(letter) for letter in text)
    return text


def _plain(letter: str) -> str:
    return _PLAIN_LETTERS.get(letter) or letter.encode("ascii", "backslashreplace").decode("ascii")


def _narrow(letter: str, encoding: str) -> str:
    return letter if _has(encoding, letter) else _NARROW_LETTERS.get(letter) or "?" * columns(letter)


def _has(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _lead_to_one_place(one: TextIO, other: TextIO) -> bool:
    try:
        return type(one) is type(other) is io.TextIOWrapper and os.path.sameopenfile(
            one.fileno(), other.fileno()
        )
    except (OSError, ValueError):
        return False
