"""Real processes that lose each other and carry on: stopped for minutes, cut off, moved to another address."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.lab import namespaces, nats
from tests.support.processes import Shell, Tallow, shell
from tests.support.signaling_program import serving

pytestmark = pytest.mark.e2e

SIZE = 6_000_000
# Two seconds is what is promised; on a busy machine a process alone may wait for some.
SOON_S = 5.0
PORT = "8765"

PROFILE = namespaces.Profile("raw", 0)
WHY_NOT = namespaces.missing(PROFILE)
Test = TypeVar("Test", bound=Callable[..., None])


def in_the_lab(test: Test) -> Test:
    return pytest.mark.lab(pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}")(test))


@dataclass
class Pair:
    sender: Tallow
    receiver: Tallow
    source: Path
    target: Path

    @property
    def both(self) -> tuple[Tallow, Tallow]:
        return self.sender, self.receiver

    def arrives(self, connections: int) -> None:
        """Both end well, over so many connections, with the very bytes."""
        assert [tallow.wait(90) for tallow in self.both] == [0, 0], self.report()
        assert self.target.read_bytes() == self.source.read_bytes()
        for tallow in self.both:
            attempts = [event["attempt"] for event in tallow.events("reconnected")]
            assert attempts == list(range(2, connections + 1)), self.report()
            moved = [event["bytes"] for event in tallow.events("progress")]
            assert moved == sorted(moved), "progress never falls"

    def report(self) -> str:
        return "\n".join(tallow.report() for tallow in self.both)


def begin(
    sh: Shell,
    *options: str,
    on: tuple[list[str], list[str]] = ([], []),
    server: str | None = None,
    size: int = SIZE,
    limit: str = "1MB",
) -> Pair:
    """A transfer under way, on two hosts where `on` says so."""
    source = sh.directory / "payload.bin"
    source.write_bytes(os.urandom(size))
    inbox = sh.directory / "in"
    inbox.mkdir()
    sh.within = on[0]
    at = ("--server", server) if server else ()
    sender = sh.start("send", source, "--json", "--limit", limit, *at, *options)
    ready = sender.wait_event("code")
    sh.within = on[1]
    where = ("--server", ready["reachable_as"]) if on[1] and not server else at
    receiver = sh.start("recv", ready["code"], *where, "-o", inbox, "--yes", "--json", *options)
    receiver.wait_event("progress")
    time.sleep(1)
    return Pair(sender, receiver, source, inbox / source.name)


def since(tallow: Tallow, event: dict[str, Any], name: str = "reconnected") -> float:
    """Seconds from `event` to the next event called `name`."""
    return float(tallow.wait_event(name, 60)["t"]) - float(event["t"])


def test_an_end_stopped_for_a_little_while_goes_on_over_the_same_connection(sh: Shell) -> None:
    pair = begin(sh)
    pair.receiver.process.send_signal(signal.SIGSTOP)
    time.sleep(12)
    pair.receiver.process.send_signal(signal.SIGCONT)
    pair.arrives(connections=1)


@pytest.mark.parametrize("stopped", [0, 1], ids=["sender", "receiver"])
def test_an_end_stopped_for_longer_than_a_path_lasts_goes_on_over_another_one(
    sh: Shell, stopped: int
) -> None:
    pair = begin(sh)
    victim, other = pair.both[stopped], pair.both[1 - stopped]
    victim.process.send_signal(signal.SIGSTOP)
    lost = other.wait_event("reconnecting", 45)
    assert (lost["reason"], lost["for_s"]) == ("the other side no longer answers", 120)
    time.sleep(4)
    went_on = time.time()
    victim.process.send_signal(signal.SIGCONT)
    assert other.wait_event("reconnected", 20)["t"] - went_on < SOON_S, pair.report()
    pair.arrives(connections=2)


def test_without_a_second_connection_the_first_one_lost_is_the_end(sh: Shell) -> None:
    pair = begin(sh, "--reconnect-for", "0")
    pair.sender.process.kill()
    began = time.monotonic()
    assert pair.receiver.wait(20) == 8
    assert time.monotonic() - began < 6
    assert pair.receiver.events("reconnecting") == []


@pytest.mark.parametrize("victim", [0, 1], ids=["sender", "receiver"])
def test_an_end_that_is_gone_for_good_is_not_waited_for_for_long(sh: Shell, victim: int) -> None:
    pair = begin(sh)
    pair.both[victim].process.kill()
    survivor = pair.both[1 - victim]
    assert survivor.wait_event("reconnecting", 10)["for_s"] == 10
    began = time.monotonic()
    assert survivor.wait(30) == 8, survivor.report()
    assert time.monotonic() - began < 14
    assert "did not come back" in survivor.err[-1] or "gone, too" in survivor.err[-1]


def test_ctrl_c_while_there_is_no_connection_ends_at_once(sh: Shell) -> None:
    pair = begin(sh)
    pair.sender.process.kill()
    pair.receiver.wait_event("reconnecting", 10)
    pair.receiver.process.send_signal(signal.SIGINT)
    assert pair.receiver.wait(5) == 130, pair.receiver.report()


# On two hosts


@dataclass
class Hosts:
    lab: namespaces.Lab
    shell: Shell

    def begin(self, *options: str, server: str | None = None) -> Pair:
        return begin(self.shell, *options, on=(self.lab.on_a, self.lab.on_b), server=server)

    def link(self, host: str, state: str) -> None:
        self.ip(host, "link", "set", f"{host}0", state)
        if state == "up":
            self.route(host)

    def drop(self, on: bool) -> None:
        """The router swallows everything, and nobody is told."""
        chain = "add chain inet swallow forwarded { type filter hook forward priority 0 ; policy drop ; }"
        rules = f"add table inet swallow; {chain}"
        command = rules if on else "delete table inet swallow"
        subprocess.run(["ip", "netns", "exec", self.lab.router, "nft", command], check=True)

    def move(self, host: str, before: str, after: str) -> None:
        """Another address on the same network."""
        self.ip(host, "addr", "del", f"{before}/24", "dev", f"{host}0")
        self.ip(host, "addr", "add", f"{after}/24", "dev", f"{host}0")
        self.route(host)

    def route(self, host: str) -> None:
        near = namespaces.ADDRESS_A if host == self.lab.a else namespaces.ADDRESS_B
        self.ip(host, "route", "replace", "default", "via", near.rsplit(".", 1)[0] + ".1")

    def ip(self, host: str, *arguments: str) -> None:
        subprocess.run(["ip", "-n", host, *arguments], check=True)

    def serve(self) -> Tallow:
        """A signaling server on the receiver's host."""
        self.shell.within = self.lab.on_b
        server = self.shell.start("serve", "--host", "0.0.0.0", "--port", PORT)
        deadline = time.monotonic() + 20
        while not any("Listening" in line for line in (*server.err, *server.out)):
            assert time.monotonic() < deadline, server.report()
            time.sleep(0.05)
        return server


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with namespaces.lab(PROFILE) as lab, shell(tmp_path) as opened:
        yield Hosts(lab, opened)


@pytest.mark.long_lab
@in_the_lab
def test_a_link_that_was_down_for_longer_than_a_path_lasts_is_used_at_once(hosts: Hosts) -> None:
    pair = hosts.begin()
    hosts.link(hosts.lab.a, "down")
    for tallow in pair.both:
        tallow.wait_event("reconnecting", 45)
    time.sleep(8)
    up_at = time.time()
    hosts.link(hosts.lab.a, "up")
    for tallow in pair.both:
        assert tallow.wait_event("reconnected", 30)["t"] - up_at < SOON_S, pair.report()
    pair.arrives(connections=2)


@pytest.mark.long_lab
@in_the_lab
@pytest.mark.parametrize("how", ["the link is down", "packets are swallowed", "the address is taken away"])
def test_an_outage_shorter_than_a_path_lasts_is_over_soon_after_it_is_over(hosts: Hosts, how: str) -> None:
    if how == "packets are swallowed" and shutil.which("nft") is None:
        pytest.skip("it needs nft (Debian package nftables)")
    pair = hosts.begin()
    a, bits = hosts.lab.a, f"{namespaces.ADDRESS_A}/24"
    match how:
        case "the link is down":
            hosts.link(a, "down")
        case "packets are swallowed":
            hosts.drop(True)
        case _:
            hosts.ip(a, "addr", "del", bits, "dev", f"{a}0")
    time.sleep(10)
    silences = [event["silent_s"] for event in pair.sender.events("stats")]
    assert 7 < silences[-1] < 12
    before = pair.receiver.events("progress")[-1]["bytes"]
    up_at = time.monotonic()
    match how:
        case "the link is down":
            hosts.link(a, "up")
        case "packets are swallowed":
            hosts.drop(False)
        case _:
            hosts.ip(a, "addr", "add", bits, "dev", f"{a}0")
            hosts.route(a)
    while pair.receiver.events("progress")[-1]["bytes"] <= before:
        assert time.monotonic() - up_at < SOON_S, pair.report()
        time.sleep(0.05)
    pair.arrives(connections=1)
    for tallow in pair.both:
        done = tallow.events("done")[-1]
        assert 7 < done["outage_s"] < 14
        assert done["benchmark"]["avg_mbps"] > 4, "8 Mbit/s is the limit set, and silence is no rate"


@in_the_lab
def test_a_receiver_that_moves_to_another_address_notices_and_carries_on_at_once(hosts: Hosts) -> None:
    pair = hosts.begin()
    hosts.move(hosts.lab.b, namespaces.ADDRESS_B, "10.91.2.77")
    moved_at = time.time()
    lost = pair.receiver.wait_event("reconnecting", 20)
    assert lost["reason"] == "this machine's network address has changed"
    assert lost["t"] - moved_at < SOON_S
    again = pair.sender.wait_event("reconnected", 60)
    assert again["remote_address"] == "10.91.2.77"
    assert again["t"] - moved_at < 2 * SOON_S, "silence for as long as a path lasts is not waited for"
    pair.arrives(connections=2)


@pytest.mark.long_lab
@in_the_lab
def test_a_sender_that_moves_is_met_at_the_server_which_may_restart_meanwhile(hosts: Hosts) -> None:
    server = hosts.serve()
    pair = hosts.begin(server=f"ws://{namespaces.ADDRESS_B}:{PORT}")
    server.process.kill()
    server.wait(5)
    hosts.move(hosts.lab.a, namespaces.ADDRESS_A, "10.91.1.77")
    pair.sender.wait_event("reconnecting", 20)
    time.sleep(3)
    back_at = time.time()
    hosts.serve()
    again = pair.receiver.wait_event("reconnected", 30)
    assert again["remote_address"] == "10.91.1.77"
    assert again["t"] - back_at < 2 * SOON_S
    pair.arrives(connections=2)


# Behind routers that translate

WHY_NO_NAT = nats.missing()


@pytest.mark.long_lab
@pytest.mark.lab
@pytest.mark.skipif(WHY_NO_NAT is not None, reason=f"namespaces: {WHY_NO_NAT}")
@pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed")
def test_an_end_that_moves_away_from_its_relay_notices_at_once(tmp_path: Path) -> None:
    with (
        nats.nat_lab(nats.Nat.SYMMETRIC, nats.Nat.SYMMETRIC) as lab,
        serving("--relay", "--relay-ports", "50000-50099", host="0.0.0.0", port=8765, on=lab.on_public),
        shell(tmp_path) as sh,
    ):
        pair = begin(sh, on=(lab.on_a, lab.on_b), server=f"ws://{nats.PUBLIC}:8765")
        assert pair.receiver.wait_event("connected")["path"] == "relayed"
        lab.move_b()
        moved_at = time.time()
        lost = pair.receiver.wait_event("reconnecting", 20)
        assert lost["reason"] == "this machine's network address has changed"
        assert lost["t"] - moved_at < SOON_S
        for tallow in pair.both:
            assert tallow.wait_event("reconnected", 30)["t"] - moved_at < 2 * SOON_S, pair.report()
        pair.arrives(connections=2)


@pytest.mark.long_lab
@pytest.mark.lab
@pytest.mark.skipif(WHY_NO_NAT is not None, reason=f"namespaces: {WHY_NO_NAT}")
@pytest.mark.parametrize(
    ("host", "address"), [("a", "203.0.113.42"), ("b", None)], ids=["another address", "other ports"]
)
def test_a_path_that_a_nat_has_forgotten_is_replaced_before_it_counts_as_lost(
    tmp_path: Path, host: str, address: str | None
) -> None:
    with (
        nats.nat_lab(nats.Nat.CONE, nats.Nat.CONE) as lab,
        serving(host="0.0.0.0", port=8765, on=lab.on_public),
        shell(tmp_path) as sh,
    ):
        pair = begin(sh, on=(lab.on_a, lab.on_b), server=f"ws://{nats.PUBLIC}:8765")
        lab.rebind(host, address=address)
        forgotten_at = time.time()
        for tallow in pair.both:
            assert tallow.wait_event("reconnected", 30)["t"] - forgotten_at < 2 * SOON_S, pair.report()
        pair.arrives(connections=2)
