from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tallow_cli.webrtc.turn_timer import LEAST_SLEEP_S, TIMER_SLACK_S, TurnTimer


class Loop:
    """An event loop of which only the timers are used."""

    def __init__(self) -> None:
        self.armed: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        entry = (delay_s, call)
        self.armed.append(entry)
        loop = self

        class Handle:
            def cancel(self) -> None:
                loop.armed.remove(entry)

        return Handle()


def timer() -> tuple[TurnTimer, Loop, list[str]]:
    loop, fired = Loop(), []
    as_loop: asyncio.AbstractEventLoop = loop  # type: ignore[assignment]  # a double of one method
    return TurnTimer(as_loop, lambda: fired.append("due")), loop, fired


def test_one_is_armed_at_a_time_and_a_later_one_takes_its_place() -> None:
    subject, loop, _ = timer()
    subject.arm(10.0, 10.5)
    subject.arm(10.1, 11.1)
    assert [delay for delay, _ in loop.armed] == [pytest.approx(1.0)]
    subject.arm(10.2, None)
    assert loop.armed == []


def test_a_deadline_that_hardly_moved_keeps_its_timer() -> None:
    subject, loop, _ = timer()
    subject.arm(10.0, 10.5)
    before = loop.armed[0]
    subject.arm(10.4, 10.5 + TIMER_SLACK_S / 2)
    assert loop.armed == [before]


def test_what_is_due_at_once_leaves_the_loop_a_millisecond() -> None:
    subject, loop, fired = timer()
    subject.arm(10.0, 9.0)
    delay, fire = loop.armed.pop()
    assert delay == LEAST_SLEEP_S
    fire()
    assert fired == ["due"]
    subject.disarm()
    subject.arm(10.0, 9.0)
    assert len(loop.armed) == 1, "it can be armed again after it fired"
