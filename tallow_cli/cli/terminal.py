"""The terminal while a session runs: Ctrl-C leaves no `^C` in the middle of the live display."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


@contextmanager
def without_control_echo(stdin: TextIO) -> Iterator[Callable[[], None]]:
    """Have the terminal not show control characters for a while. Yields what undoes it early, for a hasty exit.

    Written at the cursor, `^C` would shift the display by a line, and what is redrawn or erased would be another.
    Does nothing where standard input is no terminal of ours: a job in the background would be stopped for trying.
    """
    change = _switch(stdin, on=False)

    def undo() -> None:
        if change:
            _switch(stdin, on=True)

    try:
        yield undo
    finally:
        undo()


def _switch(stdin: TextIO, *, on: bool) -> bool:
    """Whether the terminal's ECHOCTL was changed."""
    if sys.platform == "win32" or not stdin.isatty():
        return False
    import termios

    with suppress(OSError, termios.error):
        terminal = stdin.fileno()
        if os.tcgetpgrp(terminal) != os.getpgrp():
            return False
        attributes = termios.tcgetattr(terminal)
        if bool(attributes[3] & termios.ECHOCTL) is on:
            return False
        attributes[3] ^= termios.ECHOCTL
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
        return True
    return False
