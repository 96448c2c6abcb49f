"""The addresses a connection is offered from, the likeliest first.

A machine may have dozens: containers, virtual machines, VPNs, cables that are not plugged in. ICE would try them all as
equals. What is known puts them in order: the one of the default route and the one that reached the server, then what
has a card of its own (the faster first), what has none, bridges of this machine's own, and dead cables last.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tallow_cli.errors import BadOption
from tallow_cli.meeting.interfaces import Address, Interface, interfaces, is_usable
from tallow_cli.wire.source_address import source_address

# A description has room for 32: the others are for what NATs make of these, and for a relay's.
MAX_ADDRESSES: Final = 24
# Never routed (RFC 5737, RFC 3849): asking for the way there sends nothing, and finds the default route.
_ELSEWHERE: Final = (("192.0.2.1", 9), ("2001:db8::1", 9))
_SYSTEM: Final = Path("/sys/class/net")
_MOST_NAMED: Final = 12  # to somebody who has mistyped one
# Kinds of interface that wrap packets into others: ARPHRD_NONE (tun, WireGuard), PPP, TUNNEL, TUNNEL6, SIT, IPGRE.
_PPP: Final = "512"
_TUNNELS: Final = frozenset({"65534", _PPP, "768", "769", "776", "778"})


@dataclass(frozen=True, slots=True)
class Nature:
    """What the system says of an interface."""

    has_carrier: bool = True  # something is at the other end of the cable
    has_card: bool = True
    is_inward: bool = False  # leads to this machine's own containers, or nowhere: a bridge, loopback
    is_tunnel: bool = False
    speed_mbps: int = 0  # 0: it does not say; Wi-Fi never does


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides where an address comes. All are this machine's, as text."""

    proven: frozenset[str] = frozenset()  # the server was reached from it just now
    default: frozenset[str] = frozenset()  # the source of datagrams to nowhere in particular
    natures: Mapping[str, Nature] = field(default_factory=dict)  # by name of the interface


def own_addresses(reached_from: str | None = None, *, interface: str | None = None) -> tuple[str, ...]:
    """The addresses to offer, at most `MAX_ADDRESSES`. From `reached_from` the server was reached just now.

    `interface` is the name of one, or one of its addresses: only what it has is offered. Raises BadOption if this
    machine has no such.
    """
    found = _everything() if interface is None else _chosen(interface)
    standing = Standing(
        proven=frozenset(() if reached_from is None else (reached_from,)),
        default=frozenset(filter(None, map(source_address, _ELSEWHERE))),
        natures={each.name: _nature(each.name) for each in found},
    )
    ordered = in_order(found, standing)
    if interface is not None and not ordered:
        raise BadOption("--interface", f"{interface!r} has no address that others could reach")
    return ordered


def interface_index(named: str) -> int | None:
    """The system's number of the interface that `own_addresses` takes this for; None where that is not known."""
    try:
        return socket.if_nametoindex(_chosen(named)[0].name)
    except OSError:
        return None


def is_tunnel(name: str) -> bool:
    """Whether an interface is a VPN's or another tunnel's: it wraps packets, and is no modem's."""
    system = _SYSTEM / name
    kind = _said(system / "type")
    return kind in _TUNNELS - {_PPP} and not (system / "device").exists()


def in_order(found: Sequence[Interface], standing: Standing) -> tuple[str, ...]:
    """Their usable addresses, each once, the likeliest first; of equals, IPv4 first, in the system's order."""
    ranked: dict[str, _Place] = {}
    for interface in found:
        for each in interface.addresses:
            if is_usable(each.ip):
                ranked.setdefault(str(each.ip), _place(each.ip, interface, standing))
    return tuple(sorted(ranked, key=ranked.__getitem__))[:MAX_ADDRESSES]


class _Place(NamedTuple):
    """The smaller, the likelier."""

    kind: int
    is_tunnel: bool
    is_not_default: bool
    is_not_proven: bool
    slowness: int
    version: int


def _place(address: Address, interface: Interface, standing: Standing) -> _Place:
    text = str(address)
    nature = standing.natures.get(interface.name, Nature())
    if text in standing.proven or text in standing.default:
        kind = 0
    elif not nature.has_carrier:
        kind = 4
    elif nature.is_inward:
        kind = 3
    else:
        kind = 1 if nature.has_card else 2
    return _Place(
        kind,
        nature.is_tunnel,
        text not in standing.default,
        text not in standing.proven,
        -nature.speed_mbps,
        address.version,
    )


def _everything() -> tuple[Interface, ...]:
    """With the addresses that some hosts have on loopback, and are reached by all the same."""
    inward = (
        Interface(each.name, tuple(ip for ip in each.addresses if not ip.is_loopback))
        for each in interfaces(("127.0.0.1", "::1"))
    )
    return (*interfaces(), *(each for each in inward if each.addresses))


def _chosen(named: str) -> tuple[Interface, ...]:
    """Raises BadOption."""
    everything = interfaces() + interfaces(("127.0.0.1", "::1"))
    by_name = tuple(each for each in everything if each.name == named)
    if by_name:
        return by_name
    for interface in everything:
        held = tuple(each for each in interface.addresses if str(each.ip) == named.partition("%")[0])
        if held:
            return (Interface(interface.name, held),)
    there = "; ".join(map(_shown, sorted(everything, key=lambda each: each.name)[:_MOST_NAMED]))
    raise BadOption(
        "--interface",
        f"{named!r} is neither an interface of this machine that has an address nor an address of one ({there})",
    )


def _shown(interface: Interface) -> str:
    """With its first address, which tells one network from another."""
    more = ", …" if len(interface.addresses) > 1 else ""
    return f"{interface.name}: {interface.addresses[0].ip}{more}"


def _nature(name: str) -> Nature:
    """Where the system does not say, an interface is an ordinary one."""
    system = _SYSTEM / name
    kind, speed = _said(system / "type"), _said(system / "speed")
    return Nature(
        has_carrier=_has_carrier(system),
        has_card=not system.exists() or (system / "device").exists(),
        is_inward=kind == "772" or (system / "bridge").exists(),  # ARPHRD_LOOPBACK
        is_tunnel=kind in _TUNNELS,
        speed_mbps=int(speed) if speed.isdecimal() else 0,
    )


def _has_carrier(system: Path) -> bool:
    try:
        return (system / "carrier").read_text().strip() != "0"
    except OSError as error:
        return error.errno != errno.EINVAL  # what Linux says of an interface that is down


def _said(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
