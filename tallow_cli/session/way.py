"""Which kind of way leads to the other side, said only where it is known to be so.

ICE knows addresses: its own, the peer's, and which of them a NAT has put in place of others. The rest is this machine's
to say: whether it has the peer's address itself, and what network the interface is in that leads there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Final

from tallow_cli.link.link import PathInfo, Way
from tallow_cli.meeting.interfaces import Interface, interfaces
from tallow_cli.meeting.own_addresses import is_tunnel
from tallow_cli.wire.source_address import source_address

# RFC 6598: a carrier's, or an overlay's, whose members are anywhere.
_SHARED: Final = ipaddress.IPv4Network("100.64.0.0/10")


def way_taken(
    path: PathInfo,
    *,
    own: Callable[[], Sequence[Interface]] = interfaces,
    source_towards: Callable[[tuple[str, int]], str | None] = source_address,
    tunnels: Callable[[str], bool] = is_tunnel,
) -> Way:
    """`own`: this machine's interfaces; `source_towards`: the address that the system takes for a destination,
    which is the destination's own where this machine has it; `tunnels`: whether an interface, by its
    name, wraps packets into others.
    """
    if path.kind == "relayed":
        return "relayed"
    local, remote = ipaddress.ip_address(path.local_address), ipaddress.ip_address(path.remote_address)
    if remote.is_loopback or source_towards((path.remote_address, path.remote_port)) == path.remote_address:
        return "same-machine"
    leads_there = next((each for each in own() if any(held.ip == local for held in each.addresses)), None)
    if leads_there is not None and tunnels(leads_there.name):
        return "tunnel"
    if leads_there is not None and _is_neighbour(local, remote, leads_there):
        return "local-network"
    return "across-nats" if path.is_translated else "direct"


def _is_neighbour(
    local: ipaddress.IPv4Address | ipaddress.IPv6Address,
    remote: ipaddress.IPv4Address | ipaddress.IPv6Address,
    interface: Interface,
) -> bool:
    if remote.version == 4 and remote in _SHARED:
        return False
    return any(held.ip == local and remote in held.network for held in interface.addresses)
