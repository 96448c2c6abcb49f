"""session.patience: waits that are announced after a moment, and end."""

from __future__ import annotations

import asyncio

from tallow_cli.session.events import SessionEvent, Waiting
from tallow_cli.session.patience import Patience

MOMENT_S = 0.01


async def test_a_long_wait_is_announced_once_and_given_up_once() -> None:
    events: list[SessionEvent] = []
    overdue: list[bool] = []
    Patience(events.append, "for rain", 0.03, lambda: overdue.append(True), moment_s=MOMENT_S)
    await asyncio.sleep(0.1)
    assert events == [Waiting("for rain", 0.03)]
    assert overdue == [True]


async def test_what_comes_soon_is_not_spoken_of() -> None:
    events: list[SessionEvent] = []
    with Patience(
        events.append, "for rain", 0.02, lambda: events.append(Waiting("never", 0)), moment_s=MOMENT_S
    ):
        pass
    await asyncio.sleep(0.05)
    assert events == []


async def test_without_a_consequence_the_wait_is_only_announced() -> None:
    events: list[SessionEvent] = []
    wait = Patience(events.append, "for rain", 0.02, moment_s=MOMENT_S)
    await asyncio.sleep(0.05)
    wait.end()
    wait.end()
    assert events == [Waiting("for rain", 0.02)]
