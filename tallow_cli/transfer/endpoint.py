"""What both ends of a transfer share: the control channel, signs of life, and every way to end early."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from tallow_cli.errors import (
    Loss,
    PeerCancelled,
    PeerFailed,
    PeerProtocolError,
    PeerVanished,
    TallowError,
    TransferStalled,
)
from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.control import LATE_S, ControlLink, Liveness
from tallow_cli.transfer.driving import CONTROL_CHANNEL, ChannelState, Failed
from tallow_cli.transfer.frames import Control, Frame, Ping, parse_frames_untrusted
from tallow_cli.transfer.messages import Cancel, ControlMessage, bounded_sentence
from tallow_cli.transfer.messages import Failed as FailedMessage

# Of one `packets` call, for control and for data each: the shell's loop gets a turn in between.
PACKETS_BUDGET_BYTES = 256 * 1024

Event = TypeVar("Event")


class TransferEndpoint(ABC, Generic[Event]):
    """Base of both machines."""

    def __init__(
        self,
        *,
        channels: Iterable[Channel],
        now: float,
        sealed: bool,
        max_message_bytes: int,
        idle_timeout_s: float,
        assembly_limit_bytes: int,
    ) -> None:
        self._control = ControlLink(
            sealed=sealed, max_message_bytes=max_message_bytes, assembly_limit_bytes=assembly_limit_bytes
        )
        self._life = Liveness(now, idle_timeout_s)
        self._channels = {channel.index: channel for channel in channels}
        if not self._channels:
            raise ValueError("a transfer needs a data channel")
        self._parted = False  # the peer has ended it, and this side goes on without it
        self._awake_at = now  # the last time the shell asked or told anything that takes its time
        self._events: list[Event | Failed] = []

    @property
    def channels(self) -> Mapping[int, Channel]:
        """The data channels by their indexes: to look at, for people."""
        return self._channels

    # For the shell ------------------------------------------------------------------------------------------

    def channel_state(self, now: float, channel: int, state: ChannelState) -> None:
        """`channel` (0: control) is now open, or closed for good. Which of them is paused is found out here."""
        if state is ChannelState.PAUSED:
            raise ValueError("a channel is paused by what `buffered` says")
        if channel == CONTROL_CHANNEL:
            self._control.channel.become(state)
            if self._control.channel.is_gone:
                self.connection_lost(now, PeerVanished("the control channel closed", Loss.CLOSED))
            return
        if channel not in self._channels:
            raise ValueError(f"no channel {channel}")
        record = self._channels[channel]
        previous = record.state
        record.become(state)
        if state is previous or self._over:
            return
        self._on_channel(now, channel, state)
        # Channels open together, so when one was open and none is, none will be.
        channels = self._channels.values()
        if any(each.is_gone for each in channels) and self._all_closed and not self._over:
            self._on_channels_lost(now)

    def buffered(self, now: float, channel: int, size_bytes: int) -> None:
        """Of what was handed to `channel` (header, payload and tag) the last `size_bytes` have not left yet. What is
        said of a closed one does not count."""
        record = self._channels.get(channel)
        if record is None:
            raise ValueError(f"no channel {channel}")
        if record.state is not ChannelState.CLOSED:
            record.buffered_bytes = size_bytes

    def connection_lost(self, now: float, error: PeerVanished) -> None:
        """The connection under the channels has ended, and `error` says how. Call it before the channels' own ends
        are told: they know no reason."""
        if not self._over:
            self._peer_ended(now, error)

    def receive(self, now: float, channel: int, number: int, payload: bytes | bytearray | memoryview) -> None:
        """A packet's plaintext payload. The machine may keep views of it for as long as it needs."""
        if channel != CONTROL_CHANNEL and channel not in self._channels:
            raise ValueError(f"no channel {channel}")
        if self._over or self._parted:
            return
        self._awake_at = now
        self._life.heard(now)
        try:
            if channel == CONTROL_CHANNEL:
                self._control.check_number(number)
            else:
                self._channels[channel].received(len(payload))
            frames = parse_frames_untrusted(payload)
            self._on_packet(now, channel, number, frames, len(payload))
        except PeerProtocolError as error:
            self._break_off(now, error)

    def protocol_broken(self, now: float, error: PeerProtocolError) -> None:
        """The shell was given a packet that it cannot even open."""
        if not self._over:
            self._break_off(now, error)

    def handle_timeout(self, now: float) -> None:
        """The time `next_timeout` named has come. Early and late calls are harmless: what is late because this
        process did not run is not held against the peer."""
        due = self.next_timeout()
        if due is None:
            return
        late_s = now - max(due, self._awake_at)
        self._awake_at = now
        if late_s > LATE_S:
            self._on_pause(late_s)
        self._on_timeout(now)

    @abstractmethod
    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`, if nothing else happens before. None: not at all."""

    def events(self) -> list[Event | Failed]:
        """What happened since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def cancel(self, now: float) -> None:
        """The user stops the transfer; the peer is told. State FAILED; no event follows, the shell knows."""
        if not self._over:
            self._farewell(now, Cancel())

    def abort(self, now: float, kind: str, sentence: str) -> None:
        """This side cannot go on. `kind` is the name of the exit code, `sentence` is for the peer's user."""
        if not self._over:
            self._farewell(now, FailedMessage(kind[:40], bounded_sentence(sentence)))

    # For the subclass ---------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def _over(self) -> bool:
        """Whether the state is final."""

    @abstractmethod
    def _enter_failed(self, now: float) -> None:
        """The final state of every end but success."""

    @abstractmethod
    def _on_timeout(self, now: float) -> None:
        """A deadline has come, or may have."""

    @abstractmethod
    def _on_channel(self, now: float, channel: int, state: ChannelState) -> None:
        """A data channel changed its state."""

    @abstractmethod
    def _on_data_frame(self, now: float, channel: int, number: int, frame: Frame) -> None:
        """Any frame but CONTROL. Raises PeerProtocolError."""

    @abstractmethod
    def _on_message(self, now: float, message: ControlMessage) -> None:
        """Any control message but Cancel and Failed. Raises PeerProtocolError."""

    def _on_packet(self, now: float, channel: int, number: int, frames: list[Frame], size: int) -> None:
        for frame in frames:
            if isinstance(frame, Control):
                if channel != CONTROL_CHANNEL:
                    raise PeerProtocolError("a control message on a data channel")
                message = self._control.assembler.feed(frame.data, more=frame.more)
                if message is not None:
                    self._on_any_message(now, message)
            elif not (isinstance(frame, Ping) and channel == CONTROL_CHANNEL):
                self._on_data_frame(now, channel, number, frame)
            if self._over:
                return

    def _on_any_message(self, now: float, message: ControlMessage) -> None:
        if isinstance(message, Cancel):
            self._peer_ended(now, PeerCancelled())
        elif isinstance(message, FailedMessage):
            self._peer_ended(now, PeerFailed(message.sentence, message.kind))
        else:
            self._on_message(now, message)

    def _peer_ended(self, now: float, error: TallowError) -> None:
        """The peer ended it, or is gone: nothing more comes from there, and nothing said here would be heard."""
        self._fail(now, error)

    def _on_pause(self, late_s: float) -> None:
        """This process did not run for `late_s`."""
        self._life.missed(late_s)

    def _on_channels_lost(self, now: float) -> None:
        self._break_off(now, PeerVanished("every data channel closed", Loss.CLOSED))

    @property
    def _all_closed(self) -> bool:
        return all(channel.state is ChannelState.CLOSED for channel in self._channels.values())

    def _fail(self, now: float, error: TallowError) -> None:
        """It is over, and there is nobody to tell."""
        self._control.discard()
        self._enter_failed(now)
        self._events.append(Failed(error))

    def _break_off(self, now: float, error: TallowError) -> None:
        """We end it because of the peer: tell it and the shell."""
        self._farewell(now, FailedMessage(error.kind, bounded_sentence(_as_the_peer_reads_it(error))))
        self._events.append(Failed(error))

    def _farewell(self, now: float, message: ControlMessage) -> None:
        self._control.discard()
        self._control.send(message)
        self._enter_failed(now)

    @property
    def _life_deadline(self) -> float:
        return self._life.deadline(may_speak=self._control.channel.state is ChannelState.OPEN)

    def _tend_life(self, now: float) -> bool:
        """On a timeout: notices a vanished peer, keeps an idle connection alive. False if it is over."""
        if self._over:
            return False
        if self._life.vanished(now):
            waited_s = self._life.idle_timeout_s
            self._peer_ended(now, PeerVanished(f"nothing was heard for {waited_s:.0f} s"))
            return False
        if self._control.channel.state is ChannelState.OPEN:
            ping = self._life.keepalive(now)
            if ping is not None:
                self._control.send_frames(ping)
        return True


def _as_the_peer_reads_it(error: TallowError) -> str:
    """Our verdict on the peer, from its side; it goes on "The other side had to stop: "."""
    if isinstance(error, PeerProtocolError):
        return f"it received something that breaks the protocol ({error.detail})."
    if isinstance(error, TransferStalled):
        return "it has waited for too long."
    return "it lost the channels that data came through."
