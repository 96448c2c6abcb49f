"""The one timer of a shell that takes turns: armed for the machine's next deadline at the end of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

# Timers closer than this are not worth re-arming: epoll counts in milliseconds.
TIMER_SLACK_S: Final = 0.0002
# uvloop rounds timers to whole milliseconds, and half of one to none: the loop would spin until the pacer's next
# moment, 150,000 turns for 1 GB at 1.1 Gbit/s. Better to sleep and send two gulps then.
LEAST_SLEEP_S: Final = 0.001


class TurnTimer:
    """Calls `due` on `loop`; times are those of one monotonic clock, whichever the loop's own is."""

    __slots__ = ("_at", "_due", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Callable[[], None]) -> None:
        self._loop = loop
        self._due = due
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0  # uvloop's handles do not tell

    def arm(self, now: float, at: float | None) -> None:
        """For `at` in place of what was; None: for never."""
        if self._handle is not None:
            if at is not None and abs(at - self._at) <= TIMER_SLACK_S:
                return
            self.disarm()
        if at is not None:
            self._at = at
            # uvloop's own clock counts whole milliseconds: only its timers are used.
            self._handle = self._loop.call_later(max(at - now, LEAST_SLEEP_S), self._fire)

    def disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._due()
