"""awake: what a pause of the process counts for, on a clock that the test turns."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from tallow_cli.awake import AwakeTimer, awake_timeout


class Clock:
    """A clock with one timer, which rings late when the process is asleep."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rings_at: float | None = None
        self._callback: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Clock:
        self.rings_at, self._callback = self.now + delay_s, callback
        return self

    def cancel(self) -> None:
        self.rings_at = None

    def run(self, until: float, asleep: tuple[float, float] = (math.inf, math.inf)) -> None:
        while self.rings_at is not None and self.rings_at <= until:
            at = self.rings_at
            if asleep[0] <= at < asleep[1]:
                at = asleep[1]
            self.now, self.rings_at = at, None
            self._callback()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def timer(clock: Clock, delay_s: float) -> tuple[AwakeTimer, list[float]]:
    rang: list[float] = []
    made = AwakeTimer(delay_s, lambda: rang.append(clock.now), clock=clock, call_later=clock.call_later)
    return made, rang


@pytest.mark.parametrize("delay_s", [0.0, 0.3, 1.0, 2.5, 30.0])
def test_awake_it_rings_when_it_is_due_and_once(clock: Clock, delay_s: float) -> None:
    _, rang = timer(clock, delay_s)
    clock.run(1000.0)
    assert rang == [pytest.approx(100.0 + delay_s)]


@pytest.mark.parametrize("begins", [100.2, 115.5, 129.5])
def test_a_long_sleep_counts_for_a_step_and_is_followed_by_time_to_read(clock: Clock, begins: float) -> None:
    _, rang = timer(clock, 30.0)
    clock.run(10_000.0, asleep=(begins, 5000.0))
    slept = 5000.0 - begins
    assert rang == [pytest.approx(130.0 + slept, abs=2.0)]
    assert rang[0] >= 5001.0


def test_a_busy_machine_changes_nothing(clock: Clock) -> None:
    _, rang = timer(clock, 30.0)
    clock.run(1000.0, asleep=(110.0, 110.9))
    assert rang == [pytest.approx(130.0, abs=1.0)]


def test_cancelled_it_does_not_ring(clock: Clock) -> None:
    made, rang = timer(clock, 5.0)
    clock.run(103.0)
    made.cancel()
    made.cancel()
    clock.run(1000.0)
    assert rang == []


def test_an_endless_one_never_rings(clock: Clock) -> None:
    made, rang = timer(clock, math.inf)
    assert clock.rings_at is None
    made.cancel()
    assert rang == []


async def test_the_timeout_interrupts_and_says_so() -> None:
    with pytest.raises(TimeoutError):
        async with awake_timeout(0.01):
            await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("timeout_s", [None, math.inf, 30.0])
async def test_the_timeout_lets_through_what_is_in_time(timeout_s: float | None) -> None:
    async with awake_timeout(timeout_s):
        await asyncio.sleep(0)
