from __future__ import annotations

import threading
import time

import pytest

from tallow_cli.measure.causes import Cause
from tallow_cli.session.end_use import EndUseMeter, WorkClock, memory_fraction


def test_a_thread_that_sleeps_at_its_work_is_blocked_and_needs_no_core() -> None:
    clock = WorkClock(time.monotonic())
    meter = EndUseMeter(time.monotonic(), clock)

    def work() -> None:
        clock.at(time.monotonic(), Cause.RECEIVER_DISK)
        time.sleep(0.3)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    use = meter.look(time.monotonic(), None)
    assert use.blocked[Cause.RECEIVER_DISK] > 0.7
    assert use.blocked_by(Cause.RECEIVER_DISK) is Cause.RECEIVER_DISK
    assert use.core < 0.5


def test_a_loop_that_never_sleeps_is_short_of_a_core() -> None:
    meter = EndUseMeter(time.monotonic(), WorkClock(time.monotonic()))
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass
    assert meter.look(time.monotonic(), None).is_short_of_cpu


def test_a_full_memory_alone_is_no_cause() -> None:
    meter = EndUseMeter(0.0, WorkClock(0.0))
    assert meter.look(0.2, 0.99).blocked.get(Cause.MEMORY) is None


def test_the_memory_in_use_is_a_fraction() -> None:
    fraction = memory_fraction()
    assert fraction is None or 0 < fraction < 1


def test_what_no_time_has_passed_for_is_nothing() -> None:
    assert EndUseMeter(5.0, WorkClock(5.0)).look(5.0, None).cpu_need == pytest.approx(0.0)
