"""A transfer over paths that lose a tenth of everything by themselves: the whole stack, in virtual time."""

from __future__ import annotations

import os

import pytest

from tallow_cli.netem.presets import path
from tallow_cli.transfer.options import SendOptions
from tests.sim.test_changing_paths import shares

pytestmark = pytest.mark.sim
MANY = int(os.environ.get("TALLOW_SEEDS", "60")) // 500
SEEDS = range(1, 2 + MANY)
# Mbit/s, round trip in ms, seconds until it is steady.
PATHS = [(10, 600, 15), (10, 150, 5)]
MORE_PATHS = [(10, 50, 4), (50, 50, 4), (20, 300, 10)]
STEADY_S = 10


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reliable", [False, True] if MANY else [False])
@pytest.mark.parametrize(("rate_mbps", "rtt_ms", "start_s"), PATHS + (MORE_PATHS if MANY else []))
def test_a_tenth_lost_leaves_seventy_percent_of_the_link(
    rate_mbps: float, rtt_ms: float, start_s: int, reliable: bool, seed: int
) -> None:
    # Of 84 % that can be had. It was a tenth at 600 ms, 30 % at 150 ms.
    options = SendOptions(reliable=reliable, retransmissions=0 if reliable else 2)
    found = shares(path("heavy-loss", rate_mbps, rtt_ms, 0.10), start_s + STEADY_S, seed, send=options)
    steady = found[start_s:]
    assert sum(steady) / len(steady) >= 0.7
