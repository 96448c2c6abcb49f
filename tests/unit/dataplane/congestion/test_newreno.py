"""NewReno by the book."""

from __future__ import annotations

import pytest

from tallow_cli.dataplane.congestion.controller import ControllerConfig
from tallow_cli.dataplane.congestion.newreno import NewReno
from tests.support.controller_driver import MTU, ack


def make() -> NewReno:
    return NewReno(ControllerConfig(mtu_bytes=MTU))


def test_slow_start_doubles_the_window_each_round_trip() -> None:
    controller = make()
    for _ in range(3):
        before = controller.cwnd_bytes
        controller.on_ack(ack(1.0, before))
        assert controller.cwnd_bytes == 2 * before
    assert controller.state == "slow-start"


def test_a_loss_halves_the_window_and_ends_slow_start() -> None:
    controller = make()
    controller.on_ack(ack(1.0, 10 * MTU))
    controller.on_ack(ack(1.1, 0, lost=MTU, lost_sent_at=1.0))
    assert controller.cwnd_bytes == controller.ssthresh_bytes == 10 * MTU
    assert controller.state == "congestion-avoidance"


def test_further_losses_of_the_same_flight_change_nothing() -> None:
    controller = make()
    controller.on_ack(ack(1.0, 10 * MTU))
    controller.on_ack(ack(1.1, 0, lost=MTU, lost_sent_at=1.0))
    controller.on_ack(ack(1.12, 0, lost=5 * MTU, lost_sent_at=1.05))
    assert controller.cwnd_bytes == 10 * MTU
    controller.on_ack(ack(1.2, 0, lost=MTU, lost_sent_at=1.15))
    assert controller.cwnd_bytes == 5 * MTU


def test_what_was_sent_before_the_loss_does_not_grow_the_window() -> None:
    controller = make()
    controller.on_ack(ack(1.0, 10 * MTU))
    controller.on_ack(ack(1.1, 0, lost=MTU, lost_sent_at=1.0))
    controller.on_ack(ack(1.12, 5 * MTU, rtt_s=0.05))  # sent at 1.07
    assert controller.cwnd_bytes == 10 * MTU
    controller.on_ack(ack(1.2, 10 * MTU, rtt_s=0.05))
    assert controller.cwnd_bytes == 11 * MTU


def test_avoidance_grows_by_one_packet_a_window() -> None:
    controller = make()
    controller.on_ack(ack(1.0, 10 * MTU, lost=MTU, lost_sent_at=0.9))
    before = controller.cwnd_bytes
    controller.on_ack(ack(2.0, before))
    assert controller.cwnd_bytes == before + MTU


def test_the_threshold_never_falls_below_four_packets() -> None:
    controller = make()
    for step in range(10):
        controller.on_ack(ack(1.0 + step, 0, lost=MTU, lost_sent_at=0.5 + step))
    assert controller.cwnd_bytes == 4 * MTU


def test_a_timeout_leaves_one_packet_and_slow_start_up_to_half() -> None:
    controller = make()
    controller.on_ack(ack(1.0, 10 * MTU))
    controller.on_rto(1.5)
    assert controller.cwnd_bytes == MTU
    assert controller.ssthresh_bytes == 10 * MTU
    assert controller.state == "slow-start"


def test_an_application_limited_sender_does_not_grow_a_window_it_does_not_use() -> None:
    controller = make()
    sample = ack(1.0, 5 * MTU)
    sample.is_app_limited = True
    controller.on_ack(sample)
    assert controller.cwnd_bytes == 10 * MTU


def test_it_paces_at_twice_the_window_per_round_trip_and_later_a_little_above_it() -> None:
    controller = make()
    controller.on_ack(ack(1.0, 0, rtt_s=0.1))
    assert controller.pacing_rate == pytest.approx(2 * 10 * MTU / 0.1)
    controller.on_ack(ack(1.2, 0, lost=MTU, lost_sent_at=1.1))
    assert controller.pacing_rate == pytest.approx(1.2 * 5 * MTU / (0.1 - 0.05 / 8), rel=0.01)
