"""Two machines with many addresses, or several networks between them: the likely way first (tests/lab)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.signaling_program import serving
from tests.support.surroundings import missing

WHY_NOT = missing()
TALLOW = [sys.executable, "-m", "tallow_cli"]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}"),
]


@dataclass(frozen=True, slots=True)
class Pair:
    a: str
    b: str

    @property
    def on_a(self) -> list[str]:
        return ["ip", "netns", "exec", self.a]

    @property
    def on_b(self) -> list[str]:
        return ["ip", "netns", "exec", self.b]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def wired(*networks: str, default: str) -> Iterator[Pair]:
    """Two hosts with a wire for each of these networks (10.8.0: 10.8.0.1 and 10.8.0.2), made in this order."""
    pair = Pair(f"tmwa{os.getpid() % 100_000}", f"tmwb{os.getpid() % 100_000}")
    try:
        for host in (pair.a, pair.b):
            ip("netns", "add", host)
            ip("-n", host, "link", "set", "lo", "up")
        for number, network in enumerate(networks):
            name = f"w{number}"
            ip("link", "add", name, "netns", pair.a, "type", "veth", "peer", "name", name, "netns", pair.b)
            for host, last in ((pair.a, 1), (pair.b, 2)):
                ip("-n", host, "addr", "add", f"{network}.{last}/24", "dev", name)
                ip("-n", host, "link", "set", name, "up")
                if network == default:
                    ip("-n", host, "route", "add", "default", "via", f"{network}.{3 - last}")
        yield pair
    finally:
        for host in (pair.a, pair.b):
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)


def carried(
    pair: Pair, directory: Path, server: str, sending: Sequence[str] = (), receiving: Sequence[str] = ()
) -> tuple[dict[str, Any], float]:
    """Send a text from A to B: what the receiver says of the connection, and how long that took once they had met."""
    environment = {**os.environ, "TALLOW_SERVER": server, "XDG_RUNTIME_DIR": str(directory)}
    code = f"{1000 + os.getpid() % 9000}-acorn-blend-crisp"
    sender = subprocess.Popen(
        [*pair.on_a, *TALLOW, "send", "--text", "hello", "--json", "--code", code, *sending],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=directory,
    )
    try:
        assert sender.stdout is not None
        while '"code"' not in (line := sender.stdout.readline()):
            assert line, "the sender ended before it had a code"
        with subprocess.Popen(
            [*pair.on_b, *TALLOW, "recv", code, "--yes", "--json", *receiving],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=directory,
        ) as receiver:
            assert receiver.stdout is not None
            at: dict[str, float] = {}
            events: dict[str, dict[str, Any]] = {}
            for line in receiver.stdout:
                event = json.loads(line)
                at.setdefault(event["event"], time.monotonic())
                events.setdefault(event["event"], event)
        assert receiver.returncode == 0, events
        return events["connected"], at["connected"] - at["peer"]
    finally:
        sender.terminate()
        sender.communicate(timeout=30)


def test_forty_addresses_that_both_sides_have_do_not_hide_the_one_that_leads_there(tmp_path: Path) -> None:
    with wired("10.9.0", default="10.9.0") as pair:
        for host in (pair.a, pair.b):
            ip("-n", host, "link", "add", "docker0", "type", "bridge")
            ip("-n", host, "addr", "add", "172.17.0.1/16", "dev", "docker0")
            ip("-n", host, "link", "set", "docker0", "up")
            for number in range(40):
                ip("-n", host, "addr", "add", f"172.20.{number}.1/32", "dev", "lo")
        with serving(host="10.9.0.1", port=8765, on=pair.on_a):
            connected, took_s = carried(pair, tmp_path, "ws://10.9.0.1:8765")
    assert (connected["local_address"], connected["remote_address"]) == ("10.9.0.2", "10.9.0.1")
    assert took_s < 3.0


def test_a_sender_with_its_own_server_offers_the_address_that_was_reached(tmp_path: Path) -> None:
    """It knows nothing of the network beforehand: no default route, and forty addresses on the same card before it."""
    with wired("10.9.0", default="none") as pair:
        for host in (pair.a, pair.b):
            ip("-n", host, "addr", "flush", "dev", "w0")
            for number in range(40):
                ip("-n", host, "addr", "add", f"172.20.{number}.1/24", "dev", "w0")
        ip("-n", pair.a, "addr", "add", "10.9.0.1/24", "dev", "w0")
        ip("-n", pair.b, "addr", "add", "10.9.0.2/24", "dev", "w0")
        connected, took_s = carried(pair, tmp_path, "ws://10.9.0.1:8765", ("--local", "--port", "8765"))
    assert (connected["local_address"], connected["remote_address"]) == ("10.9.0.2", "10.9.0.1")
    assert took_s < 3.0


@pytest.mark.parametrize("networks", [("10.8.0", "10.9.0"), ("10.9.0", "10.8.0")])
def test_of_two_networks_the_default_routes_is_used_unless_an_interface_is_named(
    tmp_path: Path, networks: tuple[str, str]
) -> None:
    with wired(*networks, default="10.9.0") as pair, serving(host="0.0.0.0", port=8765, on=pair.on_a):
        server = "ws://10.9.0.1:8765"
        assert carried(pair, tmp_path, server)[0]["remote_address"] == "10.9.0.1"
        other = f"w{networks.index('10.8.0')}"
        for option in (other, "10.8.0.2"):
            connected, _ = carried(pair, tmp_path, server, receiving=("--interface", option))
            assert (connected["local_address"], connected["remote_address"]) == ("10.8.0.2", "10.8.0.1")
