"""A file through the transfer protocol, over the data plane, over every profile: whole, verified, and how fast."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallow_cli.netem.presets import PRESETS
from tests.sim.table import transfer_row
from tests.sim.whole_stack import measure_transfer

pytestmark = pytest.mark.sim

MB = 1_000_000
# (file size, least payload rate in Mbit/s): offer, consent, start and verification included. 93.6 % of a link is all
# that can be payload at an MTU of 1500.
CASES = {
    "lan1g": (60 * MB, 840.0),
    "wifi": (40 * MB, 230.0),
    "inet": (30 * MB, 76.0),
    "inet1": (30 * MB, 70.0),
    "inet1-bursts": (30 * MB, 70.0),
    "far3": (8 * MB, 12.0),
    "shallow": (30 * MB, 76.0),
    "halving": (80 * MB, 60.0),
    "outage": (60 * MB, 55.0),
    "reorder5": (30 * MB, 76.0),
    "thin-acks": (30 * MB, 76.0),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_arrives_whole_and_nearly_as_fast_as_the_link_allows(name: str) -> None:
    size_bytes, least_mbps = CASES[name]
    result = measure_transfer(name, size_bytes)
    print(transfer_row(result))
    assert result.goodput_mbps >= least_mbps
    assert result.mean_queue_ms <= max(1.0, 2 * PRESETS[name].rtt_s) * 1e3


@pytest.mark.parametrize("seed", range(2, 6))
def test_an_outage_in_the_middle_delays_the_file_and_harms_nothing(seed: int) -> None:
    measure_transfer("outage", 48 * MB, seed=seed)


@pytest.mark.parametrize("outage_s", [10.0, 28.0])
def test_an_outage_shorter_than_consent_lasts_costs_at_most_two_seconds_more_than_itself(
    outage_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage, away = PRESETS["outage"], ((1.0, 1.0 + outage_s),)
    preset = replace(
        outage,
        name="long-outage",
        forward=replace(outage.forward, outages=away),
        back=replace(outage.back, outages=away),
    )
    monkeypatch.setitem(PRESETS, "long-outage", preset)
    without = measure_transfer("inet", 20 * MB).seconds
    assert measure_transfer("long-outage", 20 * MB).seconds < without + outage_s + 2.0


def test_the_stock_kind_of_congestion_control_delivers_too_if_slowly() -> None:
    assert measure_transfer("inet1", 2 * MB, congestion="newreno").goodput_mbps <= 20.0
