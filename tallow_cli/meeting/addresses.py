"""This machine's addresses: the one another machine would have to name, and those it reaches itself by."""

from __future__ import annotations

import ipaddress

import ifaddr

from tallow_cli.errors import NoNetwork
from tallow_cli.wire.source_address import source_address

# TEST-NET-1 (RFC 5737): never routed. Connecting a UDP socket sends nothing; it only asks for the route.
_ELSEWHERE = ("192.0.2.1", 9)


_LOOPBACK = ("127.0.0.1", "::1")


def primary_address() -> str | None:
    """The IPv4 address of the default route's interface; None without one (a machine of its own)."""
    address = source_address(_ELSEWHERE)
    return None if address is None or ipaddress.ip_address(address).is_loopback else address


def loopback_addresses() -> tuple[str, ...]:
    """Those of 127.0.0.1 and ::1 that lead to this machine: there may be no IPv4 on it, or no IPv6, or neither."""
    return tuple(address for address in _LOOPBACK if source_address((address, 9)) is not None)


def require_network() -> None:
    """Raises NoNetwork if no interface has an address: then no socket leads anywhere, and errors would blame others."""
    if not any(adapter.ips for adapter in ifaddr.get_adapters()):
        raise NoNetwork
