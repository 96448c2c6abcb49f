"""Ctrl-C while a program is still being imported: the quiet end of somebody who changed their mind, and no traceback.

Python raises KeyboardInterrupt wherever an import stands just then, before there is anybody to catch it. Costs nothing
to import: whoever begins with this is covered from its first lines on.
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType


class QuietInterrupts:
    """While inside, Ctrl-C ends the process with `exit_code` at once. There is nothing yet to clean up or to say.

    Does nothing where somebody else handles or ignores it, nor on another thread than the main one.
    """

    def __init__(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self._is_ours = False

    def __enter__(self) -> None:
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return
        try:
            signal.signal(signal.SIGINT, self._end)
        except ValueError:  # not the main thread
            return
        self._is_ours = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Whatever took its place meanwhile stays.
        if self._is_ours and signal.getsignal(signal.SIGINT) == self._end:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        os._exit(self._exit_code)
