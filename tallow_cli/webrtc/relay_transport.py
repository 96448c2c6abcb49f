"""The datagram transport of a relayed candidate: to aioice a socket, to the data plane runs of datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from aioice import stun

from tallow_cli.webrtc.ice_wall import WalledStun
from tallow_cli.webrtc.relay_client import CHANNEL_REFRESH_S, RelayClient, RelayOverUdp
from tallow_cli.webrtc.stun_requests import Address
from tallow_cli.wire.channel_data import CHANNEL_NUMBERS
from tallow_cli.wire.datagram_checks import DTLS_FIRST_BYTES
from tallow_cli.wire.udp_batch import DatagramReceiver

# Datagrams for a peer whose channel is not bound yet, which takes a round trip: checks, and little else.
_MAX_HELD_BACK: Final = 16
# A relay's machine that says so often that nobody listens, with nothing heard in between, has lost its relay.
_REFUSALS: Final = 3
_REFUSED_S: Final = 0.5
_TRY_AGAIN_S: Final = 5.0  # after a channel could not be bound anew
_CLOSE_S: Final = 0.7  # for the relay to free the allocation; if it does not, that ends by itself


class RelayTransport(asyncio.DatagramTransport):
    """Made by `connect`. `receiver` and `on_writable` as of a `wire.udp_batch.BatchSocket`."""

    sets_dont_fragment = True  # where there are datagrams; by TCP there is nothing to fragment
    is_ipv6 = False

    def __init__(
        self,
        client: RelayClient,
        protocol: WalledStun,
        *,
        channel_refresh_s: float = CHANNEL_REFRESH_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__()
        self.receiver: DatagramReceiver | None = None
        self.on_writable: Callable[[], None] | None = None
        self._client = client
        self._protocol = protocol
        self._channel_refresh_s = channel_refresh_s
        self._clock = clock
        self._address: tuple[str, int] = ("", 0)
        self._channels: dict[Address, int] = {}
        self._held_back: dict[Address, list[tuple[bytes, int]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._refusals = 0
        self._refused_since = 0.0

    async def connect(self) -> None:
        """Allocate. Raises OSError, stun.TransactionError."""
        self._address = await self._client.connect()
        self._client.receiver = self._protocol
        self._client.taker = self
        self._protocol.connection_made(self)

    # asyncio.DatagramTransport, for aioice

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "related_address":
            return self._client.mapped_address
        if name == "sockname":
            return self._address
        return default

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.send_run(bytes(data), max(len(data), 1), addr)

    def is_closing(self) -> bool:
        return self._closing is not None

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        """Free the allocation. The protocol is told when it is gone."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._free())

    async def _free(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._client.delete()
        except (TimeoutError, OSError):
            return

    # Sending

    @property
    def has_gso(self) -> bool:
        return isinstance(self._client, RelayOverUdp) and self._client.carrier.has_gso

    @property
    def has_gro(self) -> bool:
        return isinstance(self._client, RelayOverUdp) and self._client.carrier.has_gro

    @property
    def in_datagrams(self) -> bool:
        """Whether it leads to the relay by UDP, so that GSO and GRO could serve it."""
        return isinstance(self._client, RelayOverUdp)

    def use_offload(self) -> None:
        """Use GSO and GRO from now on, where there are datagrams and the system has them."""
        if isinstance(self._client, RelayOverUdp):
            self._client.carrier.use_offload()

    def set_dont_fragment(self, wanted: bool) -> bool:
        return isinstance(self._client, RelayOverUdp) and self._client.carrier.set_dont_fragment(wanted)

    @property
    def is_blocked(self) -> bool:
        return self._client.is_blocked

    def send_run(self, run: bytes, segment: int, address: Address) -> None:
        """Send a run of datagrams of `segment` bytes each, the last perhaps shorter, to the peer at `address`."""
        if self._closing is not None or self._client.transport.is_closing():
            return
        channel = self._client.peer_to_channel.get(address)
        if channel is not None:
            self._client.send_run(run, segment, channel)
            return
        waiting = self._held_back.get(address)
        if waiting is None:
            self._held_back[address] = [(run, segment)]
            self._tasks.add(task := asyncio.create_task(self._keep_bound(address)))
            task.add_done_callback(self._tasks.discard)
        elif len(waiting) < _MAX_HELD_BACK:
            waiting.append((run, segment))

    async def _keep_bound(self, address: Address) -> None:
        """Bind a channel to the peer, send what waits for it, and bind it anew before it or its permission ends."""
        client = self._client
        channel = self._channels.setdefault(address, CHANNEL_NUMBERS.start + len(self._channels))
        if not await self._bound(channel, address):
            del self._held_back[address]  # the next datagram for it tries again
            return
        client.channel_to_peer[channel] = address
        client.peer_to_channel[address] = channel
        for run, segment in self._held_back.pop(address):
            client.send_run(run, segment, channel)
        is_bound = True
        while True:
            await asyncio.sleep(self._channel_refresh_s if is_bound else _TRY_AGAIN_S)
            is_bound = await self._bound(channel, address)

    async def _bound(self, channel: int, address: Address) -> bool:
        try:
            await self._client.channel_bind(channel, address)
        except (stun.TransactionError, OSError):
            return False
        return True

    # What the relay sends, for its client

    def channel_data(self, channel: int, run: memoryview, segment: int) -> None:
        self._refusals = 0
        peer = self._client.channel_to_peer.get(channel)
        if peer is None:
            return
        receiver = self.receiver if self._protocol.admits(peer) else None
        if receiver is not None and not bytes(run[::segment]).translate(None, DTLS_FIRST_BYTES):
            receiver.datagrams_received(run, segment)
            return
        for start in range(0, len(run), segment):
            self._protocol.datagram_received(bytes(run[start : start + segment]), peer)

    def batch_ended(self) -> None:
        if self.receiver is not None:
            self.receiver.batch_ended()

    def writable(self) -> None:
        if self.on_writable is not None:
            self.on_writable()

    def relay_refused(self) -> None:
        now = self._clock()
        if not self._refusals:
            self._refused_since = now
        self._refusals += 1
        if self._refusals >= _REFUSALS and now - self._refused_since >= _REFUSED_S:
            self._client.transport.close()
