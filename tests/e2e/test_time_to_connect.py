"""How long two machines that have met take to connect: on a LAN, and over a relay far away."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.lossy import SERVER, lossy_lab, missing
from tests.lab.namespaces import ADDRESS_B, Lab, Profile
from tests.support.processes import shell
from tests.support.signaling_program import serving

LAN = Profile("near", 1000, 1.0)
FAR = Profile("far", 100, 100.0)
WHY_NOT = missing(FAR)
CONNECTS = 3
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.long_lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"an emulated link: {WHY_NOT}"),
]
RELAYED = pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed")


def seconds(hosts: Lab, directory: Path, path: str) -> float:
    """From when they know each other until the receiver is connected; the program's start is the machine's affair."""
    directory.mkdir()
    server = f"ws://{SERVER}:8765"
    with shell(directory) as sh:
        sh.within = hosts.on_a
        sender = sh.start("send", "--text", "hello", "--json", "--server", server)
        code = sender.wait_event("code")["code"]
        time.sleep(1.0)  # people take longer to tell a code than a program to be ready
        sh.within = hosts.on_b
        began = time.monotonic()
        receiver = sh.start("recv", code, "--yes", "--json", "--server", server)
        connected = receiver.wait_event("connected")
        print(f"{time.monotonic() - began:.2f} s from the receiver's start")
        assert connected["path"] == path
        took_s: float = connected["t"] - receiver.wait_event("peer")["t"]
        assert (receiver.wait(), sender.wait()) == (0, 0)
    return took_s


def median(measure: Callable[[int], float]) -> float:
    measured = [measure(number) for number in range(CONNECTS)]
    print("seconds:", *(f"{each:.2f}" for each in measured))
    return statistics.median(measured)


def test_on_a_lan(tmp_path: Path) -> None:
    # From the receiver's start: 1.1 to 1.7 s, 1.2 s in the median of 10, on two busy cores.
    with lossy_lab(LAN) as lab, serving(host="0.0.0.0", port=8765, on=lab.on_public):
        assert median(lambda number: seconds(lab.hosts, tmp_path / f"{number}", "direct")) < 1.0


@RELAYED
def test_over_a_relay_where_the_direct_way_is_blocked(tmp_path: Path) -> None:
    # From the receiver's start: 3.0 to 5.6 s, 3.4 s in the median of 10, on two busy cores.
    no_direct = f"""table ip blocked {{
      chain incoming {{
        type filter hook input priority 0;
        ip saddr {ADDRESS_B} meta l4proto udp drop
      }}
    }}"""
    with lossy_lab(FAR) as lab:
        subprocess.run([*lab.hosts.on_a, "nft", "-f", "-"], input=no_direct, text=True, check=True)
        relay = ("--relay", "--relay-ports", "50000-50099")
        with serving(*relay, host="0.0.0.0", port=8765, on=lab.on_public):
            assert median(lambda number: seconds(lab.hosts, tmp_path / f"{number}", "relayed")) < 2.5
