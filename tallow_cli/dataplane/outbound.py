"""Messages on their way out, and the queue where streams wait their turn.

TSNs are given at send time, fragment by fragment, so a message in the queue costs nothing but its bytes. Without
I-DATA (RFC 8260) the fragments of a message have consecutive TSNs: once begun, a message is finished (or abandoned)
before the next begins. Streams take turns message by message, so a small message waits for one large one, not for a
whole backlog.
"""

from __future__ import annotations

from collections import deque

from tallow_cli.dataplane.packets import FLAG_UNORDERED


class OutboundMessage:
    """One user message, from `send_message` until the peer's cumulative ack (or abandonment) passes it.

    `sent_bytes`: how much has been given TSNs. TSNs are [first_tsn, end_tsn). `unacked_tsns`: of those given.
    `layout`: (first TSN, byte offset, fragment size) whenever the fragment size changed; usually one entry.
    """

    __slots__ = (
        "abandoned",
        "end_tsn",
        "expires_at",
        "first_tsn",
        "flags",
        "is_complete",
        "layout",
        "max_retransmits",
        "ppid",
        "sent_bytes",
        "size",
        "ssn",
        "stream_id",
        "unacked_tsns",
        "view",
    )

    def __init__(
        self,
        stream_id: int,
        ppid: int,
        data: bytes,
        *,
        ordered: bool,
        max_retransmits: int | None,
        expires_at: float | None,
    ) -> None:
        self.stream_id = stream_id
        self.ppid = ppid
        self.view = memoryview(data)
        self.size = len(data)
        self.flags = 0 if ordered else FLAG_UNORDERED
        self.max_retransmits = max_retransmits
        self.expires_at = expires_at
        self.ssn = 0
        self.sent_bytes = 0
        self.first_tsn = -1
        self.end_tsn = -1
        self.unacked_tsns = 0
        self.is_complete = False  # every TSN it will ever have is assigned
        self.abandoned = False
        self.layout: list[tuple[int, int, int]] = []

    @property
    def is_ordered(self) -> bool:
        return not self.flags & FLAG_UNORDERED

    @property
    def is_settled(self) -> bool:
        """Nothing more will happen for it: the peer has all of it, or we have given it up."""
        return self.is_complete and (self.abandoned or self.unacked_tsns == 0)

    def is_expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at


class SendQueue:
    """What has not been given a TSN yet, per stream, and whose turn it is."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self._bytes: dict[int, int] = {}
        self._streams: dict[int, deque[OutboundMessage]] = {}
        self._turns: deque[int] = deque()
        self._current: OutboundMessage | None = None
        self._drained: dict[int, int] = {}
        self._ssns: dict[int, int] = {}

    def __bool__(self) -> bool:
        return self._current is not None or bool(self._turns)

    @property
    def is_mid_message(self) -> bool:
        return self._current is not None

    def push(self, message: OutboundMessage) -> None:
        stream_id = message.stream_id
        waiting = self._streams.get(stream_id)
        if waiting is None:
            waiting = self._streams[stream_id] = deque()
            self._turns.append(stream_id)
        waiting.append(message)
        self.total_bytes += message.size
        self._bytes[stream_id] = self._bytes.get(stream_id, 0) + message.size

    def head(self, now: float, expired: list[OutboundMessage]) -> OutboundMessage | None:
        """The message to send from next: the one begun, else the next stream's first.

        Messages whose time ran out before they were begun are dropped, and appended to `expired`. A message begun
        keeps being the head until it is `advance`d to its end or `finish_current`.
        """
        while self._current is None and self._turns:
            stream_id = self._turns[0]
            waiting = self._streams[stream_id]
            message = waiting.popleft()
            self._turns.popleft()
            if waiting:
                self._turns.append(stream_id)
            else:
                del self._streams[stream_id]
            if message.is_expired(now):
                self._drain(stream_id, message.size)
                expired.append(message)
                continue
            if message.is_ordered:
                # The SSN is given here and not in push, so that a message dropped in the queue leaves no hole.
                message.ssn = self._ssns.get(stream_id, 0)
                self._ssns[stream_id] = message.ssn + 1
            self._current = message
        return self._current

    def advance(self, message: OutboundMessage, size: int) -> None:
        """`size` bytes of the head were given TSNs."""
        message.sent_bytes += size
        self._drain(message.stream_id, size)
        if message.sent_bytes >= message.size:
            self._current = None

    def finish_current(self, message: OutboundMessage) -> None:
        """The head was abandoned: its rest is never sent."""
        if self._current is message:
            self._current = None
            self._drain(message.stream_id, message.size - message.sent_bytes)

    def drop_stream(self, stream_id: int) -> None:
        """Forget the stream's messages that were not begun."""
        waiting = self._streams.pop(stream_id, None)
        if waiting is not None:
            self._turns.remove(stream_id)
            self._drain(stream_id, sum(message.size for message in waiting))

    def keep_only(self, stream_id: int) -> None:
        """Forget all other streams' messages, the rest of one that was begun included."""
        for other in [other for other in self._streams if other != stream_id]:
            self.drop_stream(other)
        if self._current is not None and self._current.stream_id != stream_id:
            self.finish_current(self._current)

    def reset_stream(self, stream_id: int) -> None:
        self._ssns.pop(stream_id, None)

    def buffered_bytes(self, stream_id: int) -> int:
        return self._bytes.get(stream_id, 0)

    def take_drained(self) -> dict[int, int]:
        """Bytes that left the queue since the last call, by stream."""
        drained, self._drained = self._drained, {}
        return drained

    def _drain(self, stream_id: int, size: int) -> None:
        self.total_bytes -= size
        left = self._bytes[stream_id] - size
        if left:
            self._bytes[stream_id] = left
        else:
            del self._bytes[stream_id]
        if size:
            self._drained[stream_id] = self._drained.get(stream_id, 0) + size
