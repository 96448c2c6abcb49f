"""The other end of a transfer machine, by hand: says exactly what a test wants, honest or not."""

from __future__ import annotations

from typing import Protocol

from tallow_cli.transfer.driving import ChannelState, OutgoingPacket
from tallow_cli.transfer.frames import (
    Control,
    Data,
    Frame,
    encode_control,
    encode_frames,
    parse_frames_untrusted,
)
from tallow_cli.transfer.messages import ControlAssembler, ControlMessage, encode_message


class Machine(Protocol):
    def channel_state(self, now: float, channel: int, state: ChannelState) -> None: ...
    def receive(self, now: float, channel: int, number: int, payload: bytes) -> None: ...
    def packets(self, now: float) -> list[OutgoingPacket]: ...


class HandPeer:
    """Feeds one machine and keeps what it sends."""

    def __init__(self, machine: Machine, channels: int = 2) -> None:
        self.machine = machine
        self.now = 0.0
        self.messages: list[ControlMessage] = []
        self.frames: list[tuple[int, int, Frame]] = []  # (channel, number, frame), CONTROL left out
        self._numbers = dict.fromkeys(range(channels + 1), 0)
        self._assembler = ControlAssembler()
        for channel in range(channels + 1):
            machine.channel_state(0.0, channel, ChannelState.OPEN)

    def say(self, message: ControlMessage) -> None:
        self.feed(0, encode_control(encode_message(message), more=False))

    def send(self, channel: int, *frames: Frame, number: int | None = None) -> None:
        self.feed(channel, encode_frames(frames), number)

    def feed(self, channel: int, payload: bytes, number: int | None = None) -> None:
        if number is None:
            number = self._numbers[channel]
        self._numbers[channel] = number + 1
        self.machine.receive(self.now, channel, number, payload)

    def collect(self) -> list[tuple[int, int, Frame]]:
        """What the machine sends now; control messages go to `messages`. Returns the other new frames."""
        before = len(self.frames)
        while packets := self.machine.packets(self.now):
            for packet in packets:
                for frame in parse_frames_untrusted(packet.payload):
                    if isinstance(frame, Control):
                        message = self._assembler.feed(frame.data, more=frame.more)
                        if message is not None:
                            self.messages.append(message)
                    else:
                        self.frames.append((packet.channel, packet.number, frame))
        return self.frames[before:]

    def data(self) -> list[tuple[int, int, Data]]:
        """The DATA frames among what the machine sends now."""
        return [
            (channel, number, frame) for channel, number, frame in self.collect() if isinstance(frame, Data)
        ]
