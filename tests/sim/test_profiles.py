"""The data plane over every profile of issue 3, in virtual time: figures with a margin under what `make sim` prints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallow_cli.netem.presets import PRESETS
from tests.sim.profiles import measure
from tests.sim.table import HEADER, describe, row

pytestmark = pytest.mark.sim

# (least share of the link, longest mean queue in round trips). The start is in it: half a second of twelve.
BOUNDS = {
    # The ends wake every 0.2 ms, so that a round trip is 0.8 ms to them.
    "lan1g": (0.97, 1.5),
    "wifi": (0.96, 0.6),
    "inet": (0.94, 0.2),
    "inet1": (0.92, 0.2),
    "inet1-bursts": (0.90, 0.2),
    "far3": (0.88, 0.2),
    "shallow": (0.94, 0.2),
    "deep": (0.94, 0.2),
    "halving": (0.91, 0.5),
    "doubling": (0.91, 0.3),
    "outage": (0.88, 0.2),
    "reorder5": (0.94, 0.2),
    "thin-acks": (0.94, 0.2),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_reliable_transfer_fills_the_link_and_keeps_its_queue_short(name: str) -> None:
    least_share, longest_queue_rtts = BOUNDS[name]
    result = measure(name)
    print(row(result))
    assert result.link_share >= least_share
    assert result.mean_queue_ms <= longest_queue_rtts * PRESETS[name].rtt_s * 1e3


@pytest.mark.parametrize("name", ["wifi", "inet1", "far3", "reorder5"])
def test_unreliable_messages_of_four_packets_use_the_link_as_well(name: str) -> None:
    result = measure(name, message_bytes=5_000, max_retransmits=0)
    print(row(result))
    assert result.link_share >= BOUNDS[name][0] - 0.02


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_random_loss_of_one_percent_costs_little_whatever_the_seed(seed: int) -> None:
    assert measure("inet1", seed=seed, seconds=6.0).link_share >= 0.88


def test_after_the_rate_halves_the_transfer_is_back_at_the_new_rate_within_two_seconds() -> None:
    per_second = measure("halving", seconds=10.0).per_second_mbps
    # 46.8 Mbit/s of payload is all that 50 Mbit/s of Ethernet carry.
    assert min(per_second[7:]) >= 0.85 * 46.8


def test_after_the_rate_doubles_the_transfer_is_back_at_the_new_rate_within_three_seconds() -> None:
    per_second = measure("doubling", seconds=10.0).per_second_mbps
    assert min(per_second[8:]) >= 0.9 * 93.6


def test_an_outage_of_two_seconds_is_over_within_two_more() -> None:
    per_second = measure("outage", seconds=10.0).per_second_mbps
    assert min(per_second[8:]) >= 0.9 * 93.6


@pytest.mark.parametrize("outage_s", [10.0, 28.0])
def test_an_outage_shorter_than_consent_lasts_is_over_within_two_seconds_of_its_end(
    outage_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far timers have backed off, nothing waits for longer than that."""
    outage, until = PRESETS["outage"], 4.0 + outage_s
    away = ((4.0, until),)
    preset = replace(
        outage,
        name="long-outage",
        forward=replace(outage.forward, outages=away),
        back=replace(outage.back, outages=away),
    )
    monkeypatch.setitem(PRESETS, "long-outage", preset)
    per_second = measure("long-outage", seconds=until + 5).per_second_mbps
    assert per_second[int(until) + 1] > 0.5 * 93.6
    assert min(per_second[int(until) + 2 :]) >= 0.9 * 93.6


def test_cubic_and_newreno_fill_a_clean_link_and_starve_on_a_lossy_one() -> None:
    for congestion in ("cubic", "newreno"):
        assert measure("deep", congestion=congestion).link_share >= 0.9
        # Mathis: 1448 * 8 * 1.22 / (0.05 * sqrt(0.01)) is 2.8 Mbit/s.
        assert measure("inet1", congestion=congestion).goodput_mbps <= 8.0


def test_the_table_has_a_row_for_every_profile_with_as_many_columns_as_its_head() -> None:
    line = row(measure("wifi", seconds=0.5))
    assert line.count("|") == HEADER.count("|")
    assert describe(PRESETS["halving"]).endswith("queue 4 BDP, 50 Mbit/s from 5 s on")
    assert describe(PRESETS["thin-acks"]).endswith("return path 1%")
