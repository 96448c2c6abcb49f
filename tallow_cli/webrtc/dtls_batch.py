"""DTLS for runs of packets: aiortc's handshake, our record I/O, through pyOpenSSL, whose cffi handles
`wire.dtls_records` uses where its methods would copy.

Many `send`s and one `bio_read` give the records of a run back to back: equal packets make equal records,
which is just the buffer `UDP_SEGMENT` wants. On receipt several records are written to OpenSSL at once and
read one by one. 2-3 us a packet each way, where aiortc's way costs tens, most of it in its event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

from aiortc import RTCCertificate, RTCDtlsParameters, RTCIceTransport
from aiortc.rtcdtlstransport import DataReceiver
from OpenSSL import SSL

from tallow_cli.webrtc.aiortc_internals import (
    RunTransport,
    nominated_pair,
    nominated_route,
    peer_heard,
    peer_refused,
    queued_datagrams,
    report_loss,
    take_over_sockets,
)
from tallow_cli.webrtc.dtls_transport import DtlsTransport
from tallow_cli.wire.datagram_checks import dtls_is_sound
from tallow_cli.wire.dtls_records import MAX_RUN_BYTES, Records, make_records
from tallow_cli.wire.udp_batch import Address

RECORD_HEADER_BYTES: Final = 13
_APPLICATION_DATA: Final = b"\x17"

# Bytes a DTLS 1.2 record adds to its content: header, explicit nonce, tag; for CBC the worst padding.
_RECORD_OVERHEAD: Final = {"GCM": 37, "CHACHA20": 29}
_RECORD_OVERHEAD_CBC: Final = 65


@runtime_checkable
class PacketReceiver(Protocol):
    """Takes decrypted packets, one wake-up's at a time."""

    def receive_packets(self, packets: list[bytes]) -> None: ...

    def writable(self) -> None:
        """The socket has room again."""
        ...


class BatchDtlsTransport(DtlsTransport):
    """A DTLS transport that takes over its ICE transport's sockets when started."""

    def __init__(
        self,
        transport: RTCIceTransport,
        certificate: RTCCertificate,
        role: str,
        *,
        offload: bool = True,
        takes_sockets: bool = True,
    ) -> None:
        """Without `takes_sockets` all goes through aioice's, as on a relayed path."""
        super().__init__(transport, certificate, role)
        self.sockets: list[RunTransport] = []
        self._offload = offload
        self._takes_sockets = takes_sockets
        self._packet_receiver: PacketReceiver | None = None
        self._packets: list[bytes] = []
        self._is_batching = False
        self._records: Records | None = None
        self._peer_closed = False

    async def start(self, remoteParameters: RTCDtlsParameters) -> None:
        """Take the sockets over, shake hands, then receive in batches."""
        if self._takes_sockets:
            self.sockets = take_over_sockets(self.transport, offload=self._offload)
        await super().start(remoteParameters)
        if self.state != "connected" or self._ssl is None:
            return
        self._is_batching = True
        self._records = make_records(self._ssl)
        for sock in self.sockets:
            sock.receiver = self
            sock.on_writable = self._writable

    @property
    def record_overhead(self) -> int:
        name = (self._ssl.get_cipher_name() if self._ssl else None) or ""
        return next((size for key, size in _RECORD_OVERHEAD.items() if key in name), _RECORD_OVERHEAD_CBC)

    @property
    def run_transport(self) -> RunTransport | None:
        """The socket or relay of ours that is in use."""
        route = nominated_route(self.transport)
        return route[0] if route is not None and isinstance(route[0], RunTransport) else None

    @property
    def is_relayed(self) -> bool:
        """Whether there is a relay on the way, ours or the peer's."""
        pair = nominated_pair(self.transport)
        return pair is not None and "relay" in (pair[0].type, pair[1].type)

    # Sending

    @property
    def is_blocked(self) -> bool:
        """Whether the kernel's send buffer is full: better to wait for `writable`."""
        used = self.run_transport
        return used is not None and used.is_blocked

    def set_dont_fragment(self, wanted: bool) -> None:
        for sock in self.sockets:
            sock.set_dont_fragment(wanted)

    def send_batch(self, packets: Sequence[bytes]) -> None:
        """Seal and send a run of packets of equal size, only the last may be shorter. What cannot go is
        lost.
        """
        if self._records is None or self.state != "connected":
            return
        records = self._records.seal(packets)
        if records:
            self._send_records(records)

    def _send_records(self, records: bytes) -> None:
        route = nominated_route(self.transport)
        if route is None:
            return
        transport, address = route
        segment = RECORD_HEADER_BYTES + int.from_bytes(records[11:13], "big")
        if isinstance(transport, RunTransport):
            transport.send_run(records, segment, address)
            return
        for start in range(0, len(records), segment):
            transport.sendto(records[start : start + segment], address)

    async def _send_data(self, data: bytes) -> None:
        """For aiortc's control chunks. Never suspends."""
        self.send_batch((data,))

    def _answer(self) -> None:
        """Send what OpenSSL wants to say by itself: a repeated last flight, an alert. Such records differ in
        size.
        """
        if self._ssl is None:
            return
        try:
            answer = self._ssl.bio_read(MAX_RUN_BYTES)
        except SSL.Error:
            return
        start = 0
        while start + RECORD_HEADER_BYTES <= len(answer):
            end = start + RECORD_HEADER_BYTES + int.from_bytes(answer[start + 11 : start + 13], "big")
            self._send_records(answer[start:end])
            start = end

    def _writable(self) -> None:
        if self._packet_receiver is not None:
            self._packet_receiver.writable()

    # Receiving, for a RunTransport

    def datagrams_received(self, run: memoryview, segment: int) -> None:
        if self._records is None:
            return
        if not bytes(run[::segment]).strip(_APPLICATION_DATA):
            self._open(run, segment)
            return
        for start in range(0, len(run), segment):
            datagram = run[start : start + segment]
            if dtls_is_sound(datagram):
                self._open(datagram, len(datagram))
                if datagram[0] != _APPLICATION_DATA[0]:
                    self._answer()

    def _open(self, run: memoryview, segment: int) -> None:
        if self._records is not None and not self._records.open(run, segment, self._packets):
            self._peer_closed = True

    def batch_ended(self) -> None:
        packets = self._packets
        if packets:
            self._packets = []
            peer_heard(self.transport)
            if self._packet_receiver is not None:
                self._packet_receiver.receive_packets(packets)
        if self._peer_closed and self._is_batching:
            self._is_batching = False
            report_loss(self.transport)

    def port_unreachable(self, address: Address) -> None:
        peer_refused(self.transport, address)

    async def _recv_next(self) -> None:
        """aiortc's receive loop: the handshake, and afterwards what aioice had queued."""
        if not self._is_batching and not self._peer_closed:
            await super()._recv_next()
            return
        for datagram in (await self.transport._recv(), *queued_datagrams(self.transport)):
            self.datagrams_received(memoryview(datagram), len(datagram))
        self.batch_ended()

    def _register_data_receiver(self, receiver: DataReceiver) -> None:
        super()._register_data_receiver(receiver)
        if isinstance(receiver, PacketReceiver):
            self._packet_receiver = receiver

    def _unregister_data_receiver(self, receiver: DataReceiver) -> None:
        super()._unregister_data_receiver(receiver)
        self._packet_receiver = None
