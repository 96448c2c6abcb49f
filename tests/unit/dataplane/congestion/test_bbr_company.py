"""Whose queue it is, and when the answer changes."""

from __future__ import annotations

import pytest

from tallow_cli.dataplane.congestion.bbr_company import (
    ALONE_ROUNDS,
    FIRST_TEST_S,
    LAST_TEST_S,
    SLOWER_ROUNDS,
    STANDING_ROUNDS,
    Company,
)
from tallow_cli.dataplane.congestion.bbr_model import PathModel
from tallow_cli.dataplane.congestion.controller import AckSample, ControllerConfig
from tests.support.controller_driver import MTU

RTT = 0.05
QUEUED = 0.08


class Situation:
    """A model and a company fed with whole rounds of 100 packets."""

    def __init__(self) -> None:
        self.model = PathModel(MTU)
        self.company = Company(ControllerConfig(mtu_bytes=MTU), self.model)
        self.now = 0.0
        self.delivered = 0
        self.round(RTT)

    def round(self, rtt_s: float, *, lost: int = 0, app_limited: bool = False) -> None:
        self.now += rtt_s
        before, self.delivered = self.delivered, self.delivered + 200 * MTU
        sample = AckSample(
            self.now,
            acked_bytes=200 * MTU,
            lost_bytes=lost * MTU,
            lost_ranges=lost,
            delivered_bytes=self.delivered,
            prior_delivered_bytes=before,
            sent_inflight_bytes=200 * MTU,
            rtt_s=rtt_s,
            delivery_rate=2e6,
            interval_s=rtt_s,
            is_app_limited=app_limited,
        )
        self.model.update(sample)
        self.company.on_ack(sample)

    def cruise(self, rtt_s: float, rounds: int = 1, *, app_limited: bool = False) -> list[bool]:
        drains = []
        for _ in range(rounds):
            self.round(rtt_s, app_limited=app_limited)
            drains.append(self.company.watch(self.now, is_slower=False))
        return drains

    def meet(self) -> None:
        self.cruise(QUEUED, 2 * STANDING_ROUNDS)
        assert self.company.is_here


def test_an_empty_queue_is_nobodys() -> None:
    situation = Situation()
    assert situation.cruise(RTT, 20) == [False] * 20
    assert not situation.company.is_here
    assert situation.company.window_bytes == float("inf")


def test_a_queue_that_stands_is_drained_once_before_it_is_blamed_on_anybody() -> None:
    situation = Situation()
    assert situation.cruise(QUEUED, STANDING_ROUNDS) == [False] * (STANDING_ROUNDS - 1) + [True]
    assert not situation.company.is_here


def test_a_queue_that_comes_back_after_draining_is_company() -> None:
    situation = Situation()
    situation.meet()
    assert situation.company.window_bytes == pytest.approx(200 * MTU)


def test_a_queue_that_was_gone_when_the_path_was_probed_is_drained_again_first() -> None:
    situation = Situation()
    situation.cruise(QUEUED, STANDING_ROUNDS)
    situation.cruise(RTT, 3)
    situation.company.on_probe()
    assert True in situation.cruise(QUEUED, STANDING_ROUNDS)
    assert not situation.company.is_here


def test_a_queue_that_still_stands_when_the_path_is_probed_is_not_forgiven() -> None:
    situation = Situation()
    situation.cruise(QUEUED, STANDING_ROUNDS)
    situation.company.on_probe()
    situation.cruise(QUEUED, STANDING_ROUNDS)
    assert situation.company.is_here


def test_a_much_slower_path_is_drained_a_round_earlier() -> None:
    situation = Situation()
    drains = []
    for _ in range(SLOWER_ROUNDS):
        situation.round(QUEUED)
        drains.append(situation.company.watch(situation.now, is_slower=True))
    assert drains == [False] * (SLOWER_ROUNDS - 1) + [True]
    assert SLOWER_ROUNDS < STANDING_ROUNDS


def test_an_application_that_sends_little_learns_nothing_about_the_queue() -> None:
    situation = Situation()
    assert not any(situation.cruise(QUEUED, 10, app_limited=True))
    assert not situation.company.is_here


def test_in_company_the_window_falls_by_three_tenths_for_a_loss_that_alone_would_not_count() -> None:
    situation = Situation()
    situation.meet()
    before = situation.company.window_bytes
    situation.round(QUEUED, lost=3)
    assert situation.company.window_bytes == pytest.approx(0.7 * before, rel=0.02)


def test_in_company_the_window_grows_again() -> None:
    situation = Situation()
    situation.meet()
    situation.round(QUEUED, lost=3)
    before = situation.company.window_bytes
    for _ in range(20):
        situation.round(QUEUED)
    assert situation.company.window_bytes > before


def test_company_has_left_when_the_queue_stays_empty() -> None:
    situation = Situation()
    situation.meet()
    for _ in range(ALONE_ROUNDS):
        assert situation.company.is_here
        situation.round(RTT)
    assert not situation.company.is_here


def test_the_test_shows_that_the_queue_was_our_own() -> None:
    situation = Situation()
    situation.meet()
    assert not situation.company.is_test_due(situation.now)
    situation.now += 2 * FIRST_TEST_S
    assert situation.company.is_test_due(situation.now)
    situation.round(RTT)
    situation.company.on_test(situation.now)
    assert not situation.company.is_here


def test_company_that_passes_the_test_is_asked_more_and_more_rarely() -> None:
    situation = Situation()
    waits = []
    for _ in range(6):
        situation.meet()
        started = situation.now
        while not situation.company.is_test_due(situation.now):
            situation.round(QUEUED)
        waits.append(situation.now - started)
        situation.round(RTT)
        situation.company.on_test(situation.now)
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 8.0], abs=0.2)
    assert (FIRST_TEST_S, LAST_TEST_S) == (0.5, 8.0)


def test_a_test_in_company_that_stays_leaves_everything_as_it_was() -> None:
    situation = Situation()
    situation.meet()
    situation.now += LAST_TEST_S
    situation.round(QUEUED)
    situation.company.on_test(situation.now)
    assert situation.company.is_here
    assert not situation.company.is_test_due(situation.now)


def test_a_new_packet_size_reaches_the_window_in_company() -> None:
    situation = Situation()
    situation.company.set_mtu(1_404)
    situation.meet()
    before = situation.company.window_bytes
    situation.company.set_mtu(1_404)
    assert situation.company.window_bytes == before
