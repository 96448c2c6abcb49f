"""Who a client is to the server: the network its address is in, and the wider ones around that.

An IPv4 address, or an IPv6 /64 (what one subscriber is given), is one network. A host of a larger block is more than
one of them, so the blocks are counted too: /24 of IPv4, /56 and /48 of IPv6 (RFC 6177: what sites and customers are
given). Networks are kept only as keyed hashes whose key changes daily, so neither memory nor log says who was here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Prefix lengths, and how many times as much as one network each block may take: less than it has room for.
_NARROWEST = {4: 32, 6: 64}
_WIDER = {4: ((24, 8),), 6: ((56, 4), (48, 16))}


@dataclass(frozen=True, slots=True)
class Prefix:
    """One client's network as the server remembers it."""

    label: str  # keyed hash: stable within a day, meaningless outside this process
    is_loopback: bool
    wider: tuple[tuple[str, int], ...] = ()  # labels of the blocks around it, and the factor of their limits


class PrefixHasher:
    """Turns socket addresses into prefixes. `entropy(n)` gives n random bytes."""

    KEY_LIFETIME_S = 86_400.0

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._key = entropy(32)
        self._key_since: float | None = None

    def prefix(self, address: str, now: float) -> Prefix:
        """The prefix of a numeric address. All unreadable ones are one stranger."""
        if self._key_since is None:
            self._key_since = now
        if now - self._key_since >= self.KEY_LIFETIME_S:
            self._key, self._key_since = self._entropy(32), now
        parsed = parsed_address(address)
        if parsed is None:
            return Prefix(self._label(b"unreadable"), is_loopback=False)
        narrowest = self._label(_network(parsed, _NARROWEST[parsed.version]))
        if parsed.is_loopback:
            return Prefix(narrowest, is_loopback=True)
        wider = tuple(
            (self._label(_network(parsed, length)), factor) for length, factor in _WIDER[parsed.version]
        )
        return Prefix(narrowest, False, wider)

    def _label(self, network: bytes) -> str:
        return blake2b(network, key=self._key, digest_size=8).hexdigest()


def _network(address: Address, length: int) -> bytes:
    bits = address.max_prefixlen - length
    return b"%d/%d/%x" % (address.version, length, int(address) >> bits)


def parsed_address(text: str) -> Address | None:
    """A numeric address, without its zone; an IPv4 address in IPv6's clothes as what it is. None for anything else."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class NotAnAddress(ValueError):
    """What was to be trusted is neither an address nor a network. The text says so."""


def parsed_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks from addresses and networks (`127.0.0.1`, `10.0.0.0/8`, `::ffff:10.0.0.1`). Raises NotAnAddress."""
    return tuple(_parsed_network(text) for text in texts)


def _parsed_network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise NotAnAddress(
            f"{text!r} is neither an address like 127.0.0.1 nor a network like 10.0.0.0/8; names are not looked up."
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
