"""The control channel and the signs of life, alike on both ends of a transfer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.driving import CONTROL_CHANNEL, ChannelState, OutgoingPacket
from tallow_cli.transfer.frames import (
    CONTROL_HEADER_BYTES,
    HEADER_BYTES,
    SEAL_BYTES,
    encode_control,
    encode_ping,
)
from tallow_cli.transfer.messages import (
    CONTROL_FRAGMENT_BYTES,
    ControlAssembler,
    ControlMessage,
    encode_message,
    fragments,
)

KEEPALIVE_S = 5.0  # a PING after this long without sending anything; also a quarter of the idle timeout
# A timer that comes so much later than asked for: this process did not run (stopped, a paused machine, no core free),
# so what the peer said meanwhile still waits to be read. A busy event loop is some 10 ms late.
LATE_S = 1.0


class ControlLink:
    """Numbers, cuts and assembles what goes over channel 0, which is ordered and reliable."""

    def __init__(self, *, sealed: bool, max_message_bytes: int, assembly_limit_bytes: int) -> None:
        self.channel = Channel(CONTROL_CHANNEL, sealed=sealed)
        overhead = HEADER_BYTES + CONTROL_HEADER_BYTES + SEAL_BYTES
        self._fragment_bytes = min(CONTROL_FRAGMENT_BYTES, max_message_bytes - overhead)
        self._last_received = -1
        self._frames: deque[bytes] = deque()
        self._messages: deque[ControlMessage] = deque()
        self._cutting: Iterator[tuple[memoryview, bool]] = iter(())
        self.assembler = ControlAssembler(assembly_limit_bytes)

    def send(self, message: ControlMessage) -> None:
        self._messages.append(message)

    def send_frames(self, frames: bytes) -> None:
        """Frames other than CONTROL; they overtake messages not yet cut."""
        self._frames.append(frames)

    @property
    def has_unsent(self) -> bool:
        """Whether a message waits of which nothing was sent."""
        return bool(self._messages)

    def discard(self) -> None:
        """Forget what was not sent: only the farewell that follows matters now.

        A message half sent stays half sent, so the farewell must not follow it in the same stream of
        fragments: it is finished first.
        """
        self._frames.clear()
        self._messages.clear()

    def packets(self, budget_bytes: int) -> list[OutgoingPacket]:
        """What may go out now, about `budget_bytes` at most."""
        packets: list[OutgoingPacket] = []
        while self.channel.state is ChannelState.OPEN and budget_bytes > 0:
            payload = self._next_payload()
            if payload is None:
                break
            packets.append(self.channel.packet(payload))
            budget_bytes -= len(payload)
        return packets

    def _next_payload(self) -> bytes | None:
        if self._frames:
            return self._frames.popleft()
        fragment = next(self._cutting, None)
        if fragment is None:
            if not self._messages:
                return None
            self._cutting = fragments(encode_message(self._messages.popleft()), self._fragment_bytes)
            fragment = next(self._cutting)
        data, more = fragment
        return encode_control(data, more=more)

    def check_number(self, number: int) -> None:
        """The channel is ordered: numbers only rise. Raises PeerProtocolError."""
        if number <= self._last_received:
            raise PeerProtocolError("a control packet out of order")
        self._last_received = number


class Liveness:
    """When the peer was last heard, when we last spoke."""

    def __init__(self, now: float, idle_timeout_s: float) -> None:
        self.idle_timeout_s = idle_timeout_s
        self._keepalive_s = min(KEEPALIVE_S, idle_timeout_s / 4)
        self._heard_at = now
        self._spoke_at = now

    def heard(self, now: float) -> None:
        self._heard_at = now

    def spoke(self, now: float) -> None:
        self._spoke_at = now

    def missed(self, late_s: float) -> None:
        """This side did not listen for `late_s`: that was no silence of the peer's."""
        self._heard_at += late_s

    def deadline(self, *, may_speak: bool) -> float:
        """When silence, ours (if we may speak) or the peer's, has lasted long enough to do something."""
        vanished_at = self._heard_at + self.idle_timeout_s
        return min(vanished_at, self._spoke_at + self._keepalive_s) if may_speak else vanished_at

    def vanished(self, now: float) -> bool:
        return now >= self._heard_at + self.idle_timeout_s

    def keepalive(self, now: float) -> bytes | None:
        """A frame to send because nothing was sent for a while."""
        if now < self._spoke_at + self._keepalive_s:
            return None
        self._spoke_at = now
        return encode_ping()
