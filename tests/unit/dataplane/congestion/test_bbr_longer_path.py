"""A path that becomes much longer is told from a queue of others, and the search for its rate begins anew."""

from __future__ import annotations

import pytest

from tallow_cli.dataplane.congestion.bbr import Bbr
from tallow_cli.dataplane.congestion.bbr_longer_path import LONGER_PATH, LongerPath
from tallow_cli.dataplane.congestion.bbr_model import MIN_RTT_WINDOW_S, PathModel
from tallow_cli.dataplane.congestion.controller import ControllerConfig
from tests.support.controller_driver import MTU, PerfectPath


def after_rounds_of(*round_trips_s: float) -> list[bool]:
    """What draining finds in rounds with these least round trips, on a path of 10 ms."""
    model = PathModel(1200)
    model.min_rtt_s = 0.01
    watch = LongerPath(model)
    found = []
    for rtt_s in round_trips_s:
        model.round_min_rtt_s = rtt_s
        found.append(watch.is_found_by_draining())
    return found


def test_the_same_much_longer_round_trip_after_two_drains_is_the_path() -> None:
    assert after_rounds_of(0.2, 0.201) == [False, True]


def test_a_queue_that_moves_is_not_the_path() -> None:
    assert after_rounds_of(0.2, 0.18, 0.15, 0.2) == [False] * 4


def test_what_a_window_of_two_bdps_bears_is_left_to_probe_rtt() -> None:
    longer_s = 0.01 * LONGER_PATH * 0.95
    assert after_rounds_of(longer_s, longer_s, longer_s) == [False] * 3


def test_a_round_without_a_sample_says_nothing() -> None:
    assert after_rounds_of(0.2, float("inf"), 0.2) == [False, False, True]


@pytest.mark.parametrize(("in_company", "least_probes"), [(False, 1), (True, 3)])
def test_beside_company_probe_rtt_has_to_find_it_three_times(in_company: bool, least_probes: int) -> None:
    model = PathModel(1200)
    model.min_rtt_s, model.min_rtt_at, model.round_min_rtt_s = 0.01, 0.0, 0.02
    watch = LongerPath(model)
    now = MIN_RTT_WINDOW_S + 1.0
    found = [watch.is_found_by_probing(now + probe, in_company=in_company) for probe in range(3)]
    assert found.index(True) == least_probes - 1


def test_a_round_trip_forty_times_longer_costs_seconds() -> None:
    path = PerfectPath(Bbr(ControllerConfig(mtu_bytes=MTU)), rate=2_000_000.0, rtt_s=0.005)
    path.run(3.0)
    path.rtt_s = 0.2
    path.run(7.0)
    assert path.states.count("startup") == 2
    assert path.controller.pacing_rate >= 0.7 * path.rate
