"""How long to wait for the other side, and when to say so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tallow_cli.awake import AwakeTimer
from tallow_cli.session.events import SessionEvent, Waiting

A_MOMENT_S = 1.0  # what is over sooner is not worth a line


class Patience:
    """One wait. It is announced (`Waiting`) once it takes more than a moment, and `on_overdue` is called when it has
    taken `timeout_s`. It begins when this is made, on the running loop, and is over with `end` or the `with` block.
    """

    def __init__(
        self,
        emit: Callable[[SessionEvent], None],
        what: str,
        timeout_s: float,
        on_overdue: Callable[[], None] | None = None,
        *,
        moment_s: float = A_MOMENT_S,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle | AwakeTimer] = [
            loop.call_later(moment_s, emit, Waiting.of(what, timeout_s))
        ]
        if on_overdue is not None:
            self._timers.append(AwakeTimer(timeout_s, on_overdue))

    def end(self) -> None:
        """It came, or no longer matters. Harmless when repeated."""
        for timer in self._timers:
            timer.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
