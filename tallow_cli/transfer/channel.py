"""One channel of one attempt, as this side has it: its state, its counters, and the numbers of what goes out on it.

A packet's number is the nonce it is sealed under. So numbers are dealt here and nowhere else: whoever has something to
send on a channel, data, probes, acknowledgements or control, asks the one record of that channel. An attempt has new
keys and new records (docs/spec/transfer.md, Packets); the sealer refuses a number that does not rise all the same.
"""

from __future__ import annotations

from tallow_cli.transfer.driving import ChannelCounters, ChannelState, OutgoingPacket
from tallow_cli.transfer.frames import HEADER_BYTES, MAX_NUMBER, SEAL_BYTES, encode_header


class Channel:
    """`index` 0 is the control channel. `sealed` marks the headers of its packets. Numbers end at `max_number`."""

    __slots__ = (
        "_frame_bytes",
        "_max_number",
        "_sealed",
        "buffered_bytes",
        "counters",
        "has_been_open",
        "index",
        "next_number",
        "state",
    )

    def __init__(self, index: int, *, sealed: bool, max_number: int = MAX_NUMBER) -> None:
        self.index = index
        self.state = ChannelState.CLOSED  # `become` changes it
        self.has_been_open = False
        self.next_number = 0  # all below are used; `packet` deals them
        self.buffered_bytes = 0  # waits in the local stack, by the shell's last report
        self.counters = ChannelCounters()
        self._sealed = sealed
        self._max_number = max_number
        self._frame_bytes = HEADER_BYTES + SEAL_BYTES * sealed

    def become(self, state: ChannelState) -> None:
        self.state = state
        self.has_been_open = self.has_been_open or state is not ChannelState.CLOSED
        if state is ChannelState.CLOSED:
            self.buffered_bytes = 0

    @property
    def is_gone(self) -> bool:
        """It was open, and never will be again."""
        return self.has_been_open and self.state is ChannelState.CLOSED

    def packet(self, payload: bytes) -> OutgoingPacket:
        """`payload` as the next packet of this channel. Raises ValueError when all numbers are used up."""
        number = self.next_number
        if number > self._max_number:
            raise ValueError(f"channel {self.index} has no packet numbers left")
        self.next_number = number + 1
        counters = self.counters
        counters.messages_sent += 1
        counters.bytes_sent += self._frame_bytes + len(payload)
        return OutgoingPacket(self.index, number, encode_header(self._sealed, self.index, number), payload)

    def received(self, payload_bytes: int) -> None:
        """A packet with so much payload has come."""
        self.counters.messages_received += 1
        self.counters.bytes_received += self._frame_bytes + payload_bytes
