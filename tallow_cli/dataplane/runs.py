"""A run: the unit of the send window's books. Consecutive fragments of one message that left in one send call."""

from __future__ import annotations

from tallow_cli.dataplane.congestion.delivery_rate import SendStamp
from tallow_cli.dataplane.outbound import OutboundMessage
from tallow_cli.dataplane.packets import PACKET_OVERHEAD_BYTES


class Run:
    """Fragments [first, end) of `message`, from byte `offset`, all of `fragment_bytes` but the last."""

    __slots__ = (
        "cost_bytes",  # what the run adds to `inflight_bytes`: user data and SCTP headers
        "end",
        "first",
        "fragment_bytes",
        "has_left",  # it is known to have left the network, though not whether it arrived; not in flight any more
        "last_bytes",
        "message",
        "offset",
        "stamp",
        "transmissions",
    )

    stamp: SendStamp

    def __init__(
        self,
        message: OutboundMessage,
        first: int,
        end: int,
        offset: int,
        fragment_bytes: int,
        last_bytes: int,
        transmissions: int,
    ) -> None:
        self.message = message
        self.first = first
        self.end = end
        self.offset = offset
        self.fragment_bytes = fragment_bytes
        self.last_bytes = last_bytes
        self.transmissions = transmissions
        self.has_left = False
        self.cost_bytes = self.cost_of(first, end)

    def cost_of(self, first: int, end: int) -> int:
        """The cost of a part of the run."""
        cost = (end - first) * (self.fragment_bytes + PACKET_OVERHEAD_BYTES)
        return cost - self.fragment_bytes + self.last_bytes if end == self.end else cost

    def part(self, first: int, end: int) -> Run:
        """The same transmission, cut down to [first, end)."""
        run = Run(
            self.message,
            first,
            end,
            self.offset + (first - self.first) * self.fragment_bytes,
            self.fragment_bytes,
            self.last_bytes if end == self.end else self.fragment_bytes,
            self.transmissions,
        )
        run.stamp = self.stamp
        run.has_left = self.has_left
        return run


def whole_runs(message: OutboundMessage) -> list[Run]:
    """Everything of the message that has TSNs, as runs sent once, without stamps."""
    ends = [first for first, _, _ in message.layout[1:]] + [message.end_tsn]
    runs = []
    for (first, offset, fragment_bytes), end in zip(message.layout, ends, strict=True):
        left = message.size - offset - (end - first - 1) * fragment_bytes
        runs.append(Run(message, first, end, offset, fragment_bytes, min(left, fragment_bytes), 1))
    return runs
