"""How a NAT maps ports, from what several STUN servers see of one socket (RFC 4787 section 4.1, RFC 5780). Sans-IO."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from tallow_cli.link.description import NatMapping

_Endpoint = tuple[str, int]
_MOST_PORT: Final = 65_535


class Mappings:
    """What was seen so far. One NAT that depends on the endpoint is enough to say so of all."""

    def __init__(self) -> None:
        self._seen: dict[_Endpoint, dict[_Endpoint, _Endpoint]] = {}  # our socket, the server, what it saw

    def seen(self, base: tuple[str, int], server: tuple[str, int], mapped: tuple[str, int]) -> None:
        """`server` sees our socket `base` as `mapped`."""
        self._seen.setdefault(base, {})[server] = mapped

    @property
    def kind(self) -> NatMapping:
        kinds = {self._kind(base, answers) for base, answers in self._seen.items()}
        for kind in ("endpoint-dependent", "endpoint-independent", "unknown", "none"):
            if kind in kinds:
                return kind
        return "unknown"

    def _kind(self, base: _Endpoint, answers: dict[_Endpoint, _Endpoint]) -> NatMapping:
        mapped = set(answers.values())
        if mapped == {base}:
            return "none"
        if len(mapped) > 1:
            return "endpoint-dependent"
        return "endpoint-independent" if len(answers) > 1 else "unknown"


def is_plausible(mapped: Any, server: tuple[str, int]) -> bool:
    """Whether a server that was asked at `server` can have seen that: an address of the same family that one machine
    can have, and not loopback unless the server is there itself. Others lie, and the peer would refuse to read on.
    """
    if mapped is None or not is_possible(mapped):
        return False
    address, asked = ipaddress.ip_address(mapped[0]), ipaddress.ip_address(server[0].partition("%")[0])
    return address.version == asked.version and address.is_loopback <= asked.is_loopback


def is_possible(address: tuple[str, int]) -> bool:
    """Whether one machine can be reached by UDP at that address and port."""
    host = ipaddress.ip_address(address[0])
    is_one_machine = not (host.is_multicast or host.is_unspecified or address[0] == "255.255.255.255")
    return is_one_machine and 1 <= address[1] <= _MOST_PORT
