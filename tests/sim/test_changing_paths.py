"""A transfer whose path changes under it: a longer way, a queue that somebody else fills.

The whole stack in virtual time. Rates are shares of the link, second by second; nothing but headers takes more than
7 % of it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from tallow_cli.netem.presets import PathPreset, path
from tallow_cli.transfer.options import SendOptions
from tests.sim.model_flow import ModelFlow
from tests.sim.transfer import Scenario
from tests.sim.whole_stack import WholeStack

pytestmark = pytest.mark.sim
# A few paths and one seed in `make test`, all with `make sim`.
MANY = int(os.environ.get("TALLOW_SEEDS", "60")) // 500
SEEDS = range(1, 2 + MANY)
# Mbit/s, round trip before and after in ms.
RISES = [(10, 5, 250), (20, 10, 200)]
MORE_RISES = [(20, 5, 250), (20, 5, 120), (50, 20, 300), (50, 5, 120), (5, 5, 60), (5, 5, 250), (20, 40, 100)]
CHANGE_S = 4.0
RECOVERY_S = 10.0
STEP_S = 1.0


def longer_way(rate_mbps: float, rtt_ms: float, longer_rtt_ms: float) -> PathPreset:
    """At `CHANGE_S` the round trip rises: another route, Wi-Fi to mobile, a VPN. The queue holds a BDP of then."""
    preset = path("longer", rate_mbps, rtt_ms, queue_bdp=longer_rtt_ms / rtt_ms)
    change = ((CHANGE_S, longer_rtt_ms / 2000),)
    return replace(
        preset,
        forward=replace(preset.forward, delay_changes=change),
        back=replace(preset.back, delay_changes=change),
    )


def shares(
    preset: PathPreset,
    seconds: float,
    seed: int,
    *,
    congestion: str = "bbr",
    company: ModelFlow | None = None,
    send: SendOptions | None = None,
) -> list[float]:
    """What a file gets of the link in each second."""
    rate_bps = preset.forward.rate_bps
    assert rate_bps is not None
    scenario = Scenario(
        files=(int(rate_bps / 8 * seconds),),
        seed=seed,
        chunk_bytes=131_072,
        send=send or SendOptions(retransmissions=2),
    )
    stack = WholeStack(preset, scenario, congestion=congestion, company=company)
    acked = [stack.acked_at(step * STEP_S) for step in range(1 + int(seconds / STEP_S))]
    rates = [(after - before) * 8 / STEP_S for before, after in pairwise(acked)]
    found = [rate / rate_bps for rate in rates]
    print(f"{preset.name} seed {seed}:", " ".join(f"{100 * share:.0f}" for share in found))
    return found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("rate_mbps", "rtt_ms", "longer_rtt_ms"), RISES + (MORE_RISES if MANY else []))
def test_a_round_trip_that_rises_costs_ten_seconds_and_not_the_transfer(
    rate_mbps: float, rtt_ms: float, longer_rtt_ms: float, seed: int
) -> None:
    # It was 7 % of the link for ever: the bound in flight grew with the least round trip of the whole session.
    found = shares(longer_way(rate_mbps, rtt_ms, longer_rtt_ms), CHANGE_S + RECOVERY_S + 2, seed)
    after = found[int(CHANGE_S + RECOVERY_S) :]
    assert sum(after) / len(after) >= 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_beside_a_flow_that_fills_a_queue_of_a_second_a_transfer_keeps_a_share(seed: int) -> None:
    # It was 0.5 to 3 %.
    company = ModelFlow("cubic", ack_interval_s=0.003, rng=Random(seed + 99), start_s=4.0, stop_s=20.0)
    found = shares(path("bufferbloat", 10, 20, queue_bdp=50), 28.0, seed, company=company)
    beside, after = found[6:20], found[24:28]
    assert sum(beside) / len(beside) >= 0.15
    assert company.result.rate_mbps(6.0, 20.0) >= 0.3 * 10
    assert sum(after) / len(after) >= 0.8


@pytest.mark.parametrize("congestion", ["cubic", "newreno"] if MANY else ["cubic"])
def test_the_windows_of_other_stacks_recover_too(congestion: str) -> None:
    found = shares(longer_way(10, 5, 120), CHANGE_S + RECOVERY_S, 1, congestion=congestion)
    assert found[-1] >= 0.5
