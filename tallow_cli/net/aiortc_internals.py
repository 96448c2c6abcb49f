"""Every private part of aiortc and aioice that Tallow touches, in one place.

aiortc's ORTC classes are public, but they offer no way to choose the ICE role, to gather on a machine that
has only a loopback interface, or to read the chosen candidate pair. `missing_hooks()` names what a
different version lacks; tests/unit/test_aiortc_internals.py fails clearly when it names anything. Importing
this module imports aiortc (a quarter of a second), so import it lazily.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final, cast

import aioice
from aioice import ice, stun
from aiortc import (
    RTCCertificate,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceServer,
    RTCIceTransport,
    RTCSctpTransport,
)
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.rtcicetransport import connection_kwargs

from tallow_cli.net.udp_batch import Address, BatchSocket
from tallow_cli.net.udp_buffers import grow_buffers

# aioice waits 5 s for STUN and TURN answers. A server that has not answered in this time is not worth the
# wait.
GATHER_TIMEOUT_S: Final = 2

# RFC 7675 asks for a consent check about every 5 s, and lets consent last 30 s. aioice gives each check
# half a second, which a full queue or a busy CPU can exceed; ours retries within a check (0.5 + 1 + 2 s)
# and gives up after about 18 s of silence instead of 33.
CONSENT_INTERVAL_S: Final = 5.0
CONSENT_RETRY_S: Final = 1.0
CONSENT_RETRANSMISSIONS: Final = 2
CONSENT_FAILURES: Final = 4


class IceConnection(aioice.Connection):
    """An ICE connection that also works where loopback is the only interface, as in many CI containers."""

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = GATHER_TIMEOUT_S
    ) -> list[aioice.Candidate]:
        if not addresses and self._transport_policy == aioice.TransportPolicy.ALL:
            addresses = ["127.0.0.1", "::1"]
        candidates = await super().get_component_candidates(
            component, addresses, min(timeout, GATHER_TIMEOUT_S)
        )
        # aioice asks for 256 KiB, less than one window of aiortc's: its own bursts overflow that on a fast
        # path.
        for protocol in self._protocols:
            sock = protocol.transport.get_extra_info("socket")
            if sock is not None:
                grow_buffers(sock)
        return candidates

    async def query_consent(self) -> None:
        """Ask the peer now and then whether it is still there (RFC 7675); close when it is not."""
        failures = 0
        while failures < CONSENT_FAILURES:
            pause_s = CONSENT_RETRY_S if failures else CONSENT_INTERVAL_S
            await asyncio.sleep(pause_s * (0.8 + 0.4 * random.random()))
            failures = 0 if await self._has_consent() else failures + 1
        self._query_consent_task = None
        await self.close()

    async def _has_consent(self) -> bool:
        if self.remote_password is None:
            return False
        for pair in list(self._nominated.values()):
            try:
                await pair.protocol.request(
                    self.build_request(pair, nominate=False),
                    pair.remote_addr,
                    integrity_key=self.remote_password.encode(),
                    retransmissions=CONSENT_RETRANSMISSIONS,
                )
            except stun.TransactionError:
                return False
        return True


class IceGatherer(RTCIceGatherer):
    """A gatherer whose ICE role is chosen at birth and whose connection is ours."""

    def __init__(self, *, controlling: bool, ice_servers: Sequence[RTCIceServer], relay_only: bool) -> None:
        policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
        super().__init__(list(ice_servers), policy)
        self._connection = IceConnection(
            ice_controlling=controlling,
            transport_policy=aioice.TransportPolicy.RELAY if relay_only else aioice.TransportPolicy.ALL,
            **connection_kwargs(list(ice_servers)),
        )


class DtlsTransport(RTCDtlsTransport):
    """DTLS that drops what is sent after its end, as a datagram network does.

    aiortc raises ConnectionError there, inside tasks nobody awaits, which then complain on stderr.
    """

    def __init__(self, transport: RTCIceTransport, certificate: RTCCertificate, role: str) -> None:
        super().__init__(transport, [certificate])
        self._set_role(role)

    async def _send_data(self, data: bytes) -> None:
        try:
            await super()._send_data(data)
        except ConnectionError:
            return

    async def stop(self) -> None:
        """Stop, and wait for the receiving task to be gone."""
        task = self._task
        await super().stop()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)


def nominated_pair(transport: RTCIceTransport) -> tuple[aioice.Candidate, aioice.Candidate] | None:
    """The (local, remote) candidates ICE settled on, or None before and after."""
    pair = transport._connection._nominated.get(1)
    return None if pair is None else (pair.local_candidate, pair.remote_candidate)


class _IntoQueue:
    """Feeds the datagrams of a socket taken over to aioice's queue, where the DTLS handshake reads them."""

    def __init__(self, connection: aioice.Connection) -> None:
        self._connection = connection

    def datagrams_received(self, run: memoryview, segment: int) -> None:
        for start in range(0, len(run), segment):
            self._connection.data_received(bytes(run[start : start + segment]), 1)

    def batch_ended(self) -> None:
        return

    def port_unreachable(self, address: Address) -> None:
        return


def take_over_sockets(transport: RTCIceTransport, *, offload: bool) -> list[BatchSocket]:
    """Put our own datagram transport under aioice, on every socket of this machine it gathered.

    Each keeps its number, port and STUN handling; only who reads and writes it changes. All of them are
    taken, not only the nominated pair's: the two sides may settle on different pairs. Relayed candidates stay
    with aioice.
    """
    connection = transport._connection
    taken: list[BatchSocket] = []
    for protocol in connection._protocols:
        old = protocol.transport
        sock = old.get_extra_info("socket")
        if protocol.local_candidate.type != "host" or sock is None or isinstance(old, BatchSocket):
            continue
        # asyncio refuses to watch a descriptor its transport owns, so ours is a duplicate of the same socket.
        own = socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
        own.setblocking(False)
        cast(asyncio.Transport, old).set_protocol(asyncio.DatagramProtocol())
        old.close()
        protocol.transport = BatchSocket(own, protocol, offload=offload)
        protocol.transport.receiver = _IntoQueue(connection)
        taken.append(protocol.transport)
    return taken


def nominated_route(transport: RTCIceTransport) -> tuple[asyncio.DatagramTransport, Address] | None:
    """Where to send now: the chosen pair's socket and the peer's address. It may change while the link
    lives.
    """
    pair = transport._connection._nominated.get(1)
    return None if pair is None else (pair.protocol.transport, pair.remote_addr)


def queued_datagrams(transport: RTCIceTransport) -> list[bytes]:
    """Take everything out of aioice's queue without waiting. Loss of the connection is left in it."""
    queue = transport._connection._queue
    taken: list[bytes] = []
    while not queue.empty():
        item = queue.get_nowait()
        if item is None:
            queue.put_nowait(None)
            break
        taken.append(item[0])
    return taken


def report_loss(transport: RTCIceTransport) -> None:
    """Make whoever waits for the next datagram see the end of the connection."""
    transport._connection._queue.put_nowait(None)


def ice_is_lost(transport: RTCIceTransport) -> bool:
    """Whether ICE gave the peer up; `transport.state` says so only later than DTLS notices."""
    return bool(transport._connection._closing)


def all_acknowledged(sctp: RTCSctpTransport) -> bool:
    """Whether the peer's SCTP has acknowledged everything any channel was given."""
    if sctp._data_channel_queue or sctp._outbound_queue:
        return False
    return all(chunk._acked for chunk in sctp._sent_queue)


async def keep_only_stream(sctp: RTCSctpTransport, stream_id: int) -> None:
    """Before an ABORT: let what is queued on this stream leave now, and give all else up. Never suspends."""
    sctp._data_channel_queue = deque(item for item in sctp._data_channel_queue if item[0].id == stream_id)
    sctp._outbound_queue = deque(chunk for chunk in sctp._outbound_queue if chunk.stream_id == stream_id)
    for chunk in sctp._sent_queue:
        if chunk.stream_id != stream_id:
            sctp._flight_size_decrease(chunk)
    sctp._sent_queue = deque(chunk for chunk in sctp._sent_queue if chunk.stream_id == stream_id)
    await sctp._data_channel_flush()
    if sctp._association_state == sctp.State.ESTABLISHED:
        await sctp._transmit()


def missing_hooks() -> tuple[str, ...]:
    """The private parts Tallow's engine needs and the installed aiortc and aioice lack, by name."""
    expected: tuple[tuple[object, str], ...] = (
        (aioice.Connection, "get_component_candidates query_consent build_request close data_received"),
        (IceConnection(ice_controlling=True), "_nominated _protocols _transport_policy _query_consent_task"),
        (IceConnection(ice_controlling=True), "_queue _closing"),
        (ice.CandidatePair, "local_candidate remote_addr"),
        (ice.StunProtocol, "request datagram_received connection_lost send_data close"),
        (
            RTCDtlsTransport,
            "_set_role _send_data _recv_next _register_data_receiver _unregister_data_receiver",
        ),
        (
            RTCSctpTransport,
            "_handle_data _receive_chunk _send_chunk _set_state _set_extensions _get_extensions _t1_start _t1_expired",
        ),
        (RTCSctpTransport, "_transmit_reconfig _reset_deferred_streams _receive_reconfig_param"),
        (RTCSctpTransport, "_data_channel_send _data_channel_flush _data_channel_receive State"),
        (RTCSctpTransport, "_transmit _flight_size_decrease"),
    )
    return tuple(
        f"{getattr(owner, '__name__', type(owner).__name__)}.{name}"
        for owner, names in expected
        for name in names.split()
        if not hasattr(owner, name)
    )
