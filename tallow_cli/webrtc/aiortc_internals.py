"""aiortc and aioice as Tallow needs them.

aiortc's ORTC classes are public, but they offer no way to choose the ICE role, to gather on a machine that
has only a loopback interface, or to read the chosen candidate pair. The private parts this takes are listed in
`aiortc_hooks`, which is asked first. Importing this module imports aiortc (a quarter of a second), so import it
lazily.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, cast

import aioice
from aioice import ice, stun
from aiortc import (
    RTCIceGatherer,
    RTCIceTransport,
    RTCSctpTransport,
)
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from tallow_cli.errors import Loss, PeerVanished
from tallow_cli.link.no_path import Checks
from tallow_cli.transfer.control import LATE_S
from tallow_cli.webrtc.ice_checks import CheckingIceConnection
from tallow_cli.webrtc.ice_consent import AWAY, Consent, vanished
from tallow_cli.webrtc.ice_gathering import GatheringIceConnection
from tallow_cli.webrtc.ice_wall import WalledStun
from tallow_cli.webrtc.own_address import OwnAddress, is_ours
from tallow_cli.webrtc.relay_transport import RelayTransport
from tallow_cli.wire.source_address import source_address
from tallow_cli.wire.udp_batch import Address, BatchSocket

RunTransport = BatchSocket | RelayTransport
RELAY_GONE: Final = "the relay between the two machines ended it"


class IceConnection(CheckingIceConnection):
    """An ICE connection that also works where loopback is the only interface, as in many CI containers, and whose
    consent is ours. `loss`: why it closed itself.
    """

    def __init__(self, ice_controlling: bool, **options: Any) -> None:
        super().__init__(ice_controlling, **options)
        self.consent: Consent | None = None  # once connected
        self.loss: PeerVanished | None = None
        self.peer_knows_us = asyncio.Event()  # a check came that was made with our password
        self._woken = asyncio.Event()

    async def query_consent(self) -> None:
        """Ask the peer now and then whether it is still there (RFC 7675); close when it is not."""
        consent = self.consent = Consent(monotonic(), random.random)
        checks = _ConsentChecks(self, consent)
        own = self._own_address()
        while (loss := _lost(monotonic(), consent, own)) is None:
            if monotonic() >= consent.next_check_at:
                checks.send()
            due = consent.next_timeout() if own is None else min(consent.next_timeout(), own.next_look_at)
            await self._wait_until(due)
            late_s = monotonic() - due
            if late_s > LATE_S:
                consent.missed(late_s)
        checks.forget()
        self.loss = loss
        self._query_consent_task = None
        # Whoever reads learns of it now: closing asks a relay to forget us, and one out of reach does not answer.
        self._queue.put_nowait(None)
        await self.close()

    def _own_address(self) -> OwnAddress | None:
        """Watches the address of this machine that the chosen pair begins at; None if that is not known."""
        pair = self._nominated.get(1)
        if pair is None:
            return None
        address, peer = cast(WalledStun, pair.protocol).base, pair.remote_addr
        if not is_ours(address):
            return None
        return OwnAddress(
            monotonic(), lambda: is_ours(address), lambda: source_address(peer) not in (None, address)
        )

    async def _wait_until(self, due: float) -> None:
        """Until then, or until `refused` has something new."""
        self._woken.clear()
        timer = asyncio.get_running_loop().call_later(max(0.0, due - monotonic()), self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()

    def request_received(
        self, message: stun.Message, addr: tuple[str, int], protocol: ice.StunProtocol
    ) -> None:
        super().request_received(message, addr, protocol)
        if self._early_checks:  # those that were authentic
            self.peer_knows_us.set()

    def protocol_lost(self, protocol: ice.StunProtocol) -> None:
        """A relay closed the connection, or does not keep the allocation."""
        pair = self._nominated.get(1)
        if pair is not None and pair.protocol is protocol and self.loss is None and not self._closing:
            self.loss = PeerVanished(RELAY_GONE, Loss.SILENT)
        super().protocol_lost(protocol)

    def enqueue_untrusted(self, data: bytes) -> None:
        """What still waits to be read was sent by a peer that was there: its last words come before its end."""
        super().enqueue_untrusted(data)
        if self.consent is not None:
            self.consent.heard()

    def refused(self, address: Address) -> None:
        """ICMP says that nobody listens at `address`."""
        consent = self.consent
        pair = self._nominated.get(1)
        if consent is not None and pair is not None and tuple(pair.remote_addr[:2]) == tuple(address[:2]):
            consent.refused(monotonic())
            self._woken.set()


def _lost(now: float, consent: Consent, own: OwnAddress | None) -> PeerVanished | None:
    """Why the peer must not be sent to any more, or cannot be."""
    if own is not None and now >= own.next_look_at:
        own.look(now)
        if own.is_replaced:
            return vanished(Loss.PATH_GONE)
    loss = consent.lost(now)
    if loss is Loss.SILENT and own is not None and own.is_away:
        return PeerVanished(AWAY, Loss.PATH_GONE)
    return None if loss is None else vanished(loss)


class _ConsentChecks:
    """The STUN side of consent: requests, and the answers that come to them however late."""

    def __init__(self, connection: IceConnection, consent: Consent) -> None:
        self._connection = connection
        self._consent = consent
        self._transactions: dict[bytes, _ConsentCheck] = {}

    def send(self) -> None:
        connection = self._connection
        pair = connection._nominated.get(1)
        request: stun.Message | None = None
        if pair is not None and connection.remote_password is not None:
            key = connection.remote_password.encode()
            request = connection.build_request(pair, nominate=False)
            request.add_message_integrity(key)
            check = _ConsentCheck(self, request.transaction_id, pair.protocol, pair.remote_addr, key)
            self._transactions[request.transaction_id] = check
            pair.protocol.transactions[request.transaction_id] = cast(stun.Transaction, check)
            pair.protocol.send_stun(request, pair.remote_addr)
            is_here = pair.protocol.local_candidate.host == pair.remote_addr[0]
            if is_here and not _reads_errors(pair.protocol) and _nobody_listens_here(pair.remote_addr):
                self._consent.refused(monotonic())
        self._consent.check_sent(monotonic(), request.transaction_id if request else b"")

    def answered(self, transaction: bytes) -> None:
        self.forget(self._consent.answered(monotonic(), transaction))

    def forget(self, transactions: Sequence[bytes] | None = None) -> None:
        """Expect no answer to these any more (None: to any)."""
        for each in list(self._transactions) if transactions is None else transactions:
            check = self._transactions.pop(each, None)
            if check is not None:
                check.protocol.transactions.pop(each, None)


@dataclass(frozen=True, slots=True)
class _ConsentCheck:
    """Stands where aioice's protocol looks for the transaction of a response."""

    checks: _ConsentChecks
    transaction: bytes
    protocol: ice.StunProtocol
    address: tuple[str, int]
    key: bytes

    def response_received(self, message: stun.Message, address: tuple[str, int]) -> None:
        is_answer = message.message_class == stun.Class.RESPONSE and address == self.address
        if is_answer and message.check_message_integrity(self.key):
            self.checks.answered(self.transaction)


def _reads_errors(protocol: ice.StunProtocol) -> bool:
    return isinstance(protocol.transport, BatchSocket) and protocol.transport.reads_errors


def _nobody_listens_here(address: tuple[str, int]) -> bool:
    """Whether the port of this machine's `address` is free: for sockets that are not told of ICMP."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind(address)
    except OSError:
        return False
    return True


class IceGatherer(RTCIceGatherer):
    """A gatherer whose ICE role is chosen at birth and whose connection is ours."""

    def __init__(self, *, controlling: bool, relay_only: bool = False, **options: Any) -> None:
        """`options` are those of a GatheringIceConnection."""
        super().__init__([], RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL)
        self._connection = IceConnection(
            ice_controlling=controlling,
            transport_policy=aioice.TransportPolicy.RELAY if relay_only else aioice.TransportPolicy.ALL,
            **options,
        )


def gathering(transport: RTCIceTransport) -> GatheringIceConnection:
    """What can still be asked for addresses, until the link connects."""
    return _ours(transport)


def checks(transport: RTCIceTransport) -> Checks:
    """What the connectivity checks have shown so far."""
    return _ours(transport).checks


def nominated_pair(transport: RTCIceTransport) -> tuple[aioice.Candidate, aioice.Candidate] | None:
    """The (local, remote) candidates ICE settled on, or None before and after."""
    pair = transport._connection._nominated.get(1)
    return None if pair is None else (pair.local_candidate, pair.remote_candidate)


def seen_as(transport: RTCIceTransport) -> tuple[str, int] | None:
    """Our address of the nominated pair as the peer sees it, if it said so."""
    connection = _ours(transport)
    pair = connection._nominated.get(1)
    return None if pair is None else connection.seen_as(pair)


class _IntoQueue:
    """Feeds the datagrams of a socket taken over to aioice's queue, where the DTLS handshake reads them.

    The socket has looked at their source.
    """

    def __init__(self, connection: IceConnection) -> None:
        self._connection = connection

    def datagrams_received(self, run: memoryview, segment: int) -> None:
        for start in range(0, len(run), segment):
            self._connection.enqueue_untrusted(bytes(run[start : start + segment]))

    def batch_ended(self) -> None:
        return

    def port_unreachable(self, address: Address) -> None:
        self._connection.refused(address)


def take_over_sockets(transport: RTCIceTransport, *, offload: bool) -> list[RunTransport]:
    """Put our own datagram transport under aioice, on every socket of this machine it gathered; relays have one.

    Each keeps its number, port and STUN handling; only who reads and writes it changes. All of them are
    taken, not only the nominated pair's: the two sides may settle on different pairs.
    """
    connection = _ours(transport)
    taken: list[RunTransport] = []
    for protocol in cast(list[WalledStun], connection._protocols):
        run_transport = _run_transport(protocol, offload=offload)
        if run_transport is not None:
            run_transport.receiver = _IntoQueue(connection)
            taken.append(run_transport)
    return taken


def _run_transport(protocol: WalledStun, *, offload: bool) -> RunTransport | None:
    old: asyncio.DatagramTransport = protocol.transport
    if isinstance(old, RelayTransport):
        if offload:
            old.use_offload()
        return old
    sock = old.get_extra_info("socket")
    if protocol.local_candidate.type != "host" or sock is None or isinstance(old, BatchSocket):
        return None
    # asyncio refuses to watch a descriptor its transport owns, so ours is a duplicate of the same socket.
    own = socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
    own.setblocking(False)
    cast(asyncio.Transport, old).set_protocol(asyncio.DatagramProtocol())
    old.close()
    protocol.transport = taken = BatchSocket(own, protocol, offload=offload)
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


def _ours(transport: RTCIceTransport) -> IceConnection:
    return cast(IceConnection, transport._connection)


def peer_refused(transport: RTCIceTransport, address: Address) -> None:
    """ICMP says that nobody listens at `address` any more. Believed if it is the peer's, and nothing contradicts."""
    _ours(transport).refused(address)


def peer_heard(transport: RTCIceTransport) -> None:
    """Something came that only the peer can have sent."""
    consent = _ours(transport).consent
    if consent is not None:
        consent.heard()


async def checked_by_peer(transport: RTCIceTransport) -> None:
    """Return once the peer has checked one of our addresses, with the password in our description."""
    await _ours(transport).peer_knows_us.wait()


def ice_loss(transport: RTCIceTransport) -> PeerVanished | None:
    """Why ICE gave the peer up, if it did; `transport.state` says so only later than DTLS notices."""
    return _ours(transport).loss


def ice_silence_s(transport: RTCIceTransport) -> float:
    """For how long the peer has not answered our checks."""
    consent = _ours(transport).consent
    since = None if consent is None else consent.silent_since
    return 0.0 if since is None else monotonic() - since


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
