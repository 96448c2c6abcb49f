"""The token bucket: the rate is kept, silence makes no burst, lateness costs no rate."""

from __future__ import annotations

import pytest

from tallow_cli.dataplane.congestion.pacing import (
    LARGE_SAVED_BYTES,
    MAX_LATENESS_S,
    MAX_SAVED_BYTES,
    Pacer,
    quantum_bytes,
)

RATE = 12_500_000.0  # 100 Mbit/s
QUANTUM = 12_000


def send_for(pacer: Pacer, seconds: float, *, late_s: float = 0.0) -> int:
    """A driver that always has data, wakes when told to, `late_s` late. Returns what it sent."""
    now, sent = 0.0, 0
    while now < seconds:
        budget = pacer.budget(now)
        if budget:
            pacer.on_sent(now, budget)
            sent += budget
        now = max(pacer.next_send_at(now), now) + late_s
    return sent


def test_over_time_exactly_the_rate_leaves() -> None:
    assert send_for(Pacer(RATE, QUANTUM), 1.0) == pytest.approx(RATE, rel=0.002)


@pytest.mark.parametrize("late_s", [0.0005, 0.001, 0.002])
def test_timers_that_fire_late_cost_no_rate(late_s: float) -> None:
    pacer = Pacer(RATE, QUANTUM)
    pacer.set_rate(RATE, QUANTUM)
    assert send_for(pacer, 1.0, late_s=late_s) == pytest.approx(RATE, rel=0.005)


def test_silence_is_not_saved_up_for_a_burst() -> None:
    pacer = Pacer(RATE, QUANTUM)
    pacer.set_rate(RATE, QUANTUM)
    pacer.budget(0.0)
    assert pacer.budget(100.0) <= QUANTUM + RATE * MAX_LATENESS_S + 1


def test_at_very_high_rates_what_is_saved_fits_a_small_receive_buffer() -> None:
    pacer = Pacer(1e9, 65_536)
    pacer.set_rate(1e9, 65_536)
    pacer.budget(0.0)
    assert pacer.budget(1.0) <= 65_536 + MAX_SAVED_BYTES + 1


def test_after_a_time_with_nothing_to_send_only_one_gulp_leaves_at_once() -> None:
    pacer = Pacer(RATE, QUANTUM)
    pacer.set_rate(RATE, QUANTUM)
    pacer.budget(0.0)
    pacer.on_idle(100.0)
    assert pacer.budget(100.0) == QUANTUM


def test_a_receiver_with_a_large_buffer_lets_more_be_made_up_for() -> None:
    pacer = Pacer(1e9, 65_536, LARGE_SAVED_BYTES)
    pacer.set_rate(1e9, 65_536)
    pacer.budget(0.0)
    assert pacer.budget(1.0) == 65_536 + LARGE_SAVED_BYTES


def test_nothing_leaves_before_a_whole_quantum_has_accrued() -> None:
    pacer = Pacer(RATE, QUANTUM)
    pacer.on_sent(0.0, QUANTUM)
    half_way = QUANTUM / RATE / 2
    assert pacer.budget(half_way) == 0
    assert pacer.next_send_at(half_way) == pytest.approx(QUANTUM / RATE)
    assert pacer.budget(QUANTUM / RATE) >= QUANTUM


def test_waking_at_the_named_time_always_finds_a_budget() -> None:
    pacer = Pacer(1_234_567.0, 2_477)
    now = 0.1
    for _ in range(1000):
        now = pacer.next_send_at(now)
        budget = pacer.budget(now)
        assert budget > 0
        pacer.on_sent(now, budget)


def test_a_probe_that_ignores_the_pacer_is_paid_back() -> None:
    pacer = Pacer(RATE, QUANTUM)
    pacer.on_sent(0.0, 3 * QUANTUM)
    assert pacer.next_send_at(0.0) == pytest.approx(3 * QUANTUM / RATE)


def test_a_lower_rate_takes_effect_at_once_and_a_smaller_quantum_lets_go_sooner() -> None:
    pacer = Pacer(RATE, QUANTUM)
    pacer.on_sent(0.0, QUANTUM)
    pacer.set_rate(RATE / 10, QUANTUM)
    assert pacer.next_send_at(0.0) == pytest.approx(10 * QUANTUM / RATE)
    pacer.set_rate(RATE / 10, QUANTUM // 2)
    assert pacer.next_send_at(0.0) == pytest.approx(5 * QUANTUM / RATE)
    assert pacer.rate == RATE / 10


def test_a_clock_that_does_not_move_gives_nothing_more() -> None:
    pacer = Pacer(RATE, QUANTUM)
    pacer.on_sent(5.0, QUANTUM)
    assert pacer.budget(5.0) == 0


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (12_500_000.0, 10 * 1200),  # 100 Mbit/s: a millisecond
        (1_000.0, 2 * 1200),  # never less than two packets
        (1e9, 54 * 1200),  # never more than one GSO batch
    ],
)
def test_the_quantum_is_a_millisecond_in_whole_packets(rate: float, expected: int) -> None:
    assert quantum_bytes(rate, 1200, 65_536) == expected


def test_the_quantum_is_one_packet_if_the_receiver_holds_no_more() -> None:
    assert quantum_bytes(12_500_000.0, 1200, 500) == 1200
