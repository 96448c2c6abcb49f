"""The terminal's settings while a session runs: Ctrl-C leaves no `^C` in the middle of the live display."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Keyboard:
    """The settings of the terminal that `stdin` is, as they were found; does nothing where it is none.

    Nor where it is not ours at the moment: a job in the background would be stopped for trying.
    """

    def __init__(self, stdin: TextIO) -> None:
        self._stdin = stdin
        self._found = self._settings()
        self._hidden = False

    @contextmanager
    def without_control_echo(self) -> Iterator[None]:
        """Have the terminal not show control characters for a while.

        Written at the cursor, `^C` would shift the display by a line, and what is redrawn or erased would be another.
        """
        self.hide_controls()
        try:
            yield
        finally:
            self.show_controls()

    def hide_controls(self) -> None:
        self._hidden = self._switch(on=False)

    def keep_hidden(self) -> None:
        """As `hide_controls`, if that could not be done: a job that was in the background then may be in front now, and
        no signal tells."""
        if not self._hidden:
            self.hide_controls()

    def show_controls(self) -> None:
        """As they were found: whoever had them off keeps them off."""
        self._hidden = False
        self._switch(on=True)

    def restore(self) -> None:
        """Put everything back as it was found, a line editor's settings too: for a hasty end, on any thread."""
        if self._found is None or not self._is_ours():
            return
        import termios

        with suppress(OSError, termios.error):
            # Between the look and the deed it may cease to be ours; the signal that stops us for that waits.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            termios.tcsetattr(self._stdin.fileno(), termios.TCSANOW, self._found)

    def _settings(self) -> list[Any] | None:
        if sys.platform == "win32" or not self._stdin.isatty():
            return None
        import termios

        with suppress(OSError, ValueError, termios.error):
            return termios.tcgetattr(self._stdin.fileno())
        return None

    def _is_ours(self) -> bool:
        with suppress(OSError, ValueError):
            return os.tcgetpgrp(self._stdin.fileno()) == os.getpgrp()
        return False

    def _switch(self, *, on: bool) -> bool:
        """Whether the terminal is ours, so that it was done."""
        if self._found is None or not self._is_ours():
            return False
        import termios

        if not self._found[3] & termios.ECHOCTL:
            return True
        with suppress(OSError, termios.error):
            settings = termios.tcgetattr(self._stdin.fileno())
            settings[3] = settings[3] | termios.ECHOCTL if on else settings[3] & ~termios.ECHOCTL
            termios.tcsetattr(self._stdin.fileno(), termios.TCSANOW, settings)
        return True
