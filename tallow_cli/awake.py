"""Timers and timeouts that count only the time in which this process ran.

A process that was stopped (Ctrl-Z, a paused container or virtual machine, a machine without a free core) finds on
waking that every timer is due, and libuv runs timers before it reads: by the clock alone it would give up on an answer
that has long been waiting in its socket. These timers take small steps, count each for no more than it was meant to
take, and end only in a step that came in time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final, Protocol

from tallow_cli.transfer.control import LATE_S

STEP_S: Final = 1.0  # the most that a pause of any length counts for
GRACE_S: Final = 1.0  # after a pause: what has arrived is read, and a round trip may pass


class _Handle(Protocol):
    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], None]], _Handle]


class AwakeTimer:
    """Calls `on_due` once the running event loop has run for `delay_s`, unless it is cancelled. Infinity: never."""

    def __init__(
        self,
        delay_s: float,
        on_due: Callable[[], None],
        *,
        clock: Callable[[], float] = monotonic,
        call_later: CallLater | None = None,
    ) -> None:
        self._on_due = on_due
        self._clock = clock
        self._call_later: CallLater = call_later or asyncio.get_running_loop().call_later
        self._left_s = delay_s
        self._handle: _Handle | None = None
        if not math.isinf(delay_s):
            self._step()

    def cancel(self) -> None:
        """Harmless when repeated, or when it is over."""
        if self._handle is not None:
            self._handle.cancel()

    def _step(self) -> None:
        step_s = max(0.0, min(self._left_s, STEP_S))
        self._left_s -= step_s
        self._due = self._clock() + step_s
        self._handle = self._call_later(step_s, self._stepped)

    def _stepped(self) -> None:
        was_asleep = self._clock() - self._due > LATE_S
        if self._left_s <= 0 and not was_asleep:
            self._on_due()
            return
        if was_asleep:
            self._left_s = max(self._left_s, GRACE_S)
        self._step()


@asynccontextmanager
async def awake_timeout(timeout_s: float | None) -> AsyncIterator[None]:
    """`asyncio.timeout` that counts only the time in which this process ran. None or infinity: no timeout.

    Raises TimeoutError.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        timer = AwakeTimer(
            math.inf if timeout_s is None else timeout_s, lambda: limit.reschedule(loop.time())
        )
        try:
            yield
        finally:
            timer.cancel()
