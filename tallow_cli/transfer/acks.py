"""What the receiver has to acknowledge, per data channel, and when."""

from __future__ import annotations

from tallow_cli.errors import PeerProtocolError
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.frames import MAX_ACK_RANGES, encode_ack
from tallow_cli.transfer.recovery import MAX_ACK_DELAY_S

ACK_EVERY_PACKETS = 8  # an ACK costs as much work as a data message: on a LAN one for eight
EARLY_PACKETS = 32  # of a channel: acknowledged by twos, since the sender starts with little in flight
EARLY_ACK_EVERY_PACKETS = 2
# Gaps travel as 32 bits. No sender skips numbers; a real gap is what was lost in flight, thousands at most.
MAX_NUMBERS_SKIPPED = 1 << 31
ACK_EVERY_BYTES = 1024 * 1024  # large messages are acknowledged sooner, or the sender would starve


class AckTracker:
    """Packet numbers received on one channel, above the sender's floor. At most MAX_ACK_RANGES ranges."""

    def __init__(self) -> None:
        self.due_at: float | None = None
        self._received = RangeSet()
        self._floor = 0
        self._next_expected = 0
        self._largest_at = 0.0
        self._packets = 0  # since the last ACK
        self._bytes = 0

    @property
    def pending(self) -> bool:
        """Whether something came since the last ACK."""
        return self._packets > 0

    @property
    def missing_packets(self) -> int:
        return max(0, self._next_expected - self._floor - self._received.total)

    def floor(self, number: int, floor: int) -> None:
        """The sender's floor, as packet `number` carries it. Raises PeerProtocolError."""
        if floor > number:
            raise PeerProtocolError("a FLOOR above its own packet")
        if floor > self._floor:
            self._floor = floor
            self._received.remove(0, floor)

    def arrived(self, now: float, number: int, size: int, *, at_once: bool) -> None:
        """Packet `number` wants an ACK; `at_once` for a probe or the end of the stream.

        Raises PeerProtocolError for a number no honest sender could have reached.
        """
        if number - self._next_expected >= MAX_NUMBERS_SKIPPED:
            raise PeerProtocolError("a packet number far ahead of all before it")
        if number >= self._next_expected:
            at_once = at_once or number > self._next_expected  # a gap: news the sender waits for
            self._next_expected = number + 1
            self._largest_at = now
        else:
            at_once = True  # late: it may just be given up for lost
        if number >= self._floor:
            self._received.add(number, number + 1)
            if len(self._received) > MAX_ACK_RANGES:
                start, end = next(iter(self._received))
                self._received.remove(start, end)
        self._packets += 1
        self._bytes += size
        every = ACK_EVERY_PACKETS if number >= EARLY_PACKETS else EARLY_ACK_EVERY_PACKETS
        if at_once or self._packets >= every or self._bytes >= ACK_EVERY_BYTES:
            self.due_at = now
        elif self.due_at is None:
            self.due_at = now + MAX_ACK_DELAY_S

    def acknowledge(self, now: float, channel: int) -> bytes:
        """The ACK frame to send now; b"" when only forgotten packets came."""
        self.due_at = None
        self._packets = 0
        self._bytes = 0
        if not self._received:
            return b""
        return encode_ack(channel, self._received, now - self._largest_at)
