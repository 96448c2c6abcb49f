"""Real processes over an emulated link: what the simulations of the data plane say holds outside them too."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.namespaces import Lab, Profile, lab, missing
from tests.support.processes import Shell, Tallow

LONGER = Profile("longer", 20, 5.0, queue_bdp=5.0)
HEAVY_LOSS = Profile("heavy-loss", 10, 150.0, loss_percent=10.0)
WHY_NOT = missing(LONGER)
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.long_lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"an emulated link: {WHY_NOT}"),
]


def send_over(hosts: Lab, sh: Shell, size: int, *options: str) -> tuple[Tallow, Tallow]:
    """A transfer that has begun."""
    source = sh.directory / "f1"
    source.write_bytes(bytes(size))
    sh.within = hosts.on_a
    sender = sh.start("send", source, "--json", *options)
    ready = sender.wait_event("code")
    sh.within = hosts.on_b
    where = ("--server", ready["reachable_as"], "-o", Path("inbox/"))
    receiver = sh.start("recv", ready["code"], *where, "--yes", "--json", *options)
    receiver.wait_event("progress", 30)
    return sender, receiver


def share(tallow: Tallow, profile: Profile, seconds: float) -> float:
    """What of the link a transfer got in the last so many seconds."""
    events = tallow.events("progress")
    newest = events[-1]
    oldest = next(event for event in events if event["t"] >= newest["t"] - seconds)
    found = (newest["bytes"] - oldest["bytes"]) * 8 / (newest["t"] - oldest["t"]) / (profile.rate_mbps * 1e6)
    print(f"{profile.name}: {found:.0%} of {profile.rate_mbps} Mbit/s")
    return float(found)


def test_a_round_trip_that_rises_from_5_to_250_ms_costs_seconds_and_not_the_transfer(sh: Shell) -> None:
    # It was 7 % of the link for ever.
    with lab(LONGER) as hosts:
        assert hosts.change is not None
        sender, _ = send_over(hosts, sh, 200_000_000)
        time.sleep(4)
        hosts.change(replace(LONGER, rtt_ms=250.0, queue_bdp=1.0))
        time.sleep(15)
        assert share(sender, LONGER, 5) >= 0.7


@pytest.mark.parametrize("options", [(), ("--reliable",)], ids=["default", "reliable"])
def test_a_tenth_lost_on_a_long_way_leaves_most_of_the_link(sh: Shell, options: tuple[str, ...]) -> None:
    # It was 30 % of the link; 90 % is what can be had.
    with lab(HEAVY_LOSS) as hosts:
        sender, _ = send_over(hosts, sh, 100_000_000, *options)
        time.sleep(18)
        assert share(sender, HEAVY_LOSS, 8) >= 0.6
