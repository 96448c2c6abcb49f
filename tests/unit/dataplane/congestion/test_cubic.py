"""CUBIC (RFC 9438) and HyStart++ (RFC 9406)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tallow_cli.dataplane.congestion.controller import AckSample, ControllerConfig
from tallow_cli.dataplane.congestion.cubic import CUBIC_C, Cubic, HyStart
from tests.support.controller_driver import MTU, ack


def lose_at(packets: int) -> Cubic:
    """A controller whose window was `packets` when it lost, at time 10."""
    controller = Cubic(ControllerConfig(mtu_bytes=MTU))
    controller.start_from(packets * MTU, packets * MTU)
    controller.on_ack(ack(10.0, 0, lost=MTU, lost_sent_at=9.9))
    return controller


def acknowledge_until(controller: Cubic, start_s: float, end_s: float, rtt_s: float = 0.05) -> None:
    """One window a round trip."""
    now = start_s
    while now < end_s:
        controller.on_ack(ack(now, controller.cwnd_bytes, rtt_s=rtt_s))
        now += rtt_s


def test_a_loss_leaves_seven_tenths() -> None:
    assert lose_at(1_000).cwnd_bytes == 700 * MTU


def test_the_window_is_back_where_it_was_after_k_seconds_and_flat_there() -> None:
    controller = lose_at(1_000)
    k_s = (300 / CUBIC_C) ** (1 / 3)  # 9.1 s
    acknowledge_until(controller, 10.1, 10.1 + k_s)
    assert controller.cwnd_bytes == pytest.approx(1_000 * MTU, rel=0.02)
    before = controller.cwnd_bytes
    acknowledge_until(controller, 10.1 + k_s, 11.1 + k_s)
    assert controller.cwnd_bytes - before <= 5 * MTU


def test_growth_is_concave_before_the_old_maximum_and_convex_after() -> None:
    controller = lose_at(1_000)
    k_s = (300 / CUBIC_C) ** (1 / 3)
    sizes = []
    for step in range(12):
        acknowledge_until(controller, 10.1 + step * k_s / 6, 10.1 + (step + 1) * k_s / 6)
        sizes.append(controller.cwnd_bytes)
    growth = [after - before for before, after in pairwise(sizes)]
    assert growth[0] > growth[2] > growth[4]
    assert growth[10] > growth[8] > growth[6]


def test_on_a_short_path_it_grows_no_slower_than_reno() -> None:
    controller = lose_at(20)
    rounds = 200
    acknowledge_until(controller, 10.1, 10.1 + rounds * 0.001, rtt_s=0.001)
    # RFC 9438 section 4.3: alpha is 0.53 packets a round until the old maximum, then 1.
    assert controller.cwnd_bytes >= (14 + 0.5 * 12 + 0.9 * (rounds - 12 / 0.53)) * MTU


def test_a_second_loss_below_the_maximum_gives_way_faster() -> None:
    controller = lose_at(1_000)
    controller.on_ack(ack(10.2, 0, lost=MTU, lost_sent_at=10.1))
    acknowledge_until(controller, 10.3, 30.0)
    fast_convergence = 700 * 1.7 / 2  # what it now takes for the maximum
    k_s = ((fast_convergence - 490) / CUBIC_C) ** (1 / 3)
    assert controller.cwnd_bytes == pytest.approx(
        (fast_convergence + CUBIC_C * (19.7 - k_s) ** 3) * MTU, rel=0.05
    )


def test_time_without_sending_is_not_growth() -> None:
    busy, idle = lose_at(1_000), lose_at(1_000)
    for controller in (busy, idle):
        acknowledge_until(controller, 10.1, 11.0)
    idle.on_sent(60.0, MTU, 0)
    idle.on_ack(ack(60.05, MTU))
    assert idle.cwnd_bytes <= busy.cwnd_bytes + 2 * MTU


def round_of(hystart: HyStart, rtt_s: float, number: int) -> bool:
    """Ten samples of one round trip; rounds are 100 packets long."""
    ended = False
    for step in range(10):
        sample = AckSample(
            0.0, acked_bytes=10 * MTU, rtt_s=rtt_s, delivered_bytes=(number * 100 + step * 10) * MTU
        )
        ended = hystart.on_ack(sample, (number + 1) * 100 * MTU) or ended
    return ended


def test_hystart_turns_careful_when_the_round_trip_grows_by_an_eighth() -> None:
    hystart = HyStart()
    for number in range(3):
        assert not round_of(hystart, 0.08, number)
    assert not hystart.in_conservative_slow_start
    round_of(hystart, 0.0905, 3)
    assert hystart.in_conservative_slow_start


def test_hystart_leaves_slow_start_after_five_careful_rounds() -> None:
    hystart = HyStart()
    round_of(hystart, 0.08, 0)
    ended = [round_of(hystart, 0.1, number) for number in range(1, 9)]
    assert ended.index(True) == 5


def test_hystart_goes_back_to_slow_start_if_it_was_jitter() -> None:
    hystart = HyStart()
    round_of(hystart, 0.08, 0)
    round_of(hystart, 0.1, 1)
    assert hystart.in_conservative_slow_start
    round_of(hystart, 0.08, 2)
    assert not hystart.in_conservative_slow_start


def test_careful_slow_start_grows_a_quarter_as_fast() -> None:
    controller = Cubic(ControllerConfig(mtu_bytes=MTU))
    controller._hystart.in_conservative_slow_start = True
    before = controller.cwnd_bytes
    controller.on_ack(ack(1.0, 4 * MTU))
    assert controller.cwnd_bytes == before + MTU
