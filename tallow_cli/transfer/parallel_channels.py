"""The data channels of a sender: which bytes go out now, over which channel, and what became of those that went.

The sender's states and messages are in sender.py; this is everything below them: the channels' records, round robin
over them, what is paused or gone, the bound of the local queue, credit, the user's limit, acknowledgements, loss and
probes.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from tallow_cli.errors import PeerProtocolError
from tallow_cli.measure.account import Stopwatch
from tallow_cli.measure.causes import Stop
from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.driving import ChannelState, OutgoingPacket
from tallow_cli.transfer.flow import DeliveryRate, SendCredit, TokenBucket, queue_bound
from tallow_cli.transfer.frames import (
    DATA_HEADER_BYTES,
    FLOOR_BYTES,
    HEADER_BYTES,
    SEAL_BYTES,
    Ack,
    encode_data,
    encode_ping,
)
from tallow_cli.transfer.messagesize import MessageSizer
from tallow_cli.transfer.options import SendOptions
from tallow_cli.transfer.recovery import (
    POLL_DEPARTURES_S,
    ChannelRecovery,
    LossEstimator,
    RttEstimator,
    SentPacket,
)
from tallow_cli.transfer.sendbuffer import Cursor, Part, SendBuffer

# Of three parts of the memory for data two may be in flight: each byte in flight is held twice, here and sealed in
# the stack below, and a third part is being read ahead.
IN_FLIGHT_SHARE = 2
# So many probes in vain (RFC 9002 section 6.2), while another channel is answered, and the load of a channel is moved.
STALLED_PTOS = 3


class Lane:
    """The data on its way over one data channel: what is outstanding on it and the chunk it is sending."""

    __slots__ = ("acked_at", "channel", "cursor", "is_stalled", "pings", "recovery")

    def __init__(self, channel: Channel, retransmissions: int) -> None:
        self.channel = channel
        self.recovery = ChannelRecovery(channel, retransmissions)
        self.cursor: Cursor | None = None
        self.pings = 0  # probes to send
        self.acked_at = -inf
        self.is_stalled = False  # it alone answers no probe: it gets nothing new until it does


class ParallelChannelManager:
    """Owns the records of `channels` data channels, numbered from 1, and spreads what `buffer` holds over them: a chunk
    goes whole over one, the next over the next that is open and not paused. One whose local buffer reaches
    `buffer_high` is paused until it has drained to `buffer_low`. What a channel that closes had on its way goes over
    the others, down to the last one (docs/adr/0020). With `reliable` channels nothing is sent again here.
    """

    def __init__(self, buffer: SendBuffer, *, channels: int, now: float, options: SendOptions) -> None:
        self.rtt = RttEstimator()
        self.loss = LossEstimator()
        self.rate = DeliveryRate()
        self.credit = SendCredit()
        self.in_flight_bytes = 0
        self.sent_bytes = 0
        self.first_data_at: float | None = None
        self.progress_at = now  # the last time data was acknowledged, or began to be in flight
        self.channels = [Channel(index, sealed=options.sealed) for index in range(1, channels + 1)]
        self.lanes = [Lane(channel, options.retransmissions) for channel in self.channels]
        self._buffer_high = options.buffer_high
        self._buffer_low = options.buffer_low
        self._buffer = buffer
        self._reliable = options.reliable
        self._memory_bytes = options.memory_bytes
        self._seal_bytes = SEAL_BYTES * options.sealed
        self._overhead_bytes = HEADER_BYTES + FLOOR_BYTES + DATA_HEADER_BYTES + self._seal_bytes
        self._bucket = TokenBucket(options.limit_bytes_per_s) if options.limit_bytes_per_s else None
        self.sizer = MessageSizer(
            max_message_bytes=options.max_message_bytes,
            preferred_message_bytes=options.preferred_message_bytes,
            overhead_bytes=self._overhead_bytes,
            most_payload_bytes=None if self._bucket is None else self._bucket.most_message_bytes,
        )
        self._turn = 0  # whose turn it is in the round robin
        self._bucket_ready_at: float | None = None  # sending waits for the user's limit until then
        self._poll_queue_at: float | None = None  # … or for room in the local queue: look again then
        self._stop = Stop.DATA
        self.stops = Stopwatch(now, Stop.DATA)  # what new data waited for, and for how long

    def set_packet_bytes(self, packet_bytes: int) -> None:
        """The path takes network packets that carry this much of a message."""
        self.sizer.set_packet_bytes(packet_bytes)
        self.loss.packet_bytes = self.sizer.packet_bytes

    # Inputs -------------------------------------------------------------------------------------------------

    def buffered(self, now: float, index: int) -> None:
        """It was reported how much of what was handed to this channel has not left yet."""
        lane = self.lanes[index - 1]
        channel = lane.channel
        lane.recovery.buffered(now, channel.buffered_bytes)
        if channel.state is ChannelState.PAUSED and channel.buffered_bytes <= self._buffer_low:
            channel.become(ChannelState.OPEN)

    def abandon(self, index: int) -> None:
        """The channel has closed: what was on its way over it goes over the others."""
        self._move_load(self.lanes[index - 1])

    def _move_load(self, lane: Lane) -> None:
        for packet in lane.recovery.abandon():
            self._send_again(packet)
        if lane.cursor is not None:
            self._buffer.put_back(lane.cursor)
            lane.cursor = None

    def _doubt(self, lane: Lane) -> None:
        """A probe of this channel is due. Once more of them were in vain than a lossy path explains, the others, which
        may have nothing on their way, are probed as well; if they are answered, its load is moved.
        """
        if lane.recovery.pto_count < STALLED_PTOS:
            return
        if self._stalls_alone(lane):
            lane.is_stalled = True
            self._move_load(lane)
            return
        for other in self.lanes:
            other.pings = 1

    def _stalls_alone(self, lane: Lane) -> bool:
        """Whether this channel answers no probe although another one has been answered since: it is not the path."""
        oldest = lane.recovery.oldest
        if oldest is None:
            return False
        return any(
            other is not lane
            and other.channel.state is not ChannelState.CLOSED
            and other.acked_at > oldest.sent_at + self.rtt.pto_s
            for other in self.lanes
        )

    def on_ack(self, now: float, ack: Ack) -> int:
        """Returns how many bytes it is the first news of. Raises PeerProtocolError."""
        if ack.channel > len(self.lanes):
            raise PeerProtocolError("an ACK of a channel that does not exist")
        lane = self.lanes[ack.channel - 1]
        acked, late, rtt_sample_s = lane.recovery.on_ack(now, ack)
        if rtt_sample_s is not None:
            self.rtt.update(rtt_sample_s, ack.delay_us / 1e6)
        news = 0
        for packet in acked:
            self.in_flight_bytes -= packet.message_bytes
            if packet.part is not None:
                self.loss.record(packet.message_bytes, lost=False)
                news += self._buffer.acked(packet.part)
        for packet in late:
            if packet.part is not None:
                self.loss.undo_loss()
                news += self._buffer.acked(packet.part)
        if acked or late:
            self.progress_at = lane.acked_at = now
            lane.is_stalled = False
        if news:
            self.rate.delivered(now, news, self.rtt.smoothed_s or 0.0)
        if not self._reliable:
            self._detect_lost(now, lane)
        self.sizer.update(self.loss.packet_loss, self.rate.bytes_per_s)
        return news

    def handle_timeout(self, now: float) -> None:
        if self._reliable:
            return
        for lane in self.lanes:
            self._detect_lost(now, lane)
            if lane.recovery.probe_due(now, self.rtt):
                lane.pings = 1
                self._doubt(lane)

    def deadlines(self) -> Iterable[float]:
        """When `handle_timeout` or `packets` has something to do."""
        for at in (self._bucket_ready_at, self._poll_queue_at):
            if at is not None:
                yield at
        if not self._reliable:
            for lane in self.lanes:
                deadline = lane.recovery.deadline(self.rtt)
                if deadline is not None:
                    yield deadline

    def settle(self) -> None:
        """The receiver has reported everything complete: nothing is on its way any more."""
        self._buffer.acked_all()
        for lane in self.lanes:
            lane.recovery.abandon()
        self.in_flight_bytes = 0

    def _detect_lost(self, now: float, lane: Lane) -> None:
        for packet in lane.recovery.detect_lost(now, self.rtt):
            if packet.part is not None:
                lane.channel.counters.messages_lost += 1
                self.loss.record(packet.message_bytes, lost=True)
            self._send_again(packet)

    def _send_again(self, packet: SentPacket) -> None:
        self.in_flight_bytes -= packet.message_bytes
        if packet.part is not None:
            self._buffer.lost(packet.part)

    # Outputs ------------------------------------------------------------------------------------------------

    def packets(self, now: float, budget_bytes: int) -> list[OutgoingPacket]:
        """What may go out now: probes, then lost data, then new data, about `budget_bytes` at most."""
        packets: list[OutgoingPacket] = []
        self._append_probes(now, packets)
        self._append_data(now, packets, budget_bytes)
        self.stops.spend(now, self._stop)
        if self.rtt.smoothed_s is None:
            self._append_first_pings(now, packets)
        return packets

    def _append_probes(self, now: float, packets: list[OutgoingPacket]) -> None:
        """RFC 9002 section 6.2.4. A PING is one network packet, so it survives where a message may not; at
        the end of the stream the oldest message goes along, which saves a round trip if it was lost."""
        for lane in self.lanes:
            if not lane.pings or lane.channel.state is not ChannelState.OPEN:
                continue
            lane.pings = 0
            tail = self._oldest_missing(lane) if self._buffer.idle else None
            packets.append(self._ping(now, lane))
            if tail is not None:
                packets.append(self._data(now, lane, tail))

    def _oldest_missing(self, lane: Lane) -> Part | None:
        for packet in lane.recovery.outstanding():
            if packet.part is not None:
                missing = self._buffer.missing(packet.part, self.sizer.payload_bytes)
                if missing is not None:
                    return missing
        return None

    def _append_first_pings(self, now: float, packets: list[OutgoingPacket]) -> None:
        """Until a round trip is known a PING follows each batch: it arrives where a message may not, so the
        first loss is found after a round trip and not after the initial probe timeout of a second."""
        for index in sorted({packet.channel for packet in packets}):
            packets.append(self._ping(now, self.lanes[index - 1]))

    def _append_data(self, now: float, packets: list[OutgoingPacket], budget_bytes: int) -> None:
        self._bucket_ready_at = None
        self._poll_queue_at = None
        most_in_flight = self._memory_bytes * IN_FLIGHT_SHARE // 3
        most_queued = queue_bound(self.rate, self.sizer.message_bytes)
        queued_bytes = sum(lane.recovery.queued_bytes for lane in self.lanes)
        while budget_bytes > 0 and self.in_flight_bytes < most_in_flight:
            if queued_bytes >= most_queued:
                # ACKs and probes wake the shell as well, but not where nothing arrives for a round trip.
                self._poll_queue_at = now + POLL_DEPARTURES_S
                self._stop = Stop.QUEUE
                return
            if self._bucket is not None and (ready_at := self._bucket.ready_at(now)) > now:
                self._bucket_ready_at = ready_at
                self._stop = Stop.LIMIT
                return
            taken = self._take_lost() or self._take_new()
            if taken is None:
                self._stop = self._why_none()
                return
            lane, part = taken
            packets.append(self._data(now, lane, part))
            budget_bytes -= part.size
            queued_bytes += self._overhead_bytes + part.size
        self._stop = Stop.NOT_STOPPED if budget_bytes <= 0 else Stop.IN_FLIGHT

    def _why_none(self) -> Stop:
        """What kept `_take_lost` and `_take_new` from giving anything. That the last of what was handed over is still
        leaving is no cause: a path that is the slower one has its queue full."""
        if not self._round():
            return Stop.PAUSED
        buffer = self._buffer
        if not buffer.idle or any(lane.cursor is not None for lane in self.lanes):
            return Stop.CREDIT
        if buffer.all_acked:
            return Stop.ALL_ACKNOWLEDGED
        return Stop.ALL_SENT if buffer.all_sent_once else Stop.DATA

    def _take_lost(self) -> tuple[Lane, Part] | None:
        if not self._buffer.has_lost:
            return None
        part = self._buffer.peek_lost(self.sizer.payload_bytes)
        if part is None:
            return None
        for lane in self._round():
            self._buffer.take_lost(part)
            self._turn = lane.channel.index % len(self.lanes)
            return lane, part
        return None

    def _take_new(self) -> tuple[Lane, Part] | None:
        """A chunk goes whole over one channel; the next chunk over the next channel."""
        for lane in self._round():
            cursor = lane.cursor = lane.cursor or self._buffer.next_cursor()
            if cursor is None:
                continue
            size = self.sizer.next_payload(cursor.chunk.end - cursor.position)
            if size > self.credit.left:
                # A window smaller than a message must not stop everything; otherwise a moment's wait is
                # better than a small message.
                if self.in_flight_bytes or self.credit.left <= 0:
                    return None
                size = self.credit.left
            part = self._buffer.take_new(cursor, size)
            self.credit.used += part.size
            if cursor.finished:
                lane.cursor = None
                lane.channel.counters.chunks_sent += 1
                self._turn = lane.channel.index % len(self.lanes)
            return lane, part
        return None

    def _round(self) -> list[Lane]:
        """The channels that take data now, beginning with the one whose turn it is."""
        order = self.lanes[self._turn :] + self.lanes[: self._turn]
        return [lane for lane in order if lane.channel.state is ChannelState.OPEN and not lane.is_stalled]

    def _data(self, now: float, lane: Lane, part: Part) -> OutgoingPacket:
        recovery = lane.recovery
        payload = encode_data(recovery.floor, part.start, part.data, end_of_chunk=part.ends_chunk)
        if self.first_data_at is None:
            self.first_data_at = now
        if self.in_flight_bytes == 0:
            self.progress_at = now
            self.rate.started(now)
        packet = lane.channel.packet(payload)
        sent = recovery.handed(now, packet.number, self._overhead_bytes + part.size, part)
        self.in_flight_bytes += sent.message_bytes
        self.sent_bytes += part.size
        if recovery.waiting_bytes >= self._buffer_high:
            lane.channel.become(ChannelState.PAUSED)
        if self._bucket is not None:
            self._bucket.spend(now, part.size)
        return packet

    def _ping(self, now: float, lane: Lane) -> OutgoingPacket:
        packet = lane.channel.packet(encode_ping())
        message_bytes = HEADER_BYTES + len(packet.payload) + self._seal_bytes
        self.in_flight_bytes += lane.recovery.handed(now, packet.number, message_bytes, None).message_bytes
        return packet
