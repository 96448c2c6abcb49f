"""The addresses a connection is offered from, the likeliest first.

A machine may have dozens: containers, virtual machines, VPNs, cables that are not plugged in. ICE would try them all as
equals. What is known puts them in order: the one that reached the server, those of the default routes, then what has a
carrier, then the rest.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallow_cli.errors import BadOption
from tallow_cli.meeting.addresses import source_address
from tallow_cli.meeting.interfaces import Address, Interface, interfaces, is_usable

# As many as a description has room for: what is beyond would not be told to the peer.
MAX_ADDRESSES: Final = 32
# Never routed (RFC 5737, RFC 3849): asking for the way there sends nothing, and finds the default route.
_ELSEWHERE: Final = (("192.0.2.1", 9), ("2001:db8::1", 9))
_SYSTEM: Final = Path("/sys/class/net")


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides where an address comes. All are this machine's, as text."""

    proven: frozenset[str] = frozenset()  # something was reached from it just now
    default: frozenset[str] = frozenset()  # the source of datagrams to nowhere in particular
    no_carrier: frozenset[str] = frozenset()  # names of interfaces


def own_addresses(towards: str | None = None, *, interface: str | None = None) -> tuple[str, ...]:
    """The addresses to offer, at most `MAX_ADDRESSES`. `towards` is an address that was reached just now.

    `interface` is the name of one, or one of its addresses: only what it has is offered. Raises BadOption if this
    machine has no such.
    """
    found = interfaces()
    if interface is not None:
        found = _chosen(interface)
    proven = None if towards is None else source_address((towards, 9))
    standing = Standing(
        proven=frozenset(() if proven is None else (proven,)),
        default=frozenset(filter(None, map(source_address, _ELSEWHERE))),
        no_carrier=frozenset(each.name for each in found if not _has_carrier(each.name)),
    )
    return in_order(found, standing)


def in_order(found: Sequence[Interface], standing: Standing) -> tuple[str, ...]:
    """Their usable addresses, each once, the likeliest first; of equals, IPv4 first, in the system's order."""
    ranked: dict[str, tuple[int, int]] = {}
    for interface in found:
        for each in interface.addresses:
            if is_usable(each.ip):
                text = str(each.ip)
                ranked.setdefault(text, (_rank(each.ip, interface, standing), each.version))
    return tuple(sorted(ranked, key=ranked.__getitem__))[:MAX_ADDRESSES]


def _rank(address: Address, interface: Interface, standing: Standing) -> int:
    text = str(address)
    if text in standing.proven:
        return 0
    if text in standing.default:
        return 1
    return 3 if interface.name in standing.no_carrier else 2


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
    names = ", ".join(sorted({each.name for each in everything}))
    raise BadOption(
        "--interface", f"{named!r} is neither an interface of this machine ({names}) nor an address of one"
    )


def _has_carrier(name: str) -> bool:
    """Whether something is at the other end of the cable. Where the system does not say, there is."""
    try:
        return (_SYSTEM / name / "carrier").read_text().strip() != "0"
    except OSError as error:
        return error.errno != errno.EINVAL  # what Linux says of an interface that is down
