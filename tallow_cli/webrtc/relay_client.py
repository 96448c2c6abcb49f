"""Clients of a TURN server (RFC 8656): aioice keeps the allocation, what passes through it goes in runs.

aioice makes a task for every datagram to a relay, and reads its answers one by one. Here a run of datagrams is one call
of the system each way, as on a direct path, and what comes from the relay is checked before aioice parses it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, repeat
from typing import Any, Final, Protocol, cast

from aioice import stun, turn

from tallow_cli.webrtc.stun_requests import Address, StunRequest
from tallow_cli.wire.channel_data import (
    CHANNEL_FIRST_BYTES,
    HEADER_BYTES,
    StreamParser,
    framed,
    framed_for_stream,
    unframed_untrusted,
)
from tallow_cli.wire.datagram_checks import stun_is_sound
from tallow_cli.wire.udp_batch import BatchSocket

# RFC 8656 section 9: a permission lasts 300 s, a channel 600 s, and binding the channel anew prolongs both.
CHANNEL_REFRESH_S: Final = 240.0
# A message of a TURN server carries a datagram of up to 65,535 bytes.
_MAX_TURN_BYTES: Final = 65_535 + 256
# What asyncio may hold of what the relay's TCP does not take: 5 ms at 400 Mbit/s. What is sent beyond twice that is
# lost, as it would be in a router's queue.
_HIGH_WATER_BYTES: Final = 256 * 1024
_LOW_WATER_BYTES: Final = 64 * 1024
_TCP_NOTSENT_LOWAT: Final = 25  # linux/tcp.h: how much unsent data the system takes
# Of a request by UDP; TCP repeats by itself.
_REPEATS_S: Final = (0.1, 0.1, 0.15, 0.15, 0.2, 0.3)
_LATER_S: Final = 0.5
_LASTS_S: Final = 30.0


class RunTaker(Protocol):
    """Who takes what the relay sends on."""

    def channel_data(self, channel: int, run: memoryview, segment: int) -> None: ...

    def batch_ended(self) -> None: ...

    def writable(self) -> None: ...

    def relay_refused(self) -> None:
        """The relay's machine says that nobody listens there (ICMP)."""
        ...


class RelayClient(turn.TurnClientMixin):
    """What both have in common. `taker` is set once there is an allocation."""

    taker: RunTaker | None = None

    def send_run(self, run: bytes, segment: int, channel: int) -> None:
        """Send datagrams of `segment` bytes each, the last perhaps shorter. What cannot go is lost."""
        raise NotImplementedError

    @property
    def is_blocked(self) -> bool:
        """Whether it is better to wait for `RunTaker.writable`."""
        raise NotImplementedError

    def _pauses(self) -> Iterator[float]:
        raise NotImplementedError

    async def request(self, request: stun.Message) -> tuple[stun.Message, Address]:
        """aioice's, which doubles its patience with every loss, and repeats by TCP as well."""
        key = self.integrity_key
        if key:
            request.attributes |= {"USERNAME": self.username, "NONCE": self.nonce, "REALM": self.realm}
            request.add_message_integrity(key)

        def accepts(message: stun.Message, _: Address) -> bool:
            # RFC 8489 section 9.2.5: an error that asks for credentials need not be signed.
            wants_credentials = message.message_class == stun.Class.ERROR and message.error_code in (401, 438)
            return not key or wants_credentials or message.check_message_integrity(key)

        waiting = StunRequest(lambda: self.send_stun(request, self.server), accepts)
        self.transactions[request.transaction_id] = cast(stun.Transaction, waiting)
        try:
            return await waiting.answered(self._pauses())
        finally:
            del self.transactions[request.transaction_id]

    def connection_lost(self, exc: Exception | None) -> None:
        for waiting in list(self.transactions.values()):
            cast(StunRequest, waiting).fail(ConnectionError("it closed the connection"))
        super().connection_lost(exc)

    def _hand_on(self, channel: int, run: bytes, segment: int) -> None:
        if self.taker is not None:
            self.taker.channel_data(channel, memoryview(run), segment)


class RelayOverUdp(RelayClient, turn.TurnClientUdpProtocol):
    """`on_answer` is called when it answers for the first time."""

    def __init__(self, server: tuple[str, int], on_answer: Callable[[], None], **options: Any) -> None:
        super().__init__(server, **options)
        self._on_answer: Callable[[], None] | None = on_answer

    def open(self, sock: socket.socket) -> None:
        """Speak through this socket, which is bound, from now on."""
        carrier = BatchSocket(sock, self, offload=False, data_first_bytes=CHANNEL_FIRST_BYTES)
        carrier.receiver = self
        carrier.on_writable = self._writable
        self.transport = carrier

    @property
    def carrier(self) -> BatchSocket:
        return cast(BatchSocket, self.transport)

    def _pauses(self) -> Iterator[float]:
        later = int((_LASTS_S - sum(_REPEATS_S)) / _LATER_S)
        return chain(_REPEATS_S, repeat(_LATER_S, later))

    def _send(self, data: bytes) -> None:
        self.transport.sendto(data, self.server)

    def send_run(self, run: bytes, segment: int, channel: int) -> None:
        self.carrier.send_run(framed(run, segment, channel), segment + HEADER_BYTES, self.server)

    @property
    def is_blocked(self) -> bool:
        return self.carrier.is_blocked

    def _writable(self) -> None:
        if self.taker is not None:
            self.taker.writable()

    # For the socket

    def admits(self, addr: Address) -> bool:
        return tuple(addr[:2]) == tuple(self.server)

    def datagram_received(self, data: bytes | str, addr: Address) -> None:
        datagram = cast(bytes, data)
        if self.admits(addr) and stun_is_sound(datagram, _MAX_TURN_BYTES):
            if self._on_answer is not None:
                on_answer, self._on_answer = self._on_answer, None
                on_answer()
            super().datagram_received(datagram, (addr[0], addr[1]))

    def datagrams_received(self, run: memoryview, segment: int) -> None:
        for channel, data, size in unframed_untrusted(run, segment):
            self._hand_on(channel, data, size)

    def batch_ended(self) -> None:
        if self.taker is not None:
            self.taker.batch_ended()

    def port_unreachable(self, address: Address) -> None:
        if self.taker is not None and self.admits(address):
            self.taker.relay_refused()


class RelayOverTcp(RelayClient, turn.TurnClientTcpProtocol):
    """By TCP or TLS."""

    def __init__(self, server: tuple[str, int], **options: Any) -> None:
        super().__init__(server, **options)
        self._parser = StreamParser()
        self._is_blocked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(_HIGH_WATER_BYTES, _LOW_WATER_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _HIGH_WATER_BYTES)

    def _pauses(self) -> Iterator[float]:
        return iter((_LASTS_S,))

    def send_run(self, run: bytes, segment: int, channel: int) -> None:
        if self.transport.get_write_buffer_size() < 2 * _HIGH_WATER_BYTES:
            self.transport.write(framed_for_stream(run, segment, channel))

    @property
    def is_blocked(self) -> bool:
        return self._is_blocked

    def pause_writing(self) -> None:
        self._is_blocked = True

    def resume_writing(self) -> None:
        self._is_blocked = False
        if self.taker is not None:
            self.taker.writable()

    def data_received(self, data: bytes) -> None:
        messages, runs = self._parser.receive_untrusted(data)
        for channel, run, size in runs:
            self._hand_on(channel, run, size)
        for message in messages:
            if stun_is_sound(message, _MAX_TURN_BYTES):
                self.datagram_received(message, self.server)
        if self.taker is not None:
            self.taker.batch_ended()
