"""The receiver of a transfer, as a state machine. The driver contract stands in driving.py.

    WAITING_OFFER ──Offer──▶ OFFERED ──accept()──▶ RECEIVING ──every byte written──▶ VERIFYING
    (Ready is sent)             │ refuse()                                               │ all verified or dropped
                                ▼                                                        ▼ (Complete is sent)
                             FAILED ◀── Cancel, Failed, broken protocol, silence     REPORTED ──Bye──▶ DONE

From the moment that every byte and every digest is here the sender is not needed any more. If it ends or vanishes
then, in whatever way, this side goes on without it (it hears and says nothing more), and ends as if nothing had
happened. Once Complete is sent nothing can fail: a sender that vanishes then only misses our goodbye.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tallow_cli.errors import PeerProtocolError, TallowError
from tallow_cli.offer.manifest import MAX_MANIFEST_BYTES
from tallow_cli.offer.name_rules import POSIX, NameRules
from tallow_cli.transfer.acks import AckTracker
from tallow_cli.transfer.assembly import FileLedger, StreamIntake
from tallow_cli.transfer.driving import (
    ChannelCounters,
    ChannelState,
    FileReady,
    FileWithdrawn,
    Finished,
    OfferArrived,
    OutgoingPacket,
    ReceiveFigures,
    Reported,
)
from tallow_cli.transfer.endpoint import PACKETS_BUDGET_BYTES, TransferEndpoint
from tallow_cli.transfer.flow import ReceiveWindow
from tallow_cli.transfer.frames import Data, Floor, Frame, Ping, encode_credit
from tallow_cli.transfer.messages import (
    MAX_HELD_RANGES,
    MAX_LATER_BYTES,
    PROTOCOL_VERSION,
    Accept,
    Bye,
    Complete,
    ControlMessage,
    Digests,
    Offer,
    PathReport,
    Ready,
    Refuse,
    StreamEnd,
    Why,
    Withdraw,
    bounded_sentence,
)


class ReceiveState(Enum):
    WAITING_OFFER = "waiting-offer"
    OFFERED = "offered"
    RECEIVING = "receiving"
    VERIFYING = "verifying"
    REPORTED = "reported"  # all is published and the sender is being told
    DONE = "done"
    FAILED = "failed"


# What the sender may say in which state; everything else breaks the protocol.
_EXPECTED: dict[ReceiveState, tuple[type, ...]] = {
    ReceiveState.WAITING_OFFER: (Offer,),
    ReceiveState.RECEIVING: (Digests, Withdraw, StreamEnd, PathReport),
    ReceiveState.VERIFYING: (Digests, Withdraw, PathReport),
    ReceiveState.REPORTED: (Bye, PathReport),  # a report may be on its way while we complete
}
_ACCEPTED = (ReceiveState.RECEIVING, ReceiveState.VERIFYING, ReceiveState.REPORTED)


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    sealed: bool = True  # payload is sealed by the shell: marks the header
    max_message_bytes: int = 262_144  # the peer's negotiated maximum for one DataChannel message
    window_bytes: int = 32 * 1024 * 1024  # bound of data received and not yet written
    max_manifest_bytes: int = MAX_MANIFEST_BYTES
    names: NameRules = POSIX  # what names have to keep where it goes; the sender is told
    idle_timeout_s: float = 60.0  # silence of the peer after which it is gone
    bye_timeout_s: float = 5.0  # how long to wait for the sender's goodbye once it has our report


class ReceiveMachine(TransferEndpoint[OfferArrived | FileReady | FileWithdrawn | Reported | Finished]):
    """Receives one manifest and one byte stream over `channels` data channels and a control channel."""

    def __init__(self, *, channels: int, now: float, options: ReceiveOptions | None = None) -> None:
        self._options = options = options or ReceiveOptions()
        super().__init__(
            channels=channels,
            now=now,
            sealed=options.sealed,
            max_message_bytes=options.max_message_bytes,
            idle_timeout_s=options.idle_timeout_s,
            assembly_limit_bytes=options.max_manifest_bytes + MAX_LATER_BYTES,
        )
        self._state = ReceiveState.WAITING_OFFER
        self._window = ReceiveWindow(options.window_bytes)
        self._intake = StreamIntake()
        self._files = FileLedger(())
        self._trackers = {index: AckTracker() for index in range(1, channels + 1)}
        self._counters = {index: ChannelCounters() for index in range(1, channels + 1)}
        self._next_numbers = dict.fromkeys(range(1, channels + 1), 0)
        self._first_data_at: float | None = None
        self._path_report: PathReport | None = None
        self._bye_deadline: float | None = None
        self._control.send(Ready(PROTOCOL_VERSION, options.names))

    # For people -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> ReceiveState:
        return self._state

    @property
    def counters(self) -> Mapping[int, ChannelCounters]:
        """Per data channel, by its index."""
        return self._counters

    @property
    def figures(self) -> ReceiveFigures:
        report = self._path_report
        return ReceiveFigures(
            bytes_received=self._intake.received_bytes,
            bytes_written=self._files.written_bytes,
            duplicate_bytes=self._intake.duplicate_bytes,
            backlog_bytes=self._window.backlog_bytes,
            total_bytes=self._intake.total_bytes,
            files_verified=self._files.verified,
            missing_packets=sum(tracker.missing_packets for tracker in self._trackers.values()),
            first_data_at=self._first_data_at,
            rtt_s=None if report is None else report.rtt_us / 1e6,
            jitter_s=None if report is None else report.jitter_us / 1e6,
            packet_loss=None if report is None else report.loss_ppm / 1e6,
        )

    # Consent --------------------------------------------------------------------------------------------------

    def accept(
        self, now: float, file_ends: Sequence[int] | None, held: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Agree to the offer.

        `file_ends` has the stream offset at which each FILE entry of the manifest ends, in order (an empty
        file ends where it begins); the last is the length of the stream. None: one file of unknown length.
        `held` are half-open, ascending, disjoint ranges of the stream already on disk: they will not be sent,
        nor come in `writes`. Raises ValueError in any state but OFFERED (after a `Failed` it does nothing).
        """
        if self._over:
            return
        if self._state is not ReceiveState.OFFERED:
            raise ValueError("no offer to accept")
        if len(held) > MAX_HELD_RANGES:
            raise ValueError(f"{len(held)} held ranges")
        self._files = FileLedger(file_ends)
        if file_ends is not None:
            self._intake.end_untrusted(file_ends[-1] if file_ends else 0)
        for start, end in held:
            self._intake.hold(start, end)
            self._files.written(start, end - start)
        self._control.send(Accept(self._window.advertise(now, reliably=True), tuple(held)))
        self._state = ReceiveState.RECEIVING
        self._advance(now)

    def refuse(self, now: float, kind: str, reason: str) -> None:
        """Decline; `reason` is shown to the sender's user, `kind` is an exit code's name. State becomes FAILED,
        without an event.
        """
        if not self._over:
            self._farewell(now, Refuse(kind, bounded_sentence(reason)))

    def cancel(self, now: float) -> None:
        if self._state is not ReceiveState.REPORTED:
            super().cancel(now)

    def abort(self, now: float, kind: str, sentence: str) -> None:
        if self._state is not ReceiveState.REPORTED:
            super().abort(now, kind, sentence)

    # The disk -------------------------------------------------------------------------------------------------

    @property
    def received_bytes(self) -> int:
        """Distinct bytes of the stream that have come."""
        return self._intake.received_bytes

    @property
    def waiting_bytes(self) -> int:
        """What `writes` would give now."""
        return self._intake.waiting_bytes

    def writes(self) -> list[tuple[int, memoryview]]:
        """(offset, data) to write, each byte of the stream exactly once, in order of arrival.

        Take them when the disk is ready for them: small neighbours that wait meanwhile are joined.
        """
        return self._intake.writes()

    def written(self, now: float, offset: int, size: int) -> None:
        """A range `writes` gave has been written; call it once for each.

        A sink that keeps data in memory until it can write in order reports only then: this is what grants
        the sender new credit.
        """
        if self._over:
            return
        self._intake.finished_write()
        self._window.written += size
        self._files.written(offset, size)
        if self._window.is_update_due(now):
            self._control.send_frames(encode_credit(self._window.advertise(now, reliably=True)))
        self._advance(now)

    def file_verified(self, now: float, index: int) -> None:
        """The file of a `FileReady` is verified, synced and published. After the last the sender is told."""
        if self._over:
            return
        self._files.file_verified(index)
        self._advance(now)

    def file_dropped(self, now: float, index: int) -> None:
        """The file of a `FileWithdrawn` was dropped."""
        if self._over:
            return
        self._files.file_dropped(index)
        self._advance(now)

    # The network ----------------------------------------------------------------------------------------------

    def report_delivered(self, now: float) -> None:
        """After `Reported`: what lies below has had the whole report acknowledged, so the sender has it."""
        if self._state is ReceiveState.REPORTED and self._bye_deadline is None:
            self._bye_deadline = now + self._options.bye_timeout_s

    def packets(self, now: float) -> list[OutgoingPacket]:
        """What to send now, in order; at most about twice PACKETS_BUDGET_BYTES. Call again until it is empty."""
        self._awake_at = now
        if self._parted:
            return []
        packets = self._control.packets(PACKETS_BUDGET_BYTES)
        if self._state in _ACCEPTED:
            due = [index for index, tracker in self._trackers.items() if _is_due(tracker, now)]
            if due:
                packets.append(self._acknowledge(now, due[0]))
        if packets:
            self._life.spoke(now)
        return packets

    def next_timeout(self) -> float | None:
        if self._over or self._parted:
            return None
        deadlines = [self._life_deadline]
        deadlines += [tracker.due_at for tracker in self._trackers.values() if tracker.due_at is not None]
        if self._bye_deadline is not None:
            deadlines.append(self._bye_deadline)
        return min(deadlines)

    def _on_timeout(self, now: float) -> None:
        if self._bye_deadline is not None and now >= self._bye_deadline:
            self._finish()
        self._tend_life(now)

    # Inputs ---------------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._state in (ReceiveState.DONE, ReceiveState.FAILED)

    def _enter_failed(self, now: float) -> None:
        self._state = ReceiveState.FAILED
        self._intake.discard()

    def _on_channel(self, now: float, channel: int, state: ChannelState) -> None:
        """The sender notices by itself; what we owed this channel's packets goes over another."""

    @property
    def _needs_sender(self) -> bool:
        """Whether anything of the transfer is still to come."""
        return self._state not in _ACCEPTED or not (self._intake.complete and self._files.all_digests_known)

    def _peer_ended(self, now: float, error: TallowError) -> None:
        if self._state is ReceiveState.REPORTED:
            self._finish()
        elif self._needs_sender:
            super()._peer_ended(now, error)
        else:
            self._part()

    def _break_off(self, now: float, error: TallowError) -> None:
        if self._needs_sender:
            super()._break_off(now, error)
        else:
            self._peer_ended(now, error)

    def _part(self) -> None:
        """Go on without the sender: what is here is all there was to come, and only the disk can fail now."""
        self._parted = True
        self._control.discard()

    def _on_channels_lost(self, now: float) -> None:
        """Digests and goodbyes come over the control channel: with every byte here no other is needed."""
        if not (self._state in _ACCEPTED and self._intake.complete):
            super()._on_channels_lost(now)

    def _on_message(self, now: float, message: ControlMessage) -> None:
        if not isinstance(message, _EXPECTED.get(self._state, ())):
            raise PeerProtocolError(f"{type(message).__name__} while {self._state.value}")
        if isinstance(message, Offer):
            if message.version != PROTOCOL_VERSION:
                raise PeerProtocolError(f"transfer protocol version {message.version}")
            if len(message.manifest) > self._options.max_manifest_bytes:
                raise PeerProtocolError(f"a manifest of {len(message.manifest)} bytes")
            self._control.assembler.expect_at_most(MAX_LATER_BYTES)
            self._state = ReceiveState.OFFERED
            self._events.append(OfferArrived(message.manifest))
        elif isinstance(message, Digests):
            self._files.digests_untrusted(message.first, message.digests)
            self._advance(now)
        elif isinstance(message, Withdraw):
            self._on_withdraw(now, message)
        elif isinstance(message, StreamEnd):
            self._intake.end_untrusted(message.total)
            self._files.end(message.total)
            self._advance(now)
        elif isinstance(message, PathReport):
            self._path_report = message
        elif isinstance(message, Bye):
            self._finish()

    def _on_withdraw(self, now: float, message: Withdraw) -> None:
        start, end = self._files.withdrawn_untrusted(message.index, message.size, message.why)
        for gap_start, gap_end in self._intake.excuse(start, end):
            self._files.written(gap_start, gap_end - gap_start)
        self._advance(now)

    def _on_packet(self, now: float, channel: int, number: int, frames: list[Frame], size: int) -> None:
        super()._on_packet(now, channel, number, frames, size)
        if self._over or channel not in self._trackers:
            return
        # Only now is the packet known to be sound: what is acknowledged has been taken.
        wants_ack_at_once = self._intake.complete or any(isinstance(frame, Ping) for frame in frames)
        self._trackers[channel].arrived(now, number, size, at_once=wants_ack_at_once)

    def _on_data_frame(self, now: float, channel: int, number: int, frame: Frame) -> None:
        if channel not in self._trackers or self._state not in _ACCEPTED:
            raise PeerProtocolError(
                f"a {type(frame).__name__} frame on channel {channel} while {self._state.value}"
            )
        if isinstance(frame, Data):
            self._on_data(now, channel, frame)
        elif isinstance(frame, Floor):
            self._trackers[channel].floor(number, frame.number)
        elif not isinstance(frame, Ping):
            raise PeerProtocolError(f"a {type(frame).__name__} frame from the sender")

    def _on_data(self, now: float, channel: int, frame: Data) -> None:
        if self._first_data_at is None:
            self._first_data_at = now
        news = self._intake.arrived_untrusted(frame.offset, frame.data)
        self._window.take(news)
        counters = self._counters[channel]
        counters.messages_received += 1
        counters.bytes_received += len(frame.data)
        if frame.end_of_chunk and news:
            counters.chunks_received += 1

    def _advance(self, now: float) -> None:
        """Moves on as far as what is written and verified allows."""
        for index, digest in self._files.newly_ready():
            if isinstance(digest, Why):
                self._events.append(FileWithdrawn(index, digest))
            else:
                self._events.append(FileReady(index, digest))
        if self._state is ReceiveState.RECEIVING and self._files.all_written:
            self._state = ReceiveState.VERIFYING
        if self._state is ReceiveState.VERIFYING and self._files.all_settled:
            self._state = ReceiveState.REPORTED
            self._events.append(Reported())
            if self._parted:
                self._finish()
            else:
                self._control.send(Complete(self._files.written_bytes, self._files.verified))

    def _finish(self) -> None:
        self._state = ReceiveState.DONE
        self._events.append(Finished())

    # Outputs --------------------------------------------------------------------------------------------------

    def _acknowledge(self, now: float, due: int) -> OutgoingPacket:
        """One packet with the ACKs of every channel that wants one, and the credit."""
        frames = [
            tracker.acknowledge(now, index) for index, tracker in self._trackers.items() if tracker.pending
        ]
        frames.append(encode_credit(self._window.advertise(now, reliably=False)))
        payload = b"".join(frames)
        channel = self._living(due)
        if channel is None:
            return self._control.packet(payload)
        number = self._next_numbers[channel]
        self._next_numbers[channel] += 1
        return self._packet(channel, number, payload)

    def _living(self, preferred: int) -> int | None:
        """A data channel to answer on; None when all are closed. A paused one will do: an ACK is small."""
        for index in (preferred, *self._trackers):
            if self._channel_states[index] is not ChannelState.CLOSED:
                return index
        return None


def _is_due(tracker: AckTracker, now: float) -> bool:
    return tracker.due_at is not None and tracker.due_at <= now
