"""Two machines on one network, of IPv6 alone: they find each other with nothing named, whatever the firewalls."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.processes import Shell
from tests.support.surroundings import missing

WHY_NOT = missing()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}"),
]


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextmanager
def two_hosts(*networks: str) -> Iterator[tuple[list[str], list[str]]]:
    """Prefixes of commands that run on either end of a cable; the ends have ::1 and ::2 in each of the networks."""
    names = [f"six{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            "ip", "-n", names[0], "link", "add", "e0", "type", "veth", "peer", "name", "e0", "netns", names[1]
        )
        for number, name in enumerate(names, 1):
            run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.e0.accept_dad=0")
            run("ip", "-n", name, "link", "set", "e0", "up")
            for network in networks:
                run("ip", "-n", name, "address", "add", f"{network}::{number}/64", "dev", "e0", "nodad")
        yield ["ip", "netns", "exec", names[0]], ["ip", "netns", "exec", names[1]]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
@pytest.mark.parametrize("network", ["fd00:7", "2001:db8:7"], ids=["private", "global"])
def test_with_nothing_named_they_find_each_other(sh: Shell, network: str, engine: str) -> None:
    """In a network of global addresses alone, at those of the link: unasked, no server is opened to the Internet."""
    content = os.urandom(300_000)
    (sh.directory / "f").write_bytes(content)
    sh.environment.pop("TALLOW_NO_MDNS", None)  # the network is the test's own
    with two_hosts(network) as (on_a, on_b):
        sh.within = on_a
        sender = sh.start("send", "f", "--json", "--engine", engine)
        code = sender.wait_event("code")["code"]
        sh.within = on_b
        elsewhere = sh.directory / "another"  # where two ends on one machine would find each other
        elsewhere.mkdir(mode=0o700)
        receiver = sh.start(
            "recv", code, "--yes", "-o", "in/", "--engine", engine, XDG_RUNTIME_DIR=str(elsewhere)
        )
        assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    assert (sh.directory / "in" / "f").read_bytes() == content


def test_the_address_that_is_printed_for_who_cannot_find_it_works(sh: Shell) -> None:
    (sh.directory / "f").write_bytes(b"x" * 1000)
    with two_hosts("fd00:7") as (on_a, on_b):
        sh.within = on_a
        sh.environment["TALLOW_NO_MDNS"] = "1"
        sender = sh.start("send", "f", "--json")
        code = sender.wait_event("code")
        assert code["reachable_as"].startswith("ws://[fd00:7::1]:")
        sh.within = on_b
        receiver = sh.start("recv", code["code"], "--yes", "-o", "in/", "--server", code["reachable_as"])
        assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()


NO_TCP_IN = """
table inet wall {
    chain input { type filter hook input priority 0; iif lo accept; meta l4proto tcp ct state new drop; }
}
"""


def test_a_sender_that_lets_no_tcp_in_is_found_and_the_receiver_says_what_helps(sh: Shell) -> None:
    sh.environment.pop("TALLOW_NO_MDNS", None)
    elsewhere = sh.directory / "another"
    elsewhere.mkdir(mode=0o700)
    with two_hosts("fd00:7") as (on_a, on_b):
        subprocess.run([*on_a, "nft", "-f", "-"], input=NO_TCP_IN, text=True, check=True)
        sh.within = on_a
        sender = sh.start("send", "--text", "x", "--json")
        code = sender.wait_event("code")["code"]
        sh.within = on_b
        receiver = sh.start("recv", code, "--yes", XDG_RUNTIME_DIR=str(elsewhere))
        assert receiver.wait() == 3
        assert "The sender was found at ws://[fd00:7::1]:" in receiver.error_text
        assert "--port" in receiver.error_text
        sh.start("serve", "--host", "fd00:7::2", "--port", "8765")
        server = ("--server", "ws://[fd00:7::2]:8765")
        sh.within = on_a
        again = sh.start("send", "--text", "x", "--json", *server)
        code = again.wait_event("code")["code"]
        sh.within = on_b
        receiver = sh.start("recv", code, "--yes", *server)
        assert (receiver.wait(), again.wait()) == (0, 0), receiver.report() + again.report()
