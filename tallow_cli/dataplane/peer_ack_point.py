"""How far the peer's cumulative TSN may be moved over abandoned messages: RFC 3758's Advanced.Peer.Ack.Point."""

from __future__ import annotations

from collections import deque
from typing import Final

from tallow_cli.dataplane.outbound import OutboundMessage

# FORWARD-TSN must fit one packet of the base path MTU: 4 bytes a stream.
MAX_FORWARD_TSN_STREAMS: Final = 256


class PeerAckPoint:
    """Looks at the send window's `messages`, which that fills, and shortens from the left.

    Driver: `on_abandoned` for each message given up, `on_forgotten` for each that leaves `messages`, `on_cumulative`
    when the peer's cumulative ack has moved; `forward_tsn` says what the peer should be told.
    """

    def __init__(self, messages: deque[OutboundMessage], initial_tsn: int) -> None:
        self._messages = messages
        self._abandoned = 0  # among `_messages`
        self._settled = 0  # leading messages that are settled
        self._end = initial_tsn  # the point (RFC 3758 section 3.5), plus one
        self._skipped: dict[int, int] = {}  # stream: last SSN abandoned, of ordered streams

    def on_abandoned(self) -> None:
        self._abandoned += 1

    def on_forgotten(self, message: OutboundMessage) -> None:
        self._abandoned -= message.abandoned
        if self._settled:
            self._settled -= 1

    def on_cumulative(self, cumulative_end: int) -> None:
        if self._end <= cumulative_end:
            self._end = cumulative_end
            self._skipped.clear()

    def look_again(self) -> None:
        """What was acknowledged may not be any more (RFC 9260 section 6.3.3)."""
        self._settled = 0

    def reset_stream(self, stream_id: int) -> None:
        self._skipped.pop(stream_id, None)

    def forward_tsn(self, cumulative_end: int) -> tuple[int, list[tuple[int, int]]] | None:
        """The FORWARD-TSN the peer needs: new cumulative TSN, (stream, SSN) pairs; None while it needs none."""
        if self._abandoned:
            self._advance()
        if self._end <= cumulative_end:
            return None
        return self._end - 1, list(self._skipped.items())

    def _advance(self) -> None:
        """Move the point over abandoned messages, and over those between them that the peer has whole.

        RFC 3758 stops at the first TSN that is not abandoned, one hole a round trip: at 1 % loss the window never
        catches up. An acknowledged unordered message has been delivered, so skipping it is harmless; an ordered one
        may wait behind a skipped SSN of its stream, where some stacks would discard it.
        """
        messages, settled = self._messages, self._settled
        while settled < len(messages):
            message = messages[settled]
            if not message.is_settled:
                break
            if message.abandoned:
                if message.is_ordered:
                    if (
                        len(self._skipped) >= MAX_FORWARD_TSN_STREAMS
                        and message.stream_id not in self._skipped
                    ):
                        break
                    self._skipped[message.stream_id] = message.ssn
                self._end = message.end_tsn
            elif message.is_ordered and message.stream_id in self._skipped:
                break
            settled += 1
        self._settled = settled
