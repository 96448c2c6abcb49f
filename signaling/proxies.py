"""Whom a connection comes from: the socket's address, or the one a trusted proxy forwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from signaling.networks import Address, Network, is_in, parsed_address, parsed_networks

MOST_HOPS: Final = 16  # believed of one header


class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed. Raises NotAnAddress for what is neither address nor network."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._networks: tuple[Network, ...] = parsed_networks(texts)

    def __contains__(self, address: str) -> bool:
        parsed = parsed_address(address)
        return parsed is not None and is_in(parsed, self._networks)

    def client_of(self, header_values: Sequence[str]) -> str | None:
        """The last address that is not a trusted proxy's own: those before it are hearsay. None where none is named.

        Where what was forwarded cannot be read, its text is the answer: all such are one stranger.
        """
        hops = ",".join(header_values).split(",")[-MOST_HOPS:]
        client: str | None = None
        for hop in reversed([hop.strip() for hop in hops]):
            if not hop:
                continue
            client = hop
            address = _address_of_hop(hop)
            if address is None or not is_in(address, self._networks):
                return hop if address is None else str(address)
        return client


def _address_of_hop(hop: str) -> Address | None:
    """`192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`, `[2001:db8::7]:4711`, in quotes or not."""
    text = hop.strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return parsed_address(text)
