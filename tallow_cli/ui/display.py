"""The lines at the bottom of a terminal that are drawn over and over while bytes move.

A frame replaces the one before it, wherever the terminal has moved that: where the window was made narrower, its lines
were broken and take more rows than when they were drawn. Frames are skipped while the terminal does not take what it
was given, so what is drawn is never late and nothing piles up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from tallow_cli.ui.output import Output
from tallow_cli.ui.sanitize import columns

HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"
# Line by line, and never what is below (`ED`): tmux takes a screen that is cleared from its first row on for one that
# somebody wants to keep, and would put a frame into its history each time.
_CLEAR_LINE: Final = "\x1b[2K"
_UP: Final = "\x1b[A"
_SEQUENCE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


class Display:
    """`size` gives the terminal's columns and rows now. What is shown holds colours, and nothing else that acts."""

    def __init__(self, output: Output, size: Callable[[], tuple[int, int]]) -> None:
        self._output = output
        self._size = size
        self._frame: list[str] = []  # the lines on the screen
        self._cursor_hidden = False

    @property
    def takes_frames(self) -> bool:
        """Whether the terminal has taken all that it was given: a frame drawn now is seen now."""
        return not self._output.is_behind

    def show(self, frame: str) -> None:
        """Draw `frame` in the place of the one before. It is cut to the terminal's height."""
        _, rows = self._size()
        lines = frame.rstrip("\n").split("\n")[: max(1, rows - 1)]
        hide = "" if self._cursor_hidden else HIDE_CURSOR
        self._output.write(hide + self._erasing() + "\n".join(lines))
        self._cursor_hidden = True
        self._frame = lines

    def say(self, text: str) -> None:
        """Write whole lines above the frame."""
        again = "\n".join(self._frame) if self.takes_frames else ""
        self._output.write(self._erasing() + text + again)
        if not again:
            self._frame = []

    def close(self) -> None:
        """Take the frame away and show the cursor. May be called more than once."""
        if self._frame or self._cursor_hidden:
            self._output.write(self._erasing() + SHOW_CURSOR)
        self._frame = []
        self._cursor_hidden = False

    def forget(self) -> None:
        """Others have written to the terminal: the next frame is drawn where the cursor is."""
        self._frame = []
        self._cursor_hidden = False

    def leave(self) -> None:
        """Show the cursor below the frame: for a hasty end, on another thread than the one that draws."""
        if self._cursor_hidden:
            self._output.write(f"\n{SHOW_CURSOR}")

    def _erasing(self) -> str:
        """What takes the frame away; "" if there is none. The cursor stands at its end."""
        if not self._frame:
            return ""
        width, _ = self._size()
        rows = sum(max(1, -(-columns(_SEQUENCE.sub("", line)) // max(1, width))) for line in self._frame)
        return "\r" + _CLEAR_LINE + (_UP + _CLEAR_LINE) * (rows - 1)
