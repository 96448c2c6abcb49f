"""How much of a chunk one DataChannel message carries.

On an unreliable channel a network packet that stays lost (after `maxRetransmits` repetitions, or none) discards its
whole message: with p such losses a message of n packets is lost with 1 - (1 - p)^n, and then n - 1 packets that did
arrive are sent again: that wastes about (n - 1) p of the link. A message costs headers, a tag and the work at both
ends, which wastes a share that falls with n. The n at which the sum is least wins, as long as the expected loss of a
message stays under 5 %.
"""

from __future__ import annotations

from math import ceil, floor, log1p, sqrt

NETWORK_PACKET_BYTES = 1160  # of a message in one SCTP DATA chunk, at an MTU of 1280 too (aiortc: 1200)
MOST_MESSAGE_LOSS = 0.05
# What one message costs in time at the busier end is some 30 us (core 15, sealing and SCTP about as much again). Time
# is only worth bytes where a core is full, which is rare on a path that loses packets: a fifth of it counts.
MESSAGE_COST_S = 6e-6
INITIAL_MESSAGE_BYTES = 16_384  # before the loss is known: 15 packets, half of them survive 5 % loss
MIN_RATED_BYTES = 16_384  # a slow link does not push messages below this
MAX_MESSAGE_SECONDS = 0.1  # at the present rate, so that one message never holds the others up for longer


def network_packets(message_bytes: int, packet_bytes: int = NETWORK_PACKET_BYTES) -> int:
    """How many network packets a message takes, if each carries `packet_bytes` of it."""
    return max(1, -(-message_bytes // packet_bytes))


def even_split(size: int, limit: int) -> int:
    """The size of the next message when `size` bytes go out in equal messages of at most `limit`."""
    if size <= limit:
        return size
    return -(-size // -(-size // limit))


class MessageSizer:
    """The present message size. Falls at once with the loss, at most doubles with each look at it.

    `overhead_bytes` is what a message carries besides payload: headers and tag. `most_payload_bytes`: no message
    carries more, even where that fills no network packet.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        preferred_message_bytes: int,
        overhead_bytes: int,
        most_payload_bytes: int | None = None,
    ) -> None:
        if max_message_bytes <= overhead_bytes:
            raise ValueError(f"messages of {max_message_bytes} bytes leave no room for payload")
        self._overhead_bytes = overhead_bytes
        self._packet_bytes = NETWORK_PACKET_BYTES
        self._ceiling_bytes = min(max_message_bytes, max(preferred_message_bytes, NETWORK_PACKET_BYTES))
        self._most_payload_bytes = max_message_bytes if most_payload_bytes is None else most_payload_bytes
        self._ceiling_bytes = min(self._ceiling_bytes, self._most_payload_bytes + overhead_bytes)
        self._message_bytes = min(self._ceiling_bytes, INITIAL_MESSAGE_BYTES)

    @property
    def message_bytes(self) -> int:
        return self._message_bytes

    @property
    def payload_bytes(self) -> int:
        """The most payload the next message may carry."""
        return self._message_bytes - self._overhead_bytes

    @property
    def packet_bytes(self) -> int:
        """How much of a message one network packet carries."""
        return self._packet_bytes

    def set_packet_bytes(self, packet_bytes: int) -> None:
        """The path takes packets that carry this much of a message: messages are whole numbers of them."""
        self._packet_bytes = max(1, packet_bytes)

    def next_payload(self, size: int) -> int:
        """How much of the `size` bytes left of a chunk the next message carries: all messages of a chunk about
        equal, and each but the last in whole network packets. The odd packet at the end of a message would not
        only be small: it ends a send call, whose packets are all of one size.
        """
        even = even_split(size, self.payload_bytes)
        whole = network_packets(even + self._overhead_bytes, self._packet_bytes) * self._packet_bytes
        return min(size, self._most_payload_bytes, max(even, whole - self._overhead_bytes))

    def update(self, packet_loss: float, rate_bytes_per_s: float) -> None:
        """Looks at the present loss of network packets (0..1) and the delivery rate (0: unknown)."""
        target = self._ceiling_bytes
        if packet_loss > 0:
            target = min(target, self._packets(packet_loss, rate_bytes_per_s) * self._packet_bytes)
        if rate_bytes_per_s > 0:
            target = min(target, max(MIN_RATED_BYTES, ceil(rate_bytes_per_s * MAX_MESSAGE_SECONDS)))
        target = min(target, 2 * self._message_bytes)
        self._message_bytes = max(target - target % self._packet_bytes, min(target, self._packet_bytes))

    def _packets(self, packet_loss: float, rate_bytes_per_s: float) -> int:
        """The n that wastes least: cost / (n s) + (n - 1) p has its minimum at sqrt(cost / (s p))."""
        cost_bytes = self._overhead_bytes + rate_bytes_per_s * MESSAGE_COST_S
        cheapest = round(sqrt(cost_bytes / (self._packet_bytes * packet_loss)))
        most = floor(log1p(-MOST_MESSAGE_LOSS) / log1p(-min(packet_loss, 0.99)) + 1e-9)
        return max(1, min(cheapest, most))
