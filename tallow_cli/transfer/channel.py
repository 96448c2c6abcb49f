"""One channel of one attempt, as this side has it: its state, its counters, and the numbers of what goes out on it.

A packet's number is the nonce it is sealed under. So numbers are dealt here and nowhere else: whoever has something to
send on a channel, data, probes, acknowledgements or control, asks the one record of that channel. An attempt has new
keys and new records (docs/spec/transfer.md, Packets); the sealer refuses a number that does not rise all the same.
"""

from __future__ import annotations

from tallow_cli.transfer.driving import ChannelCounters, ChannelState, OutgoingPacket
from tallow_cli.transfer.frames import MAX_NUMBER, encode_header


class Channel:
    """`index` 0 is the control channel. `sealed` marks the headers of its packets."""

    __slots__ = ("_sealed", "counters", "has_been_open", "index", "next_number", "state")

    def __init__(self, index: int, *, sealed: bool) -> None:
        self.index = index
        self.state = ChannelState.CLOSED  # `become` changes it
        self.has_been_open = False
        self.next_number = 0  # all below are used; `packet` deals them
        self.counters = ChannelCounters()
        self._sealed = sealed

    def become(self, state: ChannelState) -> None:
        self.state = state
        self.has_been_open = self.has_been_open or state is not ChannelState.CLOSED

    @property
    def is_gone(self) -> bool:
        """It was open, and never will be again."""
        return self.has_been_open and self.state is ChannelState.CLOSED

    def packet(self, payload: bytes) -> OutgoingPacket:
        """`payload` as the next packet of this channel. Raises ValueError when all numbers are used up."""
        number = self.next_number
        if number > MAX_NUMBER:
            raise ValueError(f"channel {self.index} has no packet numbers left")
        self.next_number = number + 1
        return OutgoingPacket(self.index, number, encode_header(self._sealed, self.index, number), payload)
