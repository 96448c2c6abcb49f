"""The sender of a transfer, as a state machine. The driver contract stands in driving.py.

    OFFERING ──Accept──▶ SENDING ──all acknowledged, all digests sent──▶ COMPLETING ──Complete──▶ DONE
        │ Refuse            └──────────────────── Complete ─────────────────────────────────────────▲
        └──▶ FAILED ◀── Cancel, Failed, broken protocol, silence, no channel left (from any but DONE)

A Complete may overtake the last ACKs; it is true once every byte was sent and every digest with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tallow_cli.core.driving import (
    CONTROL_CHANNEL,
    Accepted,
    ChannelCounters,
    ChannelState,
    ChunkSizer,
    Finished,
    OutgoingPacket,
    ReadRequest,
    SendFigures,
)
from tallow_cli.core.endpoint import PACKETS_BUDGET_BYTES, TransferEndpoint
from tallow_cli.core.flow import DeliveryRate, SendCredit, TokenBucket, in_flight_bound
from tallow_cli.core.frames import (
    DATA_HEADER_BYTES,
    FLOOR_BYTES,
    HEADER_BYTES,
    SEAL_BYTES,
    Ack,
    Credit,
    Frame,
    encode_data,
    encode_ping,
)
from tallow_cli.core.messages import (
    MAX_ANSWER_BYTES,
    MAX_DIGESTS,
    MAX_MANIFEST_BYTES,
    PROTOCOL_VERSION,
    Accept,
    Bye,
    Complete,
    ControlMessage,
    Digests,
    Offer,
    Refuse,
    StreamEnd,
)
from tallow_cli.core.messagesize import MessageSizer, even_split
from tallow_cli.core.recovery import ChannelRecovery, LossEstimator, RttEstimator, SentPacket
from tallow_cli.core.sendbuffer import Cursor, Piece, SendBuffer
from tallow_cli.errors import PeerProtocolError, PeerRefused, TransferStalled

READ_AHEAD_S = 0.1  # of data at the present rate: the disk's hiccups do not reach the network
MIN_READ_AHEAD_CHUNKS = 2  # one to send, one being read
SMALLEST_CREDIT_PIECE_BYTES = 16_384  # less credit than this and than a message is worth waiting


class SendState(Enum):
    OFFERING = "offering"
    SENDING = "sending"
    COMPLETING = "completing"
    DONE = "done"
    FAILED = "failed"


# What the receiver may say in which state; everything else breaks the protocol.
_EXPECTED: dict[SendState, tuple[type, ...]] = {
    SendState.OFFERING: (Accept, Refuse),
    SendState.SENDING: (Complete,),
    SendState.COMPLETING: (Complete,),
}


@dataclass(frozen=True, slots=True)
class SendOptions:
    sealed: bool = True  # payload is sealed by the shell: marks the header and counts the AEAD tag
    reliable: bool = False  # the data channels are ordered and reliable: nothing is retransmitted here
    max_message_bytes: int = 262_144  # the peer's negotiated maximum for one DataChannel message
    preferred_message_bytes: int = 131_072  # what the engine carries best
    memory_bytes: int = 32 * 1024 * 1024  # bound of data read and not yet acknowledged
    limit_bytes_per_s: float | None = None  # --limit
    idle_timeout_s: float = 30.0  # silence of the peer after which it is gone


class _DataChannel:
    """One data channel: what is outstanding on it and the chunk it is sending."""

    __slots__ = ("counters", "cursor", "index", "pings", "recovery")

    def __init__(self, index: int) -> None:
        self.index = index
        self.recovery = ChannelRecovery()
        self.cursor: Cursor | None = None
        self.counters = ChannelCounters()
        self.pings = 0  # probes to send


class SendMachine(TransferEndpoint[Accepted | Finished]):
    """Sends one manifest and one byte stream over `channels` data channels and a control channel.

    `manifest` is opaque; `total_bytes` is None for a stream of unknown length; `file_count` digests will be
    given by `digests`, in order. `chunk_sizer` is asked for the size of each next chunk.
    """

    def __init__(
        self,
        manifest: bytes,
        *,
        total_bytes: int | None,
        file_count: int,
        channels: int,
        chunk_sizer: ChunkSizer,
        now: float,
        options: SendOptions | None = None,
    ) -> None:
        self._options = options = options or SendOptions()
        if len(manifest) > MAX_MANIFEST_BYTES:
            raise ValueError(f"a manifest of {len(manifest)} bytes")
        super().__init__(
            channels=channels,
            now=now,
            sealed=options.sealed,
            max_message_bytes=options.max_message_bytes,
            idle_timeout_s=options.idle_timeout_s,
            assembly_limit_bytes=MAX_ANSWER_BYTES,
        )
        self._state = SendState.OFFERING
        self._file_count = file_count
        self._digests_sent = 0
        self._chunk_sizer = chunk_sizer
        self._buffer = SendBuffer(total_bytes, options.memory_bytes)
        self._overhead_bytes = HEADER_BYTES + FLOOR_BYTES + DATA_HEADER_BYTES + SEAL_BYTES * options.sealed
        self._sizer = MessageSizer(
            max_message_bytes=options.max_message_bytes,
            preferred_message_bytes=options.preferred_message_bytes,
            overhead_bytes=self._overhead_bytes,
        )
        self._channels = [_DataChannel(index) for index in range(1, channels + 1)]
        self._turn = 0  # whose turn it is in the round robin
        self._rtt = RttEstimator()
        self._loss = LossEstimator()
        self._rate = DeliveryRate()
        self._credit = SendCredit()
        self._bucket = TokenBucket(options.limit_bytes_per_s, now) if options.limit_bytes_per_s else None
        self._bucket_ready_at: float | None = None  # sending waits for the user's limit until then
        self._in_flight_bytes = 0
        self._sent_bytes = 0
        self._first_data_at: float | None = None
        self._progress_at = now  # the last time data was acknowledged, or began to be in flight
        self._control.send(Offer(PROTOCOL_VERSION, manifest))

    # For people -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> SendState:
        return self._state

    @property
    def counters(self) -> Mapping[int, ChannelCounters]:
        """Per data channel, by its index."""
        return {channel.index: channel.counters for channel in self._channels}

    @property
    def figures(self) -> SendFigures:
        """Numbers for people and for `AdaptiveBitrateController.report_metrics`; cheap, ask at any time."""
        return SendFigures(
            bytes_acked=self._buffer.acked_bytes,
            bytes_in_flight=self._in_flight_bytes,
            bytes_sent=self._sent_bytes,
            retained_bytes=self._buffer.retained_bytes,
            total_bytes=self._buffer.total_bytes,
            rate_bytes_per_s=self._rate.bytes_per_s,
            smoothed_rtt_s=self._rtt.smoothed_s,
            latest_rtt_s=self._rtt.latest_s,
            min_rtt_s=self._rtt.min_s,
            jitter_s=self._rtt.jitter_s,
            message_loss=self._loss.message_loss,
            packet_loss=self._loss.packet_loss,
            message_bytes=self._sizer.message_bytes,
            credit_bytes=self._credit.left,
            read_bytes=self._buffer.read_bytes,
            first_data_at=self._first_data_at,
        )

    # Reading and digests --------------------------------------------------------------------------------------

    def next_read(self, now: float) -> ReadRequest | None:
        """The next range to read, or None for now. Ranges come in stream order and are never asked for twice.

        With `total_bytes` None only one is outstanding at a time.
        """
        if self._state is not SendState.SENDING:
            return None
        chunk_bytes = self._chunk_sizer.chunk_size
        ahead_bytes = max(MIN_READ_AHEAD_CHUNKS * chunk_bytes, int(self._rate.bytes_per_s * READ_AHEAD_S))
        return self._buffer.next_read(chunk_bytes, min(ahead_bytes, self._options.memory_bytes // 2))

    def chunk_read(self, now: float, offset: int, data: bytes) -> None:
        """The bytes of a range `next_read` gave. The machine keeps `data` until it is acknowledged.

        With a known total `data` has exactly the size asked for (else ValueError: a source that shrank is
        the shell's to report, `abort`). With an unknown total it may be shorter, and b"" means that the
        stream has ended.
        """
        if self._state is not SendState.SENDING:
            return
        known = self._buffer.total_bytes is not None
        self._buffer.chunk_read(offset, data)
        if not known and self._buffer.total_bytes is not None:
            self._control.send(StreamEnd(self._buffer.total_bytes))
            self._consider_completing()

    def digests(self, now: float, first: int, digests: Sequence[bytes]) -> None:
        """BLAKE3 digests (32 bytes each) of the files `first`, `first + 1`, …; in order, each file once."""
        if self._over:
            return
        if first != self._digests_sent or first + len(digests) > self._file_count:
            raise ValueError(f"digests of the files from {first}, after {self._digests_sent} were given")
        if self._state is SendState.OFFERING:
            raise ValueError("digests before the offer was accepted")
        for start in range(0, len(digests), MAX_DIGESTS):
            self._control.send(Digests(first + start, tuple(digests[start : start + MAX_DIGESTS])))
        self._digests_sent += len(digests)
        self._consider_completing()

    # The network ----------------------------------------------------------------------------------------------

    def buffered(self, now: float, channel: int, size_bytes: int) -> None:
        """Of what was handed to `channel` (header, payload and tag) the last `size_bytes` have not left yet."""
        if not 1 <= channel <= len(self._channels):
            raise ValueError(f"no channel {channel}")
        self._channels[channel - 1].recovery.buffered(now, size_bytes)

    def packets(self, now: float) -> list[OutgoingPacket]:
        """What to send now, in order; at most about 1 MiB. Call again until it is empty."""
        packets = self._control.packets(PACKETS_BUDGET_BYTES)
        if self._state in (SendState.SENDING, SendState.COMPLETING):
            self._append_probes(now, packets)
            self._append_data(now, packets)
            if self._rtt.smoothed_s is None:
                self._append_first_pings(now, packets)
        if packets:
            self._life.spoke(now)
        return packets

    def next_timeout(self) -> float | None:
        if self._over:
            return None
        deadlines = [self._life_deadline]
        if self._bucket_ready_at is not None:
            deadlines.append(self._bucket_ready_at)
        if self._in_flight_bytes:
            deadlines.append(self._progress_at + self._options.idle_timeout_s)
        if not self._options.reliable:
            for channel in self._channels:
                deadline = channel.recovery.deadline(self._rtt)
                if deadline is not None:
                    deadlines.append(deadline)
        return min(deadlines)

    def handle_timeout(self, now: float) -> None:
        if not self._tend_life(now):
            return
        idle_timeout_s = self._options.idle_timeout_s
        if self._in_flight_bytes and now >= self._progress_at + idle_timeout_s:
            self._break_off(now, TransferStalled("data was on its way", idle_timeout_s))
            return
        if self._options.reliable:
            return
        for channel in self._channels:
            self._detect_lost(now, channel)
            if channel.recovery.probe_due(now, self._rtt):
                channel.pings = 1

    # Inputs ---------------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._state in (SendState.DONE, SendState.FAILED)

    def _enter_failed(self, now: float) -> None:
        self._state = SendState.FAILED

    def _on_message(self, now: float, message: ControlMessage) -> None:
        if not isinstance(message, _EXPECTED.get(self._state, ())):
            raise PeerProtocolError(f"{type(message).__name__} while {self._state.value}")
        if isinstance(message, Accept):
            self._buffer.hold_untrusted(message.held)
            self._credit.granted(message.credit)
            self._state = SendState.SENDING
            self._events.append(Accepted(self._buffer.acked_bytes))
            self._consider_completing()
        elif isinstance(message, Refuse):
            self._fail(now, PeerRefused(message.reason))
        elif isinstance(message, Complete):
            self._on_complete(message)

    def _on_complete(self, message: Complete) -> None:
        if not self._buffer.all_sent_once or self._digests_sent < self._file_count:
            raise PeerProtocolError("a report of completion before everything was sent")
        if message.total != self._buffer.total_bytes or message.files != self._file_count:
            raise PeerProtocolError("a report of completion with other totals")
        self._buffer.acked_all()
        for channel in self._channels:
            channel.recovery.abandon()
        self._in_flight_bytes = 0
        self._state = SendState.DONE
        self._control.send(Bye())
        self._events.append(Finished())

    def _consider_completing(self) -> None:
        done = self._buffer.all_acked and self._digests_sent == self._file_count
        if self._state is SendState.SENDING and done:
            self._state = SendState.COMPLETING

    def _on_data_frame(self, now: float, channel: int, number: int, frame: Frame) -> None:
        if isinstance(frame, Ack):
            self._on_ack(now, frame)
        elif isinstance(frame, Credit):
            self._credit.granted(frame.limit)
        else:
            raise PeerProtocolError(f"a {type(frame).__name__} frame from the receiver")

    def _on_ack(self, now: float, ack: Ack) -> None:
        if ack.channel > len(self._channels):
            raise PeerProtocolError("an ACK of a channel that does not exist")
        channel = self._channels[ack.channel - 1]
        acked, late, rtt_sample_s = channel.recovery.on_ack(now, ack)
        if rtt_sample_s is not None:
            self._rtt.update(rtt_sample_s, ack.delay_us / 1e6)
        news = 0
        for packet in acked:
            self._in_flight_bytes -= packet.message_bytes
            if packet.piece is not None:
                self._loss.record(packet.message_bytes, lost=False)
                news += self._buffer.acked(packet.piece)
        for packet in late:
            if packet.piece is not None:
                self._loss.undo_loss()
                news += self._buffer.acked(packet.piece)
        if acked or late:
            self._progress_at = now
        if news:
            self._rate.delivered(now, news, self._rtt.smoothed_s or 0.0)
            self._consider_completing()
        if not self._options.reliable:
            self._detect_lost(now, channel)
        self._sizer.update(self._loss.packet_loss, self._rate.bytes_per_s)

    def _detect_lost(self, now: float, channel: _DataChannel) -> None:
        for packet in channel.recovery.detect_lost(now, self._rtt):
            if packet.piece is not None:
                channel.counters.messages_lost += 1
                self._loss.record(packet.message_bytes, lost=True)
            self._send_again(packet)

    def _send_again(self, packet: SentPacket) -> None:
        self._in_flight_bytes -= packet.message_bytes
        if packet.piece is not None:
            self._buffer.lost(packet.piece)

    def _on_channel(self, now: float, channel: int, state: ChannelState) -> None:
        if state is not ChannelState.CLOSED:
            return
        gone = self._channels[channel - 1]
        for packet in gone.recovery.abandon():
            self._send_again(packet)
        if gone.cursor is not None:
            self._buffer.put_back(gone.cursor)
            gone.cursor = None

    # Outputs --------------------------------------------------------------------------------------------------

    def _append_probes(self, now: float, packets: list[OutgoingPacket]) -> None:
        """RFC 9002 section 6.2.4. A PING is one network packet, so it survives where a message may not; at
        the end of the stream the oldest message goes along, which saves a round trip if it was lost."""
        for channel in self._channels:
            if not channel.pings or self._channel_states[channel.index] is not ChannelState.OPEN:
                continue
            channel.pings = 0
            tail = self._oldest_missing(channel) if self._buffer.idle else None
            packets.append(self._ping(now, channel))
            if tail is not None:
                packets.append(self._data(now, channel, tail))

    def _oldest_missing(self, channel: _DataChannel) -> Piece | None:
        for packet in channel.recovery.outstanding():
            if packet.piece is not None:
                missing = self._buffer.missing(packet.piece, self._sizer.payload_bytes)
                if missing is not None:
                    return missing
        return None

    def _append_first_pings(self, now: float, packets: list[OutgoingPacket]) -> None:
        """Until a round trip is known a PING follows each batch: it arrives where a message may not, so the
        first loss is found after a round trip and not after the initial probe timeout of a second."""
        for index in sorted({packet.channel for packet in packets} - {CONTROL_CHANNEL}):
            packets.append(self._ping(now, self._channels[index - 1]))

    def _append_data(self, now: float, packets: list[OutgoingPacket]) -> None:
        budget_bytes = PACKETS_BUDGET_BYTES - sum(len(packet.payload) for packet in packets)
        self._bucket_ready_at = None
        bound_bytes = min(
            in_flight_bound(self._rate.bytes_per_s, self._rtt.min_s, self._sizer.message_bytes),
            self._options.memory_bytes,
        )
        while budget_bytes > 0 and (self._in_flight_bytes < bound_bytes):
            if self._bucket is not None and (ready_at := self._bucket.ready_at(now)) > now:
                self._bucket_ready_at = ready_at
                return
            taken = self._take_lost() or self._take_new()
            if taken is None:
                return
            channel, piece = taken
            packets.append(self._data(now, channel, piece))
            budget_bytes -= piece.size

    def _take_lost(self) -> tuple[_DataChannel, Piece] | None:
        if not self._buffer.has_lost:
            return None
        piece = self._buffer.peek_lost(self._sizer.payload_bytes)
        if piece is None:
            return None
        for channel in self._round():
            self._buffer.take_lost(piece)
            self._turn = channel.index % len(self._channels)
            return channel, piece
        return None

    def _take_new(self) -> tuple[_DataChannel, Piece] | None:
        """A chunk goes whole over one channel; the next chunk over the next channel."""
        for channel in self._round():
            cursor = channel.cursor = channel.cursor or self._buffer.next_cursor()
            if cursor is None:
                continue
            size = even_split(cursor.chunk.end - cursor.position, self._sizer.payload_bytes)
            if size > self._credit.left:
                # A window smaller than a message must not stop everything; a moment's wait is better than
                # a small message.
                if self._in_flight_bytes or self._credit.left <= 0:
                    return None
                size = self._credit.left
            piece = self._buffer.take_new(cursor, size)
            self._credit.used += piece.size
            if cursor.finished:
                channel.cursor = None
                channel.counters.chunks_sent += 1
                self._turn = channel.index % len(self._channels)
            return channel, piece
        return None

    def _round(self) -> list[_DataChannel]:
        """The channels that take data now, beginning with the one whose turn it is."""
        order = self._channels[self._turn :] + self._channels[: self._turn]
        return [channel for channel in order if self._channel_states[channel.index] is ChannelState.OPEN]

    def _data(self, now: float, channel: _DataChannel, piece: Piece) -> OutgoingPacket:
        recovery = channel.recovery
        payload = encode_data(recovery.floor, piece.start, piece.data, end_of_chunk=piece.ends_chunk)
        if self._first_data_at is None:
            self._first_data_at = now
        if self._in_flight_bytes == 0:
            self._progress_at = now
            self._rate.started(now)
        packet = recovery.handed(now, self._overhead_bytes + piece.size, piece)
        self._in_flight_bytes += packet.message_bytes
        self._sent_bytes += piece.size
        channel.counters.messages_sent += 1
        channel.counters.bytes_sent += piece.size
        if self._bucket is not None:
            self._bucket.spend(now, piece.size)
        return self._packet(channel.index, packet.number, payload)

    def _ping(self, now: float, channel: _DataChannel) -> OutgoingPacket:
        payload = encode_ping()
        size = HEADER_BYTES + len(payload) + SEAL_BYTES * self._options.sealed
        packet = channel.recovery.handed(now, size, None)
        self._in_flight_bytes += size
        return self._packet(channel.index, packet.number, payload)
