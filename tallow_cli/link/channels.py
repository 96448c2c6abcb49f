"""The data channels of one connection, as the stack below gives them: their seam, their limits, and what comes in.

`Channel` is the seam between the transfer and whatever moves messages (aiortc, the turbo engine, a fake in a test).
`DataChannels` makes one thing of the 2-4 of a connection. Which of them takes what is decided above, by the transfer's
`ParallelChannelManager`.

Nothing here imports aiortc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from tallow_cli.errors import BadOption, PeerVanished

ChannelState = Literal["connecting", "open", "closing", "closed"]

MIN_CHANNELS: Final = 2
MAX_CHANNELS: Final = 4
DEFAULT_CHANNELS: Final = 3

# Each repetition adds 1.5 round trips to the age at which a message counts as lost (`transfer.recovery`): with 8 that
# is 13 round trips, and at 30 % loss one packet in 50,000 is lost as often. More would only delay what an outage took.
MAX_RETRANSMITS: Final = 8

MIB: Final = 1024 * 1024
# Per channel. The high mark is a ceiling against running out of memory: the transfer's own bounds keep far less queued,
# so that RTT, progress and Ctrl-C stay honest.
DEFAULT_BUFFER_HIGH: Final = 16 * MIB
DEFAULT_BUFFER_LOW: Final = 4 * MIB
MAX_BUFFER_HIGH: Final = 4096 * MIB  # the mark below it is W3C WebRTC's `bufferedAmountLowThreshold`, 32 bits


def buffer_marks(high: int | None, low: int | None) -> tuple[int, int]:
    """The high and the low mark where only some are given: they keep the defaults' ratio. Nothing is checked."""
    ratio = DEFAULT_BUFFER_HIGH // DEFAULT_BUFFER_LOW
    if high is None:
        high = max(DEFAULT_BUFFER_HIGH, min(ratio * (low or 0), MAX_BUFFER_HIGH))
    return high, max(1, high // ratio) if low is None else low


class Channel(Protocol):
    """One message channel to the peer. Callbacks run on the event loop and must not block or raise."""

    @property
    def on_message(self) -> Callable[[bytes], None] | None:
        """Who is told of messages. What came before is delivered when this is set."""
        ...

    @on_message.setter
    def on_message(self, listener: Callable[[bytes], None] | None) -> None: ...

    on_low: Callable[[], None] | None  # buffered_amount fell to low_threshold or below
    on_close: Callable[[], None] | None  # called once, whoever closed it

    @property
    def label(self) -> str: ...

    @property
    def state(self) -> ChannelState: ...

    @property
    def buffered_amount(self) -> int:
        """Bytes given to `send` and not yet to the network."""
        ...

    @property
    def low_threshold(self) -> int: ...

    @low_threshold.setter
    def low_threshold(self, size_bytes: int) -> None: ...

    def send(self, message: bytes) -> None:
        """Queue one message. Raises PeerVanished if the channel is not open."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """One channel at one moment. `index` is the number packets carry: 0 control, data channels from 1."""

    label: str
    index: int
    state: ChannelState
    paused: bool
    buffered_amount: int
    bytes_sent: int
    bytes_received: int
    chunks_sent: int = 0  # these two are counted by the transfer, which knows where chunks end
    chunks_received: int = 0


class _Lane:
    """What the manager remembers about one channel."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "channel",
        "closed",
        "index",
        "paused",
    )

    def __init__(self, index: int, channel: Channel) -> None:
        self.index = index
        self.channel = channel
        self.paused = False
        self.closed = False
        self.bytes_sent = 0
        self.bytes_received = 0

    def stats(self) -> ChannelStats:
        return ChannelStats(
            label=self.channel.label,
            index=self.index,
            state="closed" if self.closed else self.channel.state,
            paused=self.paused,
            buffered_amount=0 if self.closed else self.channel.buffered_amount,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
        )


def check_channel_count(count: int) -> int:
    """`count` if it is a legal number of data channels. Raises BadOption otherwise."""
    if not MIN_CHANNELS <= count <= MAX_CHANNELS:
        raise BadOption("--channels", f"{count} is not between {MIN_CHANNELS} and {MAX_CHANNELS}")
    return count


def check_max_retransmits(count: int | None, *, reliable: bool) -> None:
    """Raises BadOption unless `count` is None (the engine's own) or 0 to `MAX_RETRANSMITS` on channels not reliable."""
    if count is None:
        return
    if not 0 <= count <= MAX_RETRANSMITS:
        raise BadOption("--max-retransmits", f"{count} is not between 0 and {MAX_RETRANSMITS}")
    if reliable:
        raise BadOption(
            "--max-retransmits",
            "it contradicts --reliable, which sends again until all arrived; give one of the two",
        )


def check_buffer_marks(high: int, low: int) -> None:
    """Raises BadOption unless 0 < low < high <= `MAX_BUFFER_HIGH`."""
    if not 2 <= high <= MAX_BUFFER_HIGH:
        raise BadOption("--buffer-high", f"{high} bytes is not between 2 bytes and 4 GiB")
    if low <= 0:
        raise BadOption("--buffer-low", "it must be more than zero")
    if high <= low:
        raise BadOption("--buffer-high", f"{high} bytes is not above --buffer-low ({low} bytes)")


class DataChannels:
    """Messages out by the number of a channel, and in with it; who is paused, and who has ended.

    A channel whose buffer stands at `buffer_high` is paused until it has drained to `buffer_low`: `on_drain(index)`
    says when. What was outstanding on a channel reported by `on_close(index)` is the caller's to send again on another.
    Takes over the channels' callbacks; its own may call back into it.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        buffer_high: int = DEFAULT_BUFFER_HIGH,
        buffer_low: int = DEFAULT_BUFFER_LOW,
        on_message: Callable[[int, bytes], None] | None = None,
        on_drain: Callable[[int], None] | None = None,
        on_close: Callable[[int], None] | None = None,
    ) -> None:
        """Raises BadOption for a channel count outside 2-4 or marks that are not 0 < low < high."""
        check_channel_count(len(channels))
        check_buffer_marks(buffer_high, buffer_low)
        self.on_message = on_message
        self.on_drain = on_drain
        self.on_close = on_close
        self._high = buffer_high
        self._low = buffer_low
        self._lanes = [_Lane(index, channel) for index, channel in enumerate(channels, start=1)]
        for lane in self._lanes:
            self._take_over(lane)

    def _take_over(self, lane: _Lane) -> None:
        channel = lane.channel
        channel.low_threshold = self._low
        channel.on_message = lambda message: self._received(lane, message)
        channel.on_low = lambda: self._drained(lane)
        channel.on_close = lambda: self._closed(lane)

    # Sending

    def send(self, index: int, message: bytes) -> bool:
        """Queue a message on a channel. Returns False once it is at its high mark (it took the message).

        Raises PeerVanished if that channel is not open.
        """
        lane = self._lane(index)
        if lane.closed:
            raise PeerVanished(f"data channel {index} is closed")
        lane.channel.send(message)
        lane.bytes_sent += len(message)
        if not lane.paused and lane.channel.buffered_amount >= self._high:
            lane.paused = True
        return not lane.paused

    def buffered_amount(self, index: int) -> int:
        """Bytes given to that channel and not yet to the network; 0 once it is closed."""
        lane = self._lane(index)
        return 0 if lane.closed else lane.channel.buffered_amount

    @property
    def indexes(self) -> tuple[int, ...]:
        return tuple(lane.index for lane in self._lanes)

    # Statistics

    def stats(self) -> tuple[ChannelStats, ...]:
        return tuple(lane.stats() for lane in self._lanes)

    # What the channels report

    def _lane(self, index: int) -> _Lane:
        if not 1 <= index <= len(self._lanes):
            raise IndexError(f"there is no data channel {index}")
        return self._lanes[index - 1]

    def _received(self, lane: _Lane, message: bytes) -> None:
        lane.bytes_received += len(message)
        if self.on_message is not None:
            self.on_message(lane.index, message)

    def _drained(self, lane: _Lane) -> None:
        if not lane.paused or lane.closed:
            return
        lane.paused = False
        if self.on_drain is not None:
            self.on_drain(lane.index)

    def _closed(self, lane: _Lane) -> None:
        if lane.closed:
            return
        lane.closed = True
        lane.paused = False
        if self.on_close is not None:
            self.on_close(lane.index)
