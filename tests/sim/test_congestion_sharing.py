"""Controllers beside each other on one bottleneck: who gets what. Model flows, virtual time, wire rates."""

from __future__ import annotations

import random

import pytest

from tallow_cli.netem.link import Link
from tallow_cli.netem.presets import path
from tests.sim.model_flow import ModelFlow, run_flows

pytestmark = pytest.mark.sim


def compete(
    first: str,
    second: str,
    *,
    queue_bdp: float,
    seed: int,
    second_starts_s: float = 2.0,
    seconds: float = 25.0,
) -> tuple[float, float, Link]:
    """Two flows on 100 Mbit/s, 50 ms; what each gets from 5 s on, in Mbit/s."""
    flows = [
        ModelFlow(first, ack_interval_s=0.003, rng=random.Random(seed)),
        ModelFlow(second, ack_interval_s=0.003, rng=random.Random(seed + 99), start_s=second_starts_s),
    ]
    link = run_flows(path("shared", 100, 50, queue_bdp=queue_bdp), flows, seconds, seed)
    rates = [flow.result.rate_mbps(5.0, seconds) for flow in flows]
    print(f"queue {queue_bdp} BDP, seed {seed}: {first} {rates[0]:.1f}, {second} {rates[1]:.1f} Mbit/s")
    return rates[0], rates[1], link


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_beside_one_cubic_flow_in_a_queue_of_one_bdp_cubic_keeps_thirty_percent(seed: int) -> None:
    bbr, cubic, _ = compete("bbr", "cubic", queue_bdp=1.0, seed=seed)
    assert cubic >= 30.0
    assert bbr >= 20.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cubic_keeps_thirty_percent_when_it_was_there_first(seed: int) -> None:
    cubic, bbr, _ = compete("cubic", "bbr", queue_bdp=1.0, seed=seed)
    assert cubic >= 30.0
    assert bbr >= 20.0


@pytest.mark.parametrize("queue_bdp", [2.0, 4.0])
def test_neither_starves_in_long_queues(queue_bdp: float) -> None:
    bbr, cubic, _ = compete("bbr", "cubic", queue_bdp=queue_bdp, seed=1)
    assert cubic >= 25.0
    assert bbr >= 15.0


@pytest.mark.parametrize(("queue_bdp", "least"), [(0.25, 8.0), (0.5, 10.0)])
def test_in_short_queues_cubic_keeps_twice_what_kernel_bbr_leaves_it(queue_bdp: float, least: float) -> None:
    # Measured with Linux' BBR v1 on the same path: 4.3 and 5.0 Mbit/s.
    _, cubic, _ = compete("bbr", "cubic", queue_bdp=queue_bdp, seed=1)
    assert cubic >= least


@pytest.mark.parametrize("queue_bdp", [0.5, 1.0, 2.0])
def test_two_transfers_of_ours_fill_the_link_and_neither_starves(queue_bdp: float) -> None:
    first, second, link = compete("bbr", "bbr", queue_bdp=queue_bdp, seed=1)
    assert first + second >= 90.0
    assert min(first, second) >= 15.0
    assert link.stats.mean_queue_delay_s <= 0.05


def test_two_cubic_flows_share_evenly() -> None:
    first, second, _ = compete("cubic", "cubic", queue_bdp=1.0, seed=1)
    assert min(first, second) >= 35.0


def test_when_company_leaves_the_whole_link_is_ours_again() -> None:
    preset = path("shared", 100, 50)
    ours = ModelFlow("bbr", rng=random.Random(1))
    theirs = ModelFlow("cubic", rng=random.Random(2), stop_s=12.0)
    run_flows(preset, [ours, theirs], 22.0)
    assert ours.result.rate_mbps(4.0, 12.0) <= 75.0
    assert ours.result.rate_mbps(16.0, 22.0) >= 90.0


def test_an_application_that_sends_little_is_not_slowed_down_later() -> None:
    preset = path("app-limited", 100, 40)
    flow = ModelFlow("bbr", rng=random.Random(1), app_rate_bps=5e6, unlimited_from_s=5.0)
    run_flows(preset, [flow], 10.0)
    assert flow.result.rate_mbps(2.0, 5.0) == pytest.approx(5.0 * 1240 / 1200, rel=0.05)
    assert flow.result.rate_mbps(6.5, 10.0) >= 90.0


@pytest.mark.parametrize(("loss", "least_mbps"), [(0.02, 93.0), (0.05, 86.0), (0.08, 78.0)])
def test_random_loss_costs_what_is_lost_and_little_more(loss: float, least_mbps: float) -> None:
    flow = ModelFlow("bbr", rng=random.Random(1))
    run_flows(path("lossy", 100, 50, loss), [flow], 15.0)
    assert flow.result.rate_mbps(3.0, 15.0) >= least_mbps


def test_a_receiver_that_stalls_for_milliseconds_does_not_stop_a_lan_transfer() -> None:
    stalls = tuple((0.05 * n + late, rate) for n in range(1, 60) for late, rate in ((0.0, 1e6), (0.004, 1e9)))
    preset = path("stalls", 1000, 0.4, queue_bdp=5, rate_changes=stalls)
    flow = ModelFlow("bbr", rng=random.Random(1))
    run_flows(preset, [flow], 3.0)
    # 4 ms of every 50 are lost to the stalls themselves.
    assert flow.result.rate_mbps(0.5, 3.0) >= 700.0
