"""How much of a chunk one DataChannel message carries.

With `maxRetransmits=0` one lost network packet discards its whole message, so a message of n packets is lost
with 1 - (1 - p)^n. Large messages cost less work per byte: the largest whose expected loss stays near 5 %
wins.
"""

from __future__ import annotations

from math import ceil, floor, log1p

NETWORK_PACKET_BYTES = 1160  # of a message in one SCTP DATA chunk, at an MTU of 1280 too (aiortc: 1200)
TARGET_MESSAGE_LOSS = 0.05
INITIAL_MESSAGE_BYTES = 16_384  # before the loss is known: 15 packets, half of them survive 5 % loss
MIN_RATED_BYTES = 16_384  # a slow link does not push messages below this
MAX_MESSAGE_SECONDS = 0.1  # at the present rate, so that one message never holds the others up for longer


def network_packets(message_bytes: int) -> int:
    """How many network packets a message takes."""
    return max(1, -(-message_bytes // NETWORK_PACKET_BYTES))


def even_split(size: int, limit: int) -> int:
    """The size of the next message when `size` bytes go out in equal messages of at most `limit`."""
    if size <= limit:
        return size
    return -(-size // -(-size // limit))


class MessageSizer:
    """The present message size. Falls at once with the loss, at most doubles with each look at it.

    `overhead_bytes` is what a message carries besides payload: headers and tag.
    """

    def __init__(self, *, max_message_bytes: int, preferred_message_bytes: int, overhead_bytes: int) -> None:
        if max_message_bytes <= overhead_bytes:
            raise ValueError(f"messages of {max_message_bytes} bytes leave no room for payload")
        self._overhead_bytes = overhead_bytes
        self._ceiling_bytes = min(max_message_bytes, max(preferred_message_bytes, NETWORK_PACKET_BYTES))
        self._message_bytes = min(self._ceiling_bytes, INITIAL_MESSAGE_BYTES)

    @property
    def message_bytes(self) -> int:
        return self._message_bytes

    @property
    def payload_bytes(self) -> int:
        """The most payload the next message may carry."""
        return self._message_bytes - self._overhead_bytes

    def update(self, packet_loss: float, rate_bytes_per_s: float) -> None:
        """Looks at the present loss of network packets (0..1) and the delivery rate (0: unknown)."""
        target = self._ceiling_bytes
        if packet_loss > 0:
            packets = floor(log1p(-TARGET_MESSAGE_LOSS) / log1p(-min(packet_loss, 0.99)) + 1e-9)
            target = min(target, max(1, packets) * NETWORK_PACKET_BYTES)
        if rate_bytes_per_s > 0:
            target = min(target, max(MIN_RATED_BYTES, ceil(rate_bytes_per_s * MAX_MESSAGE_SECONDS)))
        self._message_bytes = min(target, 2 * self._message_bytes)
