"""A peer that reports 20 gap blocks at most (libwebrtc, so every Chromium): what lies above them it cannot tell.

Its receiver is ours, with that limit, a SACK for every second packet and libwebrtc's window of 5 MiB. Never may the
sender stand still behind a report that was cut, nor send again what had arrived.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tallow_cli.netem.presets import path
from tests.sim.associations import MIB, SimulatedPath, keep_queue_full

pytestmark = pytest.mark.sim
# One seed in `make test`, fifty with `make sim`.
SEEDS = range(1, 51 if int(os.environ.get("TALLOW_SEEDS", "60")) > 60 else 2)
SECONDS = 6.0
WINDOW_S = 2.0
STEP_S = 0.1
GAP_BLOCKS = 20
SACK_HEADER_BYTES = 16

KINDS: dict[str, dict[str, Any]] = {
    "reliable": {},
    "2-retransmissions": {"ordered": False, "max_retransmits": 2},
}


def send_to_such_a_peer(
    kind: str,
    seed: int,
    *,
    rate_mbps: float = 100,
    rtt_ms: float = 50,
    loss: float = 0.01,
    queue_bdp: float = 1.0,
    congestion: str = "bbr",
) -> tuple[float, float, float]:
    """(least share of the link in any 2 s, share over all, packets sent again in vain as a share of those sent)."""
    simulated = SimulatedPath(
        path("to-a-browser", rate_mbps, rtt_ms, loss, queue_bdp=queue_bdp),
        seed,
        wake_s=0.0005,
        local_rwnd_bytes=5 * MIB,
        ack_every_packets=2,
        max_packet_bytes=1_432,
        congestion=congestion,
    )
    simulated.right.keep_messages = False
    tsns = simulated.right.association._receiver.tsns
    take_sack = tsns.take_sack
    tsns.take_sack = lambda rwnd, _room: take_sack(rwnd, SACK_HEADER_BYTES + 4 * GAP_BLOCKS)  # type: ignore[method-assign]
    keep_queue_full(simulated.left, simulated.rng.randbytes(65_536), 2 * MIB, **KINDS[kind])
    received = [0]
    while simulated.now < SECONDS - STEP_S / 2:
        simulated.run(lambda: False, STEP_S)
        received.append(simulated.right.received_bytes)
    steps = round(WINDOW_S / STEP_S)
    capacity = rate_mbps * 1e6 / 8
    least = min(after - before for before, after in zip(received, received[steps:], strict=False))
    stats, link = simulated.left.association.stats, simulated.forward.stats
    died = link.dropped_at_random + link.dropped_by_queue
    vain = (stats.resent_packets - died) / stats.sent_packets
    shares = least / WINDOW_S / capacity, received[-1] / SECONDS / capacity
    print(f"{kind}, seed {seed}: at least {shares[0]:.0%}, in all {shares[1]:.0%}, in vain {vain:.2%}")
    return *shares, vain


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_at_one_percent_loss_it_never_stalls_and_resends_nothing_in_vain(kind: str, seed: int) -> None:
    least, _, vain = send_to_such_a_peer(kind, seed)
    assert least >= 0.6
    assert vain < 0.02


@pytest.mark.parametrize(
    ("kind", "options", "least_share"),
    [
        ("reliable", {"loss": 0.0}, 0.6),
        ("2-retransmissions", {"loss": 0.0, "queue_bdp": 0.25}, 0.6),
        ("reliable", {"loss": 0.03}, 0.6),
        ("2-retransmissions", {"rtt_ms": 20}, 0.6),
        # The start takes most of the first two seconds.
        ("reliable", {"rate_mbps": 20, "rtt_ms": 150}, 0.4),
        ("reliable", {"loss": 0.0, "congestion": "cubic"}, 0.5),
        ("reliable", {"loss": 0.0, "congestion": "newreno"}, 0.5),
    ],
)
def test_nor_on_other_paths_and_with_other_windows(
    kind: str, options: dict[str, Any], least_share: float
) -> None:
    least, _, vain = send_to_such_a_peer(kind, 1, **options)
    assert least >= least_share
    assert vain < 0.02
