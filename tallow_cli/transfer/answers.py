"""What a receiver answers to what comes: which packets of each channel have come, and how much more may be sent.

The mirror of the sender's `ParallelChannelManager`: it owns the records of the data channels on this side, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from tallow_cli.transfer.acks import AckTracker
from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.control import ControlLink
from tallow_cli.transfer.driving import ChannelState, OutgoingPacket
from tallow_cli.transfer.flow import ReceiveWindow
from tallow_cli.transfer.frames import encode_credit


class Answers:
    """ACKs of `channels` data channels, and the credit of a window of `window_bytes`."""

    def __init__(self, *, channels: int, sealed: bool, window_bytes: int) -> None:
        self.channels = [Channel(index, sealed=sealed) for index in range(1, channels + 1)]
        self.window = ReceiveWindow(window_bytes)
        self._trackers = {channel.index: AckTracker() for channel in self.channels}

    @property
    def missing_packets(self) -> int:
        """Gaps seen in the packet numbers, not yet filled."""
        return sum(tracker.missing_packets for tracker in self._trackers.values())

    def knows(self, channel: int) -> bool:
        """Whether it is a data channel."""
        return channel in self._trackers

    def arrived(self, now: float, channel: int, number: int, size: int, *, at_once: bool) -> None:
        """A packet has come and was found sound; `at_once`: it is acknowledged without delay."""
        self._trackers[channel].arrived(now, number, size, at_once=at_once)

    def floor(self, channel: int, number: int, below: int) -> None:
        """The packet `number` says that below this no acknowledgement is wanted. Raises PeerProtocolError."""
        self._trackers[channel].floor(number, below)

    def grant(self, now: float, size: int, control: ControlLink) -> None:
        """So many bytes are out of the way: the sender may send as many more."""
        self.window.written += size
        if self.window.is_update_due(now):
            control.send_frames(encode_credit(self.window.advertise(now, reliably=True)))

    def deadlines(self) -> Iterator[float]:
        """When `packet` has something to say."""
        for tracker in self._trackers.values():
            if tracker.due_at is not None:
                yield tracker.due_at

    def packet(self, now: float, control: Channel) -> OutgoingPacket | None:
        """If one is due: a packet with the ACKs of every channel that wants one, and the credit. It goes over `control`
        once all others are closed."""
        for index, tracker in self._trackers.items():
            if tracker.due_at is not None and tracker.due_at <= now:
                return self._acknowledge(now, self._living(index, control))
        return None

    def _acknowledge(self, now: float, channel: Channel) -> OutgoingPacket:
        frames = [
            tracker.acknowledge(now, index) for index, tracker in self._trackers.items() if tracker.pending
        ]
        frames.append(encode_credit(self.window.advertise(now, reliably=False)))
        return channel.packet(b"".join(frames))

    def _living(self, preferred: int, control: Channel) -> Channel:
        """The channel to answer on. One whose buffer is full will do: an ACK is small."""
        for channel in (self.channels[preferred - 1], *self.channels):
            if channel.state is not ChannelState.CLOSED:
                return channel
        return control
