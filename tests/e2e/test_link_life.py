"""Real processes that are killed, stopped, interrupted and cut off: a healthy transfer survives, and where one cannot,
both ends say the same and the truth, at once if the system tells."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.lab import namespaces
from tests.support.processes import Shell, Tallow, shell

pytestmark = pytest.mark.e2e

GONE = "the program on the other side is gone"
SILENT = "the other side no longer answers"
# Two seconds is what is promised; starting and ending Python on a busy machine takes its own.
SOON_S = 4.0
SIZE = 8_000_000
FLAVOURS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "turbo": ((), {}),
    "turbo on asyncio": ((), {"TALLOW_LOOP": "asyncio"}),
    "aiortc": (("--engine", "aiortc"), {}),
}


@dataclass
class Pair:
    sender: Tallow
    receiver: Tallow

    @property
    def both(self) -> tuple[Tallow, Tallow]:
        return self.sender, self.receiver

    def ends(self) -> tuple[int, int]:
        return self.sender.wait(90), self.receiver.wait(90)


def message(tallow: Tallow) -> str:
    """Why it failed, as it says."""
    text: str = tallow.events("error")[-1]["message"]
    return text


def transfer(sh: Shell, name: str, flavour: str, *, size: int = SIZE, limit: str = "2MB") -> Pair:
    """A transfer under way that takes some seconds."""
    options, variables = FLAVOURS[flavour]
    source = sh.directory / f"{name}.bin"
    source.write_bytes(bytes(size))
    sender = sh.start("send", source, "--json", "--limit", limit, *options, **variables)
    code = sender.wait_event("code")["code"]
    inbox = sh.directory / name
    inbox.mkdir()
    receiver = sh.start("recv", code, "--yes", "-o", inbox, "--json", *options, **variables)
    pair = Pair(sender, receiver)
    deadline = time.monotonic() + 30
    while not any(event["bytes"] > SIZE // 8 for event in receiver.events("progress")):
        assert time.monotonic() < deadline, receiver.report()
        time.sleep(0.05)
    return pair


@contextmanager
def idle(sh: Shell, name: str, flavour: str) -> Iterator[Pair]:
    """A stream over which nothing comes."""
    options, variables = FLAVOURS[flavour]
    read_end, write_end = os.pipe()
    sender = sh.start("send", "-", "--json", *options, stdin=read_end, **variables)
    os.close(read_end)
    code = sender.wait_event("code")["code"]
    receiver = sh.start(
        "recv", code, "--yes", "-o", sh.directory / f"{name}.out", "--json", *options, **variables
    )
    receiver.wait_event("progress")
    try:
        yield Pair(sender, receiver)
    finally:
        os.close(write_end)


@pytest.mark.parametrize("victim", [0, 1], ids=["sender", "receiver"])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_killed_end_is_noticed_at_once_by_the_other_also_when_nobody_speaks(
    sh: Shell, flavour: str, victim: int
) -> None:
    busy = transfer(sh, "busy", flavour, limit="500KB")
    with idle(sh, "quiet", flavour) as quiet:
        for pair in (busy, quiet):
            pair.both[victim].process.kill()
        killed_at = time.monotonic()
        for pair in (busy, quiet):
            survivor = pair.both[1 - victim]
            assert GONE in survivor.wait_event("reconnecting")["reason"]
            assert time.monotonic() - killed_at < SOON_S, survivor.report()
        for pair in (busy, quiet):
            survivor = pair.both[1 - victim]
            assert survivor.wait(30) == 8
            assert time.monotonic() - killed_at < SOON_S + 16, "who is known to be gone is not waited for"
            assert GONE in message(survivor)


@pytest.mark.parametrize("stopped", [0, 1], ids=["sender", "receiver"])
@pytest.mark.parametrize("offload", ["0", "1"], ids=["offload", "no offload"])
def test_what_an_interrupted_end_said_is_heard_by_one_that_was_stopped_meanwhile(
    sh: Shell, stopped: int, offload: str
) -> None:
    sh.environment["TALLOW_NO_OFFLOAD"] = offload
    pair = transfer(sh, "stopped", "turbo", size=80_000_000, limit="40MB" if stopped else "10MB")
    pair.both[stopped].process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    other = pair.both[1 - stopped]
    other.process.send_signal(signal.SIGINT)
    assert other.wait(10) == 130
    assert "did not confirm" in message(other), "nobody acknowledged it: whoever should is stopped"
    pair.both[stopped].process.send_signal(signal.SIGCONT)
    assert pair.both[stopped].wait(10) == 7, "cancelled, and not a lost connection"


def test_an_end_that_was_told_is_said_to_have_been_told(sh: Shell) -> None:
    pair = transfer(sh, "told", "turbo")
    pair.receiver.process.send_signal(signal.SIGINT)
    assert pair.ends() == (7, 130)
    assert "was told" in message(pair.receiver)


def test_a_pause_of_both_ends_longer_than_every_timeout_is_no_silence(sh: Shell) -> None:
    pairs = [transfer(sh, flavour.replace(" ", "-"), flavour, limit="1MB") for flavour in FLAVOURS]
    for pair in pairs:
        for tallow in pair.both:
            tallow.process.send_signal(signal.SIGSTOP)
    time.sleep(33)
    for pair in pairs:
        for tallow in pair.both:
            tallow.process.send_signal(signal.SIGCONT)
    assert [pair.ends() for pair in pairs] == [(0, 0)] * len(pairs)


# On a link that goes down and comes back: two hosts in network namespaces.

PROFILE = namespaces.Profile("raw", 0)
WHY_NOT = namespaces.missing(PROFILE)
Test = TypeVar("Test", bound=Callable[..., None])


def in_the_lab(test: Test) -> Test:
    return pytest.mark.lab(pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}")(test))


@dataclass
class Hosts:
    lab: namespaces.Lab
    shell: Shell

    def link(self, state: str) -> None:
        subprocess.run(["ip", "-n", self.lab.a, "link", "set", f"{self.lab.a}0", state], check=True)
        if state == "up":  # a route goes with the link
            gateway = namespaces.ADDRESS_A.rsplit(".", 1)[0] + ".1"
            subprocess.run(
                ["ip", "-n", self.lab.a, "route", "replace", "default", "via", gateway], check=True
            )

    def transfer(self, name: str, *options: str) -> Pair:
        sh = self.shell
        source = sh.directory / f"{name}.bin"
        source.write_bytes(bytes(SIZE))
        sh.within = self.lab.on_a
        sender = sh.start("send", source, "--json", "--limit", "1MB", *options)
        ready = sender.wait_event("code")
        inbox = sh.directory / name
        inbox.mkdir()
        sh.within = self.lab.on_b
        where = ("--server", ready["reachable_as"], "-o", inbox)
        receiver = sh.start("recv", ready["code"], *where, "--yes", "--json", *options)
        receiver.wait_event("progress")
        time.sleep(1)
        return Pair(sender, receiver)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with namespaces.lab(PROFILE) as lab, shell(tmp_path) as opened:
        yield Hosts(lab, opened)


@pytest.mark.long_lab
@in_the_lab
def test_an_outage_of_up_to_30_s_is_survived(hosts: Hosts) -> None:
    pairs = [hosts.transfer("turbo"), hosts.transfer("aiortc", "--engine", "aiortc")]
    hosts.link("down")
    time.sleep(28)
    hosts.link("up")
    assert [pair.ends() for pair in pairs] == [(0, 0)] * 2


@in_the_lab
def test_a_link_that_stays_down_ends_both_and_both_say_that_the_other_no_longer_answers(hosts: Hosts) -> None:
    off = ("--reconnect-for", "0")
    pairs = [hosts.transfer("turbo", *off), hosts.transfer("aiortc", "--engine", "aiortc", *off)]
    hosts.link("down")
    down_at = time.monotonic()
    for pair in pairs:
        assert pair.ends() == (8, 8)
        assert all(SILENT in message(tallow) for tallow in pair.both)
    assert 29 < time.monotonic() - down_at < 40


@in_the_lab
@pytest.mark.parametrize("victim", [0, 1], ids=["sender", "receiver"])
def test_a_kill_on_another_host_is_noticed_by_icmp(hosts: Hosts, victim: int) -> None:
    pair = hosts.transfer("turbo", "--reconnect-for", "0")
    # The process itself: `ip netns exec` becomes it.
    pair.both[victim].process.kill()
    killed_at = time.monotonic()
    survivor = pair.both[1 - victim]
    assert survivor.wait(30) == 8
    assert time.monotonic() - killed_at < SOON_S
    assert GONE in message(survivor)
