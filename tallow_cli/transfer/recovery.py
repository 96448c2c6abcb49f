"""Round-trip times and loss detection of one sender, in the terms of RFC 9002, per channel.

A message that left is either acknowledged or declared lost; its data then goes out again under a new number.
A lost message is remembered for a while, so that a late ACK still counts and undoes the loss in the estimate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from tallow_cli.errors import PeerProtocolError
from tallow_cli.measure.path_summary import Jitter
from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.frames import Ack
from tallow_cli.transfer.messagesize import INITIAL_MESSAGE_BYTES, NETWORK_PACKET_BYTES, network_packets
from tallow_cli.transfer.sendbuffer import Part

PACKET_THRESHOLD = 3  # RFC 9002 section 6.1.1
TIME_THRESHOLD = 9 / 8  # section 6.1.2
GRANULARITY_S = 0.001  # section 6.1.2
# A message of which the channel below sends a packet again comes this many round trips late: it is missed after
# 1.25 of them (RFC 8985) and on its way for half a one.
RETRANSMISSION_RTTS = 1.5
INITIAL_RTT_S = 0.333  # section 6.2.2
MAX_ACK_DELAY_S = 0.025  # what the receiver promises; section 6.2.1
MAX_PTO_S = 3.0  # unlike QUIC we go on probing at this pace: the idle timeout ends it, not the backoff
REMEMBER_LOST_PTOS = 3.0  # how long a lost message may still be acknowledged
POLL_DEPARTURES_S = 0.025  # how often the shell is woken to report what has left, if nothing else wakes it
PRIOR_MESSAGES = 4
LOSS_MEMORY_PACKETS = 2000  # the estimate forgets at this pace: a quarter of a second at 100 Mbit/s
SHORTEST_LOSS_MEMORY = 0.9  # what remains after one message, however large: ten of them are a memory


class RttEstimator:
    """RFC 9002 section 5, and the jitter of its samples."""

    def __init__(self) -> None:
        self.latest_s: float | None = None
        self.min_s: float | None = None
        self.smoothed_s: float | None = None
        self.variation_s = INITIAL_RTT_S / 2
        self.jitter = Jitter()

    def update(self, sample_s: float, ack_delay_s: float) -> None:
        """A message was acknowledged `sample_s` after it left; the ACK was held back for `ack_delay_s`."""
        sample_s = max(sample_s, 0.0)
        self.min_s = sample_s if self.min_s is None else min(self.min_s, sample_s)
        # The delay is the peer's claim: it never takes a sample below the minimum (section 5.3).
        adjusted_s = sample_s
        if sample_s >= self.min_s + ack_delay_s:
            adjusted_s = sample_s - ack_delay_s
        if self.smoothed_s is None or self.latest_s is None:
            self.smoothed_s = adjusted_s
            self.variation_s = adjusted_s / 2
        else:
            self.variation_s += (abs(self.smoothed_s - adjusted_s) - self.variation_s) / 4
            self.smoothed_s += (adjusted_s - self.smoothed_s) / 8
        self.latest_s = adjusted_s
        self.jitter.add(adjusted_s)

    def loss_delay_s(self, patience_rtts: float = 0.0) -> float:
        """How old a message must be to count as lost when a later one was acknowledged; `patience_rtts` on top."""
        longest_s = max(self.smoothed_s or INITIAL_RTT_S, self.latest_s or 0.0)
        return max((TIME_THRESHOLD + patience_rtts) * longest_s, GRANULARITY_S)

    @property
    def pto_s(self) -> float:
        """The probe timeout without backoff (section 6.2.1)."""
        smoothed_s = INITIAL_RTT_S if self.smoothed_s is None else self.smoothed_s
        return smoothed_s + max(4 * self.variation_s, GRANULARITY_S) + MAX_ACK_DELAY_S


class LossEstimator:
    """The recent loss of messages, and from their sizes that of network packets. Old messages fade."""

    def __init__(self) -> None:
        self.packet_bytes = NETWORK_PACKET_BYTES  # how much of a message one network packet carries
        # A few good messages of the first size to begin with: one early loss is not yet a loss of 100 %.
        self._messages = float(PRIOR_MESSAGES)
        self._packets = float(PRIOR_MESSAGES * network_packets(INITIAL_MESSAGE_BYTES))
        self._lost = 0.0

    def record(self, message_bytes: int, *, lost: bool) -> None:
        packets = network_packets(message_bytes, self.packet_bytes)
        keep = max(SHORTEST_LOSS_MEMORY, 1 - packets / LOSS_MEMORY_PACKETS)
        self._messages = self._messages * keep + 1
        self._packets = self._packets * keep + packets
        self._lost = self._lost * keep + (1 if lost else 0)

    def undo_loss(self) -> None:
        """A message counted as lost has arrived after all."""
        self._lost = max(0.0, self._lost - 1)

    @property
    def message_loss(self) -> float:
        return self._lost / self._messages

    @property
    def packet_loss(self) -> float:
        """p of 1 - (1 - p)^n = message loss, for messages of the mean size.

        Where nearly all messages are lost they tell only a lower bound of p; the smaller messages that follow
        from it make the next look sharper.
        """
        survival = 1 - min(self._lost / self._messages, 0.98)
        return float(1 - survival ** (self._messages / self._packets))


class SentPacket:
    """A data or probe packet that waits for its acknowledgement."""

    __slots__ = ("left_after", "message_bytes", "number", "part", "queued", "sent_at")

    def __init__(self, number: int, message_bytes: int, part: Part | None, now: float) -> None:
        self.number = number
        self.message_bytes = message_bytes
        self.part = part  # None: a PING
        self.sent_at = now  # it left then or before: loss and probe timers run from here
        self.left_after = now  # it left then or after: round-trip samples run from here
        self.queued = False  # still in the local stack


class AckOutcome(NamedTuple):
    acked: list[SentPacket]
    late: list[SentPacket]  # had been declared lost
    rtt_sample_s: float | None


class ChannelRecovery:
    """What was sent on `channel` and what became of it.

    `retransmissions`: how often the channel below sends a packet again before it gives the message up (RFC 7496).
    Messages then overtake each other all the time, so only age tells that one is lost.
    """

    def __init__(self, channel: Channel, retransmissions: int = 0) -> None:
        self.channel = channel
        self._packet_threshold = inf if retransmissions else PACKET_THRESHOLD
        self._patience_rtts = RETRANSMISSION_RTTS * retransmissions
        self.pto_count = 0
        self._sent: dict[int, SentPacket] = {}  # ascending
        self._lost: dict[int, tuple[SentPacket, float]] = {}  # ascending; with the time of forgetting
        self._largest_acked = -1
        self._last_sent_at = 0.0
        self._queue: deque[tuple[int, SentPacket]] = deque()  # local; with bytes handed
        self._handed_bytes = 0
        self._gone_bytes = 0  # of those, what has left
        self._reported_at: float | None = None  # the last `buffered`; None: the shell never reports
        self._poll_at = 0.0

    @property
    def floor(self) -> int:
        """Below this no acknowledgement is wanted."""
        floor = self.channel.next_number
        for packets in (self._sent, self._lost):
            if packets:
                floor = min(floor, next(iter(packets)))
        return floor

    @property
    def queued_bytes(self) -> int:
        """Handed over and still here by the last report; before the first report what is not acknowledged."""
        return self._handed_bytes - self._gone_bytes

    @property
    def waiting_bytes(self) -> int:
        """`queued_bytes`, of which nothing is known before the first report."""
        return 0 if self._reported_at is None else self._handed_bytes - self._gone_bytes

    def outstanding(self) -> Iterator[SentPacket]:
        """Neither acknowledged nor declared lost, oldest first."""
        return iter(self._sent.values())

    @property
    def oldest(self) -> SentPacket | None:
        return next(iter(self._sent.values()), None)

    def handed(self, now: float, number: int, message_bytes: int, part: Part | None) -> SentPacket:
        """The packet `number` of this channel goes to the shell."""
        packet = SentPacket(number, message_bytes, part, now)
        self._sent[packet.number] = packet
        self._handed_bytes += message_bytes
        self._last_sent_at = now
        if self._reported_at is not None:
            packet.queued = True
            self._queue.append((self._handed_bytes, packet))
        return packet

    def buffered(self, now: float, size_bytes: int) -> None:
        """The last `size_bytes` handed over are still in the local stack; what came before has left."""
        gone = self._gone_bytes = self._handed_bytes - size_bytes
        queue = self._queue
        # What leaves the queue left between the last report and this one.
        reported_at = now if self._reported_at is None else self._reported_at
        while queue and queue[0][0] <= gone:
            packet = queue.popleft()[1]
            packet.queued = False
            packet.left_after = max(packet.left_after, reported_at)
            packet.sent_at = self._last_sent_at = now
        self._reported_at = now
        self._poll_at = now + POLL_DEPARTURES_S

    def on_ack(self, now: float, ack: Ack) -> AckOutcome:
        """Raises PeerProtocolError if it acknowledges what was never sent."""
        if ack.largest >= self.channel.next_number:
            raise PeerProtocolError("an ACK of a packet that was never sent")
        acked = _pick(self._sent, ack)
        late = _pick({n: packet for n, (packet, _) in self._lost.items()}, ack) if self._lost else []
        sample_s = None
        for packet in acked:
            del self._sent[packet.number]
            if self._reported_at is None:
                self._gone_bytes += packet.message_bytes
        for packet in late:
            del self._lost[packet.number]
        if acked:
            newest = acked[-1]
            if newest.number == ack.largest:
                sample_s = now - self._left_after(newest)
            self.pto_count = 0
        self._largest_acked = max(self._largest_acked, ack.largest)
        return AckOutcome(acked, late, sample_s)

    def detect_lost(self, now: float, rtt: RttEstimator) -> list[SentPacket]:
        """RFC 9002 section 6.1; also forgets what was lost long ago."""
        forgotten = [number for number, (_, until) in self._lost.items() if until <= now]
        for number in forgotten:
            del self._lost[number]
        lost: list[SentPacket] = []
        loss_delay_s = rtt.loss_delay_s(self._patience_rtts)
        for number, packet in self._sent.items():
            if number >= self._largest_acked:
                break
            old = not packet.queued and packet.sent_at + loss_delay_s <= now  # as `deadline` adds it up
            if old or number <= self._largest_acked - self._packet_threshold:
                lost.append(packet)
        forget_at = now + REMEMBER_LOST_PTOS * rtt.pto_s
        for packet in lost:
            del self._sent[packet.number]
            if self._reported_at is None:
                self._gone_bytes += packet.message_bytes
            self._lost[packet.number] = (packet, forget_at)
        return lost

    def abandon(self) -> list[SentPacket]:
        """The channel is gone: everything outstanding on it, which now is nobody's."""
        abandoned = list(self._sent.values())
        self._sent.clear()
        self._lost.clear()
        self._queue.clear()
        self._gone_bytes = self._handed_bytes
        return abandoned

    def deadline(self, rtt: RttEstimator) -> float | None:
        """When a message is old enough to be lost, a probe is wanted, or a report of departures is overdue."""
        packet = self.oldest
        if packet is None:
            return None
        if packet.number < self._largest_acked and not packet.queued:
            return packet.sent_at + rtt.loss_delay_s(self._patience_rtts)
        # What is still in the local stack needs no probe, but nothing may tell us when the last of it leaves.
        return self._poll_at if self._queue else self._probe_at(rtt)

    def probe_due(self, now: float, rtt: RttEstimator) -> bool:
        """After `detect_lost`: whether a probe must go out now. Counts it (section 6.2)."""
        if now >= self._poll_at:
            self._poll_at = now + POLL_DEPARTURES_S
        packet = self.oldest
        if packet is None or self._queue or packet.number < self._largest_acked:
            return False
        if now < self._probe_at(rtt):
            return False
        self.pto_count += 1
        self._last_sent_at = now
        return True

    def _left_after(self, packet: SentPacket) -> float:
        """The last moment at which the packet is known to have been here."""
        if (
            packet.queued and self._reported_at is not None
        ):  # it has left since the last report, or no ACK were
            return max(packet.left_after, self._reported_at)
        return packet.left_after

    def _probe_at(self, rtt: RttEstimator) -> float:
        # The exponent is bounded only so that the power stays a finite number.
        return self._last_sent_at + min(rtt.pto_s * (1 << min(self.pto_count, 16)), MAX_PTO_S)


def _pick(packets: dict[int, SentPacket], ack: Ack) -> list[SentPacket]:
    """The packets (ascending) an ACK names (descending ranges): one walk over both."""
    picked: list[SentPacket] = []
    ranges = reversed(ack.ranges)
    first, last = next(ranges)
    for number, packet in packets.items():
        while number > last:
            following = next(ranges, None)
            if following is None:
                return picked
            first, last = following
        if number >= first:
            picked.append(packet)
    return picked
