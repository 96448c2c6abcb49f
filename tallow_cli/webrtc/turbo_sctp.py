"""An `RTCSctpTransport` whose data goes through `tallow_cli.dataplane`.

aiortc keeps the association's life: INIT, COOKIE, HEARTBEAT, RE-CONFIG, SHUTDOWN, ABORT, DCEP and its data
channel objects. DATA, SACK and FORWARD-TSN, their timers and pacing are the dataplane's `Association`, which
this shell drives: one turn a wake-up, everything in it, no task or future per packet.

aiortc writes its handlers as coroutines; over `BatchDtlsTransport` they never suspend, so they are run on the
spot.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final

from aiortc import RTCDataChannel, RTCSctpCapabilities, RTCSctpTransport
from aiortc.rtcsctptransport import (
    WEBRTC_BINARY,
    WEBRTC_DCEP,
    Chunk,
    InitAckChunk,
    InitChunk,
    StreamResetOutgoingParam,
    StreamResetResponseParam,
    serialize_packet,
)

from tallow_cli.dataplane.association import Association
from tallow_cli.dataplane.association_words import (
    BASE_PACKET_BYTES,
    AssociationConfig,
    AssociationStats,
    BytesDrained,
    Event,
    PathMtuChanged,
)
from tallow_cli.dataplane.chunk_checks import (
    ABORT,
    LIFE_CHUNKS,
    MAX_LIFE_CHUNKS,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
)
from tallow_cli.dataplane.congestion.pacing import LARGE_SAVED_BYTES, MAX_SAVED_BYTES
from tallow_cli.dataplane.congestion.registry import DEFAULT_CONTROLLER
from tallow_cli.dataplane.packets import (
    INIT,
    checksum_is_valid,
    chunks_untrusted,
    verification_tag_untrusted,
)
from tallow_cli.dataplane.reassembly import MessageReceived
from tallow_cli.dataplane.receiver import ControlChunk
from tallow_cli.errors import PeerProtocolError
from tallow_cli.tracing import Trace
from tallow_cli.webrtc.dtls_batch import BatchDtlsTransport
from tallow_cli.webrtc.sctp_wall import WalledSctpTransport
from tallow_cli.webrtc.stock_engine import STOCK_PACKET_BYTES
from tallow_cli.webrtc.turn_timer import TurnTimer

MIB: Final = 1024 * 1024
# A whole 4 MiB chunk with its header and seal fits one message.
TURBO_MAX_MESSAGE_SIZE: Final = 4 * MIB + 4096
# Towards stacks that read 1500 bytes a datagram: Ethernet's MTU less IP, UDP and the DTLS record.
FOREIGN_MAX_PACKET_V4: Final = 1435
FOREIGN_MAX_PACKET_V6: Final = 1415
# A relay adds 4 bytes, may be reached by IPv6, and would rather cut a datagram in two than say that it is too large.
RELAYED_MAX_PACKET: Final = FOREIGN_MAX_PACKET_V6 - 4
# A DTLS record holds 16,384 bytes; loopback's MTU of 65,536 allows it.
TALLOW_MAX_PACKET: Final = 16_352
RECONFIG_REPEAT_S: Final = 0.5  # then twice as long each time; aiortc begins with 3 s

_ENDING_CHUNKS: Final = frozenset({ABORT, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE})
# RFC 9653: "I accept a checksum of zero, since DTLS (1) checks the packets."
PARAMETER_ZERO_CHECKSUM: Final = 0x8001
_ZERO_CHECKSUM_OVER_DTLS: Final = struct.pack("!L", 1)


def run_now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that does not suspend. Raises RuntimeError if it does."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("aiortc now suspends where it did not")


class TurboSctpTransport(WalledSctpTransport):
    """See the module. `peer_is_tallow`: the peer runs this engine too, so larger packets and rare SACKs suit
    it. `peer_buffers_much`: its socket holds 2 MiB.
    """

    def __init__(
        self,
        transport: BatchDtlsTransport,
        port: int = 5000,
        *,
        peer_is_tallow: bool = False,
        peer_buffers_much: bool = False,
        congestion: str = DEFAULT_CONTROLLER,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(transport, port)
        self._event_loop = asyncio.get_running_loop()
        self._dtls = transport
        self._peer_is_tallow = peer_is_tallow
        self._max_saved_bytes = LARGE_SAVED_BYTES if peer_buffers_much else MAX_SAVED_BYTES
        self._congestion = congestion
        self._trace = trace
        self._association: Association | None = None
        self._had_said_all = True
        self._remote_accepts_zero_checksum = False
        self._handlers: dict[int, Callable[[bytes], None]] = {}
        self._timer = TurnTimer(self._event_loop, self._timer_due)
        self._turn_is_due = False
        self._is_in_turn = False
        self._advertised_rwnd = 16 * MIB
        self._rto = RECONFIG_REPEAT_S

    @classmethod
    def getCapabilities(cls) -> RTCSctpCapabilities:
        return RTCSctpCapabilities(maxMessageSize=TURBO_MAX_MESSAGE_SIZE)

    def deliver_to(self, stream_id: int, handler: Callable[[bytes], None]) -> None:
        """Hand the stream's binary messages to `handler` rather than emit "message" on its channel."""
        self._handlers[stream_id] = handler

    @property
    def is_flushed(self) -> bool:
        """The peer has, or we gave up, everything any channel was given. After the end: whether that was so then."""
        association = self._association
        if association is None:
            return self._had_said_all and not self._data_channel_queue
        return association.is_flushed and not self._data_channel_queue

    async def stop(self) -> None:
        """Acknowledge what has arrived, whose sender may be waiting to know that it was heard; then ABORT."""
        if self._association is not None:
            self._association.hasten_sack(monotonic())
            self._send_batches()
        await super().stop()

    def keep_only_stream(self, stream_id: int) -> None:
        """The association is about to end: what is queued on this stream leaves now, all else is given up."""
        association = self._association
        if association is None:
            return
        self._move_queue(association)
        association.keep_only_stream(stream_id)
        self._turn()

    @property
    def network_packet_bytes(self) -> int:
        """How much of a message one network packet carries now."""
        association = self._association
        return STOCK_PACKET_BYTES if association is None else association.fragment_bytes

    @property
    def dataplane_stats(self) -> AssociationStats | None:
        return None if self._association is None else self._association.stats

    # The association's life

    def _set_extensions(self, params: list[tuple[int, bytes]]) -> None:
        super()._set_extensions(params)
        params.append((PARAMETER_ZERO_CHECKSUM, _ZERO_CHECKSUM_OVER_DTLS))

    def _get_extensions(self, params: list[tuple[int, bytes]]) -> None:
        super()._get_extensions(params)
        if (PARAMETER_ZERO_CHECKSUM, _ZERO_CHECKSUM_OVER_DTLS) in params:
            self._remote_accepts_zero_checksum = True

    def _begin(self, chunk: InitChunk | InitAckChunk) -> None:
        """The peer's tag and TSN are known: data can be received, and sent once ESTABLISHED."""
        if self._association is not None or self._remote_port is None:
            return
        used, is_relayed = self._dtls.run_transport, self._dtls.is_relayed
        can_probe = used is not None and used.sets_dont_fragment
        foreign = FOREIGN_MAX_PACKET_V6 if used is not None and used.is_ipv6 else FOREIGN_MAX_PACKET_V4
        largest = TALLOW_MAX_PACKET if self._peer_is_tallow else foreign
        if is_relayed:
            largest = RELAYED_MAX_PACKET
        self._association = Association(
            AssociationConfig(
                local_port=self._local_port,
                remote_port=self._remote_port,
                local_tag=self._local_verification_tag,
                remote_tag=chunk.initiate_tag,
                local_initial_tsn=self._local_tsn,
                remote_initial_tsn=chunk.initial_tsn,
                remote_rwnd_bytes=chunk.advertised_rwnd,
                entropy=os.urandom,
                local_rwnd_bytes=self._advertised_rwnd,
                send_zero_checksum=self._remote_accepts_zero_checksum,
                accept_zero_checksum=True,
                partial_reliability=self._remote_partial_reliability,
                max_packet_bytes=largest if can_probe else BASE_PACKET_BYTES,
                record_overhead_bytes=self._dtls.record_overhead,
                max_saved_bytes=MAX_SAVED_BYTES if is_relayed else self._max_saved_bytes,
                ack_every_packets=16 if self._peer_is_tallow else 2,
                max_message_bytes=TURBO_MAX_MESSAGE_SIZE,
                peer_joins_parts=self._peer_is_tallow,
                uniform=random.random,
                congestion=self._congestion,
                trace=self._trace,
            )
        )

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        super()._set_state(state)
        if state == self.State.CLOSED:
            self._had_said_all = self.is_flushed
            self._association = None
            self._timer.disarm()

    # RFC 9260 section 8.5.1, where aiortc leaves it: an INIT carries the tag 0 also once the peer's own INIT has come.

    async def _send_chunk(self, chunk: Chunk) -> None:
        if type(chunk) is not InitChunk:
            await super()._send_chunk(chunk)
        elif self._remote_port is not None:
            await self._dtls._send_data(serialize_packet(self._local_port, self._remote_port, 0, chunk))

    # What the DTLS transport calls

    def receive_packets(self, packets: list[bytes]) -> None:
        """One wake-up's decrypted packets."""
        association = self._association
        while association is None:
            if not packets:
                return
            self._receive_early(packets[0])
            packets = packets[1:]
            association = self._association
        for chunk in association.receive_packets(monotonic(), packets)[:MAX_LIFE_CHUNKS]:
            if chunk.type in _ENDING_CHUNKS:
                self._dispatch()  # what came before the end: the peer's last words are among it
            self._receive_control(chunk)
        if self._reconfig_deferred is not None:
            run_now(self.guarded(self._reset_deferred_streams()))
        self._turn()

    def writable(self) -> None:
        self._turn()

    async def _handle_data(self, data: bytes) -> None:
        self.receive_packets([data])

    def _receive_early(self, packet: bytes) -> None:
        """A packet before the peer's INIT or INIT ACK: those two are all that means anything."""
        try:
            tag = verification_tag_untrusted(packet)
            chunks = chunks_untrusted(packet)
        except PeerProtocolError:
            return
        if not checksum_is_valid(packet, accept_zero=True):
            return
        for kind, flags, start, end in chunks[:MAX_LIFE_CHUNKS]:
            if tag == (0 if kind == INIT else self._local_verification_tag):
                self._receive_control(ControlChunk(kind, flags, packet[start:end]))

    def _receive_control(self, chunk: ControlChunk) -> None:
        if chunk.type not in LIFE_CHUNKS:
            return
        parsed = self.parsed_untrusted(*chunk)
        if parsed is None:
            return
        run_now(self.guarded(self._receive_chunk(parsed)))
        if isinstance(parsed, InitChunk | InitAckChunk) and not self._has_ended:
            self._begin(parsed)

    # A turn: events to the application, packets to the network, one timer

    def _turn(self) -> None:
        """One round: what the pacer allows goes now, and the sockets get their turn before there is another.

        Several rounds in one go would send for 10 ms on end before the next SACK is looked at.
        """
        if self._is_in_turn:
            return
        self._is_in_turn = True
        try:
            self._dispatch()
            self._send_batches()
            self._dispatch()  # what left the queue makes room
        finally:
            self._is_in_turn = False
        if self._reconfig_queue:
            run_now(self.guarded(self._transmit_reconfig()))
        self._arm()

    def _turn_soon(self) -> None:
        """A turn at the end of this round of the event loop: everything sent until then goes in one."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self._event_loop.call_soon(self._due_turn)

    def _due_turn(self) -> None:
        self._turn_is_due = False
        self._turn()

    def _send_batches(self) -> None:
        """Send what may leave now."""
        association = self._association
        if association is None or self._association_state != self.State.ESTABLISHED or self._dtls.is_blocked:
            return
        for batch in association.packets(monotonic()):
            self._dtls.send_batch(batch)

    def _dispatch(self) -> None:
        association = self._association
        if association is None:
            return
        for event in association.events():
            try:
                self._handle_event(event)
            except Exception as error:  # noqa: BLE001 - one listener's fault must not cost the others their events
                self._event_loop.call_exception_handler(
                    {"message": "a listener of a data channel failed", "exception": error}
                )

    def _handle_event(self, event: Event) -> None:
        if isinstance(event, MessageReceived):
            handler = self._handlers.get(event.stream_id)
            if handler is not None and event.ppid == WEBRTC_BINARY:
                handler(event.data)
            else:
                run_now(self._data_channel_receive(*event))
        elif isinstance(event, BytesDrained):
            channel = self._data_channels.get(event.stream_id)
            if channel is not None and channel.bufferedAmount:
                channel._addBufferedAmount(-min(event.size_bytes, channel.bufferedAmount))
        elif isinstance(event, PathMtuChanged):
            self._dtls.set_dont_fragment(not event.needs_fragments)

    def _arm(self) -> None:
        association = self._association
        if association is not None:
            at = association.next_timeout()
            self._timer.arm(monotonic(), None if self._dtls.is_blocked else at)

    def _timer_due(self) -> None:
        if self._association is not None:
            self._association.handle_timeout(monotonic())
            self._turn()

    # What data channels call

    def _data_channel_send(self, channel: RTCDataChannel, data: bytes | str) -> None:
        association = self._association
        if association is None or not isinstance(data, bytes) or not data or channel.id is None:
            super()._data_channel_send(channel, data)  # queues, and flushes from a task
            return
        limit = self._remote_max_message_size
        if limit and len(data) > limit:
            raise ValueError(
                f"Cannot send message of {len(data)} bytes, the remote party takes up to {limit}"
            )
        if self._data_channel_queue:
            self._move_queue(association)
        channel._addBufferedAmount(len(data))
        self._queue_message(association, channel, WEBRTC_BINARY, data)
        self._turn_soon()

    async def _data_channel_flush(self) -> None:
        association = self._association
        if association is None or self._association_state != self.State.ESTABLISHED:
            return
        self._move_queue(association)
        self._turn_soon()

    def _move_queue(self, association: Association) -> None:
        """aiortc's queue, where messages wait for the association and channels for their stream id."""
        while self._data_channel_queue:
            channel, ppid, data = self._data_channel_queue.popleft()
            if channel.id is None:
                stream_id = self._data_channel_id or 0
                while stream_id in self._data_channels:
                    stream_id += 2  # RFC 8832: parity is the DTLS role's
                self._data_channels[stream_id] = channel
                channel._setId(stream_id)
            self._queue_message(association, channel, ppid, data)

    def _queue_message(
        self, association: Association, channel: RTCDataChannel, ppid: int, data: bytes
    ) -> None:
        stream_id = channel.id or 0
        if ppid == WEBRTC_DCEP:
            association.send_message(stream_id, ppid, data)
            return
        lifetime_ms = channel.maxPacketLifeTime
        association.send_message(
            stream_id,
            ppid,
            data,
            ordered=channel.ordered,
            max_retransmits=channel.maxRetransmits,
            expires_at=None if lifetime_ms is None else monotonic() + lifetime_ms / 1000,
        )

    # Stream resets (RFC 6525): aiortc's, with the dataplane's numbers

    async def _transmit_reconfig(self) -> None:
        association = self._association
        if association is None:
            return
        # Pending messages are sent before the streams are reset (W3C WebRTC section 6.2.4).
        if any(association.buffered_bytes(stream_id) for stream_id in self._reconfig_queue):
            return
        self._local_tsn = association.next_tsn
        await super()._transmit_reconfig()

    async def _reset_deferred_streams(self) -> None:
        association = self._association
        request = self._reconfig_deferred
        if association is None:
            return
        self._last_received_tsn = association.cumulative_tsn_received
        await super()._reset_deferred_streams()
        if isinstance(request, StreamResetOutgoingParam) and self._reconfig_deferred is None:
            for stream_id in request.streams:
                association.reset_incoming_stream(stream_id)

    async def _receive_reconfig_param(self, param: Any) -> None:
        request = self._reconfig_request
        await super()._receive_reconfig_param(param)
        if isinstance(param, StreamResetResponseParam) and request is not None:
            is_done = self._reconfig_request is not request
            if is_done and self._association is not None:
                for stream_id in request.streams:
                    self._association.reset_outgoing_stream(stream_id)
