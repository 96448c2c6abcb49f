"""What is remembered of a queue that overflowed, and for how long."""

from __future__ import annotations

import pytest

from tallow_cli.dataplane.congestion.bbr_model import PathModel
from tallow_cli.dataplane.congestion.bbr_overflow import SHORTEST_RTTS, TURN_BACK_SHARE, Overflow
from tallow_cli.dataplane.congestion.controller import AckSample
from tests.support.controller_driver import MTU

RTT = 0.05
RATE = 1_000_000.0


def model_with_queue(queue_s: float) -> PathModel:
    """A path of 50 kB that was empty once, and whose newest packets met a queue."""
    model = PathModel(MTU)
    for step, rtt_s in enumerate((RTT, RTT + queue_s, RTT + queue_s, RTT + queue_s)):
        model.update(
            AckSample(
                1.0 + step,
                acked_bytes=MTU,
                delivered_bytes=(1 + step) * MTU,
                prior_delivered_bytes=step * MTU,
                rtt_s=rtt_s,
                delivery_rate=RATE,
                interval_s=rtt_s,
            )
        )
    return model


def test_before_anything_overflowed_there_is_nothing_to_turn_back_for() -> None:
    model = model_with_queue(0.02)
    overflow = Overflow(model, 0.001)
    overflow.watch()
    overflow.start_probe()
    assert overflow.turn_back_s == float("inf")
    assert model.inflight_hi_bytes == float("inf")


def test_a_probe_turns_back_before_the_longest_queue_of_the_one_that_lost() -> None:
    model = model_with_queue(0.02)
    overflow = Overflow(model, 0.001)
    overflow.watch()
    overflow.remember()
    assert overflow.turn_back_s == pytest.approx(TURN_BACK_SHARE * 0.02)
    assert model.inflight_hi_bytes == pytest.approx(RATE * (RTT + 0.02))


def test_the_memory_fades_until_the_queue_is_asked_again() -> None:
    overflow = Overflow(model_with_queue(0.02), 0.001)
    overflow.watch()
    overflow.remember()
    probes = 0
    while overflow.turn_back_s < 0.02:
        overflow.start_probe()
        probes += 1
    assert probes == 8


def test_losses_without_a_queue_do_not_keep_later_probes_on_the_ground() -> None:
    overflow = Overflow(model_with_queue(0.0), 0.001)
    overflow.watch()
    overflow.remember()
    assert overflow.turn_back_s == pytest.approx(TURN_BACK_SHARE * SHORTEST_RTTS * RTT)


def test_the_bound_never_falls_below_what_the_path_holds_without_a_queue() -> None:
    model = model_with_queue(0.0)
    model.inflight_hi_bytes = 1.0
    Overflow(model, 0.001).remember()
    assert model.inflight_hi_bytes == pytest.approx(RATE * RTT)


def test_the_bound_rises_slowly_at_first_and_from_the_start_again_with_each_probe() -> None:
    model = model_with_queue(0.0)
    overflow = Overflow(model, 0.001)
    model.inflight_hi_bytes = 100_000.0
    overflow.raise_bound()
    overflow.raise_bound()
    assert model.inflight_hi_bytes == pytest.approx(100_000 * 1.02 * 1.04)
    for _ in range(5):
        overflow.raise_bound()
    before = model.inflight_hi_bytes
    overflow.raise_bound()
    assert model.inflight_hi_bytes == pytest.approx(1.25 * before)
    overflow.start_probe()
    before = model.inflight_hi_bytes
    overflow.raise_bound()
    assert model.inflight_hi_bytes == pytest.approx(1.02 * before)
