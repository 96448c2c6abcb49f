"""A message channel as the stack below gives it: the seam between the transfer and whatever moves messages (aiortc, the
turbo engine, a fake in a test), and how many of them a connection has.

Which of them takes what is decided above, by the transfer's `ParallelChannelManager`. Nothing here imports aiortc.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Protocol

from tallow_cli.errors import BadOption

ChannelState = Literal["connecting", "open", "closing", "closed"]

MIN_CHANNELS: Final = 2
MAX_CHANNELS: Final = 4
DEFAULT_CHANNELS: Final = 3

# Each repetition adds 1.5 round trips to the age at which a message counts as lost (`transfer.recovery`): with 8 that
# is 13 round trips, and at 30 % loss one packet in 50,000 is lost as often. More would only delay what an outage took.
MAX_RETRANSMITS: Final = 8


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
