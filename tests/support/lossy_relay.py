"""A UDP relay between two peers on this machine that loses, repeats and reorders datagrams, by a seed.

Each peer is told the relay's address in place of the other's (`a_as_seen_by_b`, `b_as_seen_by_a`), so that all
of STUN, DTLS and SCTP goes through here. It binds to one address of this machine and forwards between the two
candidates it was told of, and to nobody else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from tallow_cli.link.description import CandidateInfo, Description
from tallow_cli.netem.link import Link, LinkConfig
from tallow_cli.wire.udp_buffers import grow_buffers

Address = tuple[Any, ...]

# A datagram held back lets this much time pass, as a path with two branches would.
REORDER_DELAY_S: Final = 0.003
_DTLS_APPLICATION_DATA: Final = 23


@dataclass(frozen=True)
class Disturbance:
    """What happens to datagrams, the same in each direction; `LossyRelay.disturbance` may be set while they flow.

    `payload_only` spares STUN and the DTLS handshake, which repeat themselves after a second.
    """

    loss: float = 0.0
    repeat: float = 0.0
    reorder: float = 0.0
    payload_only: bool = True


@dataclass
class RelayCounters:
    forwarded: int = 0
    lost: int = 0
    repeated: int = 0
    reordered: int = 0


class _End(asyncio.DatagramProtocol):
    """The socket one peer talks to, and that speaks to it for the other."""

    def __init__(self, relay: LossyRelay) -> None:
        self.relay = relay
        self.peer: Address | None = None  # unknown until that peer was described
        self.other: _End | None = None
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        grow_buffers(transport.get_extra_info("socket"))

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if self.other is not None and self.peer is not None and addr[:2] == self.peer[:2]:
            self.relay.carry(data, self.other)

    def send(self, data: bytes) -> None:
        if self.peer is not None and self.transport is not None and not self.transport.is_closing():
            self.relay.forwarded += 1
            self.transport.sendto(data, self.peer)

    def error_received(self, exc: Exception) -> None:
        return  # a peer that closed its socket: what goes there is lost, as on any path

    @property
    def address(self) -> tuple[str, int]:
        if self.transport is None:
            raise RuntimeError("the relay is not open")
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port


class LossyRelay:
    """Open it with `lossy_relay`. What it does to datagrams is `netem`'s."""

    def __init__(self, disturbance: Disturbance, seed: int) -> None:
        self.forwarded = 0
        self._rng = random.Random(seed)
        self._links: list[Link] = []  # those of earlier disturbances too: they may still hold a datagram
        self.disturbance = disturbance
        self._facing_a, self._facing_b = _End(self), _End(self)
        self._facing_a.other, self._facing_b.other = self._facing_b, self._facing_a

    @property
    def disturbance(self) -> Disturbance:
        """What happens from now on."""
        return self._disturbance

    @disturbance.setter
    def disturbance(self, what: Disturbance) -> None:
        self._disturbance = what
        config = LinkConfig(
            loss=what.loss, duplicate=what.repeat, reorder=what.reorder, reorder_delay_s=REORDER_DELAY_S
        )
        self._links.append(Link(config, self._rng, keeps_delays=False))
        self._links.append(Link(config, self._rng, keeps_delays=False))

    @property
    def counters(self) -> RelayCounters:
        """What was done so far, both ways together."""
        done = [link.stats for link in self._links]
        return RelayCounters(
            forwarded=self.forwarded,
            lost=sum(stats.dropped_at_random for stats in done),
            repeated=sum(stats.duplicated for stats in done),
            reordered=sum(stats.reordered for stats in done),
        )

    async def open(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        for end in (self._facing_a, self._facing_b):
            await loop.create_datagram_endpoint(lambda end=end: end, local_addr=(address, 0))  # type: ignore[misc]

    async def close(self) -> None:
        for end in (self._facing_a, self._facing_b):
            if end.transport is not None:
                end.transport.close()
        await asyncio.sleep(0)

    def a_as_seen_by_b(self, a: Description) -> Description:
        """What to tell b about a: the relay is its only candidate."""
        return self._moved(a, self._facing_a, self._facing_b)

    def b_as_seen_by_a(self, b: Description) -> Description:
        return self._moved(b, self._facing_b, self._facing_a)

    def carry(self, data: bytes, towards: _End) -> None:
        if self._disturbance.payload_only and data[:1] != bytes([_DTLS_APPLICATION_DATA]):
            towards.send(data)
            return
        link = self._links[-1 if towards is self._facing_a else -2]
        if link.send(asyncio.get_running_loop().time(), data, len(data)):
            self._deliver(link, towards)

    def _deliver(self, link: Link, towards: _End) -> None:
        loop = asyncio.get_running_loop()
        for data in link.receive(loop.time()):
            towards.send(data)
        held_until = link.next_timeout()
        if held_until is not None:
            loop.call_at(held_until, self._deliver, link, towards)

    def _moved(self, description: Description, facing: _End, other: _End) -> Description:
        host, port = other.address
        candidate = candidate_of_family(description, ipaddress.ip_address(host).version)
        facing.peer = (candidate.address, candidate.port)
        moved = msgspec.structs.replace(candidate, address=host, port=port)
        return msgspec.structs.replace(description, candidates=(moved,))


def candidate_of_family(description: Description, version: int) -> CandidateInfo:
    """The first host candidate of IPv4 or IPv6. Raises ValueError if there is none."""
    for candidate in description.candidates:
        if candidate.type == "host" and ipaddress.ip_address(candidate.address).version == version:
            return candidate
    raise ValueError(f"no IPv{version} host candidate in {description.candidates}")


@asynccontextmanager
async def lossy_relay(address: str, disturbance: Disturbance, seed: int) -> AsyncIterator[LossyRelay]:
    relay = LossyRelay(disturbance, seed)
    await relay.open(address)
    try:
        yield relay
    finally:
        await relay.close()
