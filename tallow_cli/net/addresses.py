"""This machine's address on the network, as another machine would have to name it."""

from __future__ import annotations

import ipaddress
import socket

# TEST-NET-1 (RFC 5737): never routed. Connecting a UDP socket sends nothing; it only asks for the route.
_ELSEWHERE = ("192.0.2.1", 9)


def primary_address() -> str | None:
    """The IPv4 address of the default route's interface; None without one (a machine of its own)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            address: str = probe.getsockname()[0]
        except OSError:
            return None
    return None if ipaddress.ip_address(address).is_loopback else address
