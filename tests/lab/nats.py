"""Two hosts, each behind a router of its own kind, and a public host between them: who can reach whom, and how.

              A ─── router ───┐
                              ├── P, the public host
              B ─── router ───┘

The kinds of router, as people have them at home and at work:

    open        forwards, translates nothing
    cone        keeps the port where it can, and lets in replies only from where the host has sent (RFC 4787's endpoint
                independent mapping, address and port dependent filtering): most homes
    symmetric   another port for every destination, so that nobody can tell the other side which
    tcponly     a cone that drops UDP: offices, hotels

IPv6 is never translated: there, cone and symmetric are firewalls that let in replies. Private addresses vanish at P, as
they do on the Internet. Delay is not emulated. Needs root, iproute2 and nftables.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from tests.support.surroundings import missing

__all__ = ["PUBLIC", "PUBLIC_6", "Family", "Nat", "NatLab", "missing", "nat_lab"]

PUBLIC = "203.0.113.1"
PUBLIC_6 = "2001:db8:ff::1"


class Nat(StrEnum):
    OPEN = "open"
    CONE = "cone"
    SYMMETRIC = "symmetric"
    TCP_ONLY = "tcponly"


class Family(StrEnum):
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    BOTH = "both"


_numbers = itertools.count()  # several labs may be up at once


@dataclass(frozen=True, slots=True)
class NatLab:
    """A lab that is up. Its properties prefix a command with what runs it on that host."""

    prefix: str

    @property
    def on_a(self) -> list[str]:
        return self._on("a")

    @property
    def on_b(self) -> list[str]:
        return self._on("b")

    @property
    def on_public(self) -> list[str]:
        return self._on("p")

    def move_b(self) -> None:
        """B gets another address from its router."""
        host = f"{self.prefix}b"
        _run("ip", "-n", host, "addr", "del", "10.92.2.2/24", "dev", "eth0")
        _run("ip", "-n", host, "addr", "add", "10.92.2.77/24", "dev", "eth0")
        _run("ip", "-n", host, "route", "replace", "default", "via", "10.92.2.1")

    def rebind(self, host: str, *, address: str | None = None) -> None:
        """The router of A or B (`host` is "a" or "b") restarts: it forgets every binding and gives others, under its
        public address or a new one.
        """
        router, number = f"{self.prefix}r{host}", 1 + "ab".index(host)
        wan, before = f"w{number}", f"203.0.113.{number + 1}"
        # What is masqueraded is forgotten with the address it was masqueraded as.
        _run("ip", "-n", router, "addr", "del", f"{before}/24", "dev", wan)
        _run("ip", "netns", "exec", router, "nft", "flush", "chain", "ip", "nat", "post")
        rules = f"""
            add rule ip nat post oifname "{wan}" meta l4proto udp masquerade to :30000-39999
            add rule ip nat post oifname "{wan}" masquerade"""
        subprocess.run(["ip", "netns", "exec", router, "nft", "-f", "-"], input=rules, text=True, check=True)
        _run("ip", "-n", router, "addr", "add", f"{address or before}/24", "dev", wan)

    def _on(self, host: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self.prefix}{host}"]


@contextmanager
def nat_lab(a: Nat, b: Nat, *, family: Family = Family.IPV4) -> Iterator[NatLab]:
    """The three hosts, gone again on leaving. `family`: what A and B have; the public host has both."""
    prefix = f"tn{os.getpid() % 100_000}x{next(_numbers)}"
    names = [f"{prefix}{each}" for each in ("p", "a", "b", "ra", "rb")]
    try:
        for name in names:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _public_host(f"{prefix}p")
        for host, number in (("a", 1), ("b", 2)):
            _wire(prefix, host, number)
        for host, number, kind in (("a", 1, a), ("b", 2, b)):
            _side(prefix, host, number, kind)
        for name in names[1:3]:
            if family is Family.IPV4:
                _run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            if family is Family.IPV6:
                _run("ip", "-n", name, "-4", "addr", "flush", "dev", "eth0")
        yield NatLab(prefix)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _public_host(name: str) -> None:
    def run(*arguments: str) -> None:
        _run("ip", "-n", name, *arguments)

    run("link", "add", "br0", "type", "bridge")
    run("addr", "add", f"{PUBLIC}/24", "dev", "br0")
    run("addr", "add", f"{PUBLIC_6}/64", "dev", "br0", "nodad")
    run("link", "set", "br0", "up")
    # Whatever is not known leads nowhere, and nobody says so.
    run("link", "add", "nowhere", "type", "veth", "peer", "name", "nowhere2")
    run("link", "set", "nowhere", "up")
    run("link", "set", "nowhere2", "up")
    run("route", "add", "default", "dev", "nowhere")


def _wire(prefix: str, host: str, number: int) -> None:
    """One host with a cable to its router, and that with one to the world. `number` is in their addresses."""
    inside, router, public = f"{prefix}{host}", f"{prefix}r{host}", f"{prefix}p"
    wan = f"w{number}"
    _run("ip", "link", "add", "eth0", "netns", inside, "type", "veth", "peer", "name", "lan", "netns", router)
    _run(
        "ip",
        "link",
        "add",
        wan,
        "netns",
        router,
        "type",
        "veth",
        "peer",
        "name",
        f"h{number}",
        "netns",
        public,
    )
    _run("ip", "-n", public, "link", "set", f"h{number}", "master", "br0", "up")
    for where, device, addresses in (
        (inside, "eth0", (f"10.92.{number}.2/24", f"2001:db8:{number}::2/64")),
        (router, "lan", (f"10.92.{number}.1/24", f"2001:db8:{number}::1/64")),
        (router, wan, (f"203.0.113.{number + 1}/24", f"2001:db8:ff::{number + 1}/64")),
    ):
        for address in addresses:
            _run(
                "ip",
                "-n",
                where,
                "addr",
                "add",
                address,
                "dev",
                device,
                *(("nodad",) if ":" in address else ()),
            )
        _run("ip", "-n", where, "link", "set", device, "up")


def _side(prefix: str, host: str, number: int, kind: Nat) -> None:
    """Who forwards what, and what the router makes of it."""
    inside, router, public = f"{prefix}{host}", f"{prefix}r{host}", f"{prefix}p"
    wan = f"w{number}"
    _run("ip", "-n", inside, "route", "add", "default", "via", f"10.92.{number}.1")
    _run("ip", "-n", inside, "-6", "route", "add", "default", "via", f"2001:db8:{number}::1")
    for switch in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
        _run("ip", "netns", "exec", router, "sysctl", "-qw", switch)
    other = 3 - number
    _run(
        "ip", "-n", router, "-6", "route", "add", f"2001:db8:{other}::/64", "via", f"2001:db8:ff::{other + 1}"
    )
    _run(
        "ip",
        "-n",
        public,
        "-6",
        "route",
        "add",
        f"2001:db8:{number}::/64",
        "via",
        f"2001:db8:ff::{number + 1}",
    )
    if kind is Nat.OPEN:
        for who in (public, f"{prefix}r{'ab'[other - 1]}"):
            _run("ip", "-n", who, "route", "add", f"10.92.{number}.0/24", "via", f"203.0.113.{number + 1}")
        return
    subprocess.run(
        ["ip", "netns", "exec", router, "nft", "-f", "-"], input=_rules(kind, wan), text=True, check=True
    )


def _rules(kind: Nat, wan: str) -> str:
    how = "masquerade random,fully-random" if kind is Nat.SYMMETRIC else "masquerade"
    no_udp = "meta l4proto udp drop" if kind is Nat.TCP_ONLY else ""
    # As home routers do: what was not asked for is dropped before it leaves a trace in conntrack.
    return f"""
        table ip nat {{
          chain post {{ type nat hook postrouting priority 100; oifname "{wan}" {how}; }}
        }}
        table inet filter {{
          chain incoming {{
            type filter hook input priority 0; policy accept;
            meta l4proto ipv6-icmp accept
            iifname "{wan}" ct state new drop
          }}
          chain forwarding {{
            type filter hook forward priority 0; policy accept;
            meta l4proto ipv6-icmp accept
            {no_udp}
            ct state established,related accept
            iifname "{wan}" drop
          }}
        }}"""


def _run(*arguments: str | Sequence[str]) -> None:
    subprocess.run([str(each) for each in arguments], check=True)
