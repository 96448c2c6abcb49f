"""The receiver of a transfer, as a state machine. The driver contract stands in driving.py.

    WAITING_OFFER ──Offer──▶ OFFERED ──accept()──▶ RECEIVING ──every byte written──▶ VERIFYING
    (Ready is sent)             │ refuse()                                               │ all verified or dropped
                                ▼                                                        ▼ (Complete is sent)
                             FAILED ◀── Cancel, Failed, broken protocol, silence     REPORTED ──Bye──▶ DONE

Beside the bytes that come there may be such as it has already: held (known), of kept files (verified), and claimed. Of
each piece of what is claimed the sender tells a digest; if what is there is something else, it is wanted, and comes.

From the moment that every byte and every digest is here the sender is not needed any more. If it ends or vanishes
then, in whatever way, this side goes on without it (it hears and says nothing more), and ends as if nothing had
happened. Once Complete is sent nothing can fail: a sender that vanishes then only misses our goodbye.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from tallow_cli.errors import PeerProtocolError, TallowError, TransferStalled
from tallow_cli.measure.diagnosis import EndUse
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.answers import Answers
from tallow_cli.transfer.driving import (
    ChannelState,
    FileReady,
    FileWithdrawn,
    Finished,
    OfferArrived,
    OutgoingPacket,
    PieceDigested,
    ReceiveFigures,
    Reported,
)
from tallow_cli.transfer.endpoint import PACKETS_BUDGET_BYTES, TransferEndpoint
from tallow_cli.transfer.frames import Data, Floor, Frame, Ping
from tallow_cli.transfer.messages import (
    MAX_LATER_BYTES,
    PROTOCOL_VERSION,
    Accept,
    Bye,
    Complete,
    ControlMessage,
    Digests,
    Offer,
    PathReport,
    PieceDigests,
    Ready,
    Refuse,
    StreamEnd,
    UseReport,
    VerdictReport,
    Want,
    Why,
    Withdraw,
    bounded_sentence,
    pack_kept,
)
from tallow_cli.transfer.options import ReceiveOptions
from tallow_cli.transfer.pieces import Pieces
from tallow_cli.transfer.stream_book import StreamBook


class ReceiveState(Enum):
    WAITING_OFFER = "waiting-offer"
    OFFERED = "offered"
    RECEIVING = "receiving"
    VERIFYING = "verifying"
    REPORTED = "reported"  # all is published and the sender is being told
    DONE = "done"
    FAILED = "failed"


_REPORTS = (PathReport, VerdictReport)
# What the sender may say in which state; everything else breaks the protocol.
_EXPECTED: dict[ReceiveState, tuple[type, ...]] = {
    ReceiveState.WAITING_OFFER: (Offer,),
    ReceiveState.RECEIVING: (Digests, PieceDigests, Withdraw, StreamEnd, *_REPORTS),
    ReceiveState.VERIFYING: (Digests, PieceDigests, Withdraw, *_REPORTS),
    ReceiveState.REPORTED: (Bye, *_REPORTS),  # a report may be on its way while we complete
}
_ACCEPTED = (ReceiveState.RECEIVING, ReceiveState.VERIFYING, ReceiveState.REPORTED)


ReceiverEvent = OfferArrived | PieceDigested | FileReady | FileWithdrawn | Reported | Finished


class ReceiveMachine(TransferEndpoint[ReceiverEvent]):
    """Receives one manifest and one byte stream over `channels` data channels and a control channel."""

    def __init__(self, *, channels: int, now: float, options: ReceiveOptions | None = None) -> None:
        self._options = options = options or ReceiveOptions()
        self._answers = Answers(channels=channels, sealed=options.sealed, window_bytes=options.window_bytes)
        super().__init__(
            channels=self._answers.channels,
            now=now,
            sealed=options.sealed,
            max_message_bytes=options.max_message_bytes,
            idle_timeout_s=options.idle_timeout_s,
            assembly_limit_bytes=options.max_manifest_bytes + MAX_LATER_BYTES,
        )
        self._state = ReceiveState.WAITING_OFFER
        self._window = self._answers.window
        self._book = StreamBook(options)
        self._intake = self._book.intake
        self._remains: list[tuple[int, memoryview]] = []
        self._progress_at = now  # the last time something was learnt from the sender
        self._first_data_at: float | None = None
        self._path_report: PathReport | None = None
        self._verdict_report: VerdictReport | None = None
        self._bye_deadline: float | None = None
        self.parted_by: TallowError | None = (
            None  # how the sender ended, or vanished, if it did before the goodbye
        )
        self._control.send(Ready(PROTOCOL_VERSION, options.names))

    # For people -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> ReceiveState:
        return self._state

    @property
    def figures(self) -> ReceiveFigures:
        report, verdicts = self._path_report, self._verdict_report
        return ReceiveFigures(
            bytes_received=self._intake.received_bytes,
            bytes_written=self._book.written_bytes,
            unproven_bytes=self._book.claims.unproven_bytes,
            duplicate_bytes=self._intake.duplicate_bytes,
            backlog_bytes=self._window.backlog_bytes,
            total_bytes=self._intake.total_bytes,
            files_verified=self._book.files.verified,
            missing_packets=self._answers.missing_packets,
            first_data_at=self._first_data_at,
            path=None if report is None else report.path,
            verdict=None if verdicts is None else verdicts.recent_verdict,
            whole_verdict=None if verdicts is None else verdicts.whole_verdict,
        )

    # Consent --------------------------------------------------------------------------------------------------

    def accept(
        self,
        now: float,
        file_ends: Sequence[int] | None,
        held: RangeSet | None = None,
        kept: RangeSet | None = None,
        claims: RangeSet | None = None,
    ) -> None:
        """Agree to the offer. After a `Failed` it does nothing.

        `file_ends` has the stream offset at which each FILE entry of the manifest ends, in order (an empty
        file ends where it begins); the last is the length of the stream. None: one file of unknown length.

        `kept`: indexes of files that are here and verified: nothing of them is sent, and nothing is asked of the
        shell. `held`: bytes of the stream known to be on disk. `claims`: bytes that may be there, and will be proven or
        come after all. None of these come in `writes` (nor, of claims, before `piece_refuted`); where they overlap,
        kept counts over held over claimed. Of very many claims only the largest are made: see `claims`.

        Raises ValueError in any state but OFFERED, for ranges that are not in the stream, for more than
        MAX_HELD_RANGES held ones, and for kept files or claims if its length is unknown.
        """
        if self._over:
            return
        if self._state is not ReceiveState.OFFERED:
            raise ValueError("no offer to accept")
        kept = kept or RangeSet()
        said, claimed = self._book.open(file_ends, held or RangeSet(), kept, claims or RangeSet())
        credit = self._window.advertise(now, reliably=True)
        self._control.send(Accept(credit, tuple(said), pack_kept(kept), tuple(claimed)))
        self._state = ReceiveState.RECEIVING
        self._progress_at = now
        self._advance(now)

    @property
    def claims(self) -> Pieces:
        """What was claimed in `accept`, piece by piece."""
        return self._book.claims.pieces

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
        self._book.written(offset, size)
        self._answers.grant(now, size, self._control)
        self._advance(now)

    def remains(self) -> list[tuple[int, memoryview]]:
        """After the end: (offset, data) of what has come and `writes` had not given. The sender knows that it is here,
        and may have let go of it: whoever will go on later writes it. Call it once; nothing is to be reported."""
        remains, self._remains = self._remains, []
        return remains

    def piece_proved(self, now: float, index: int) -> None:
        """What is on disk of this piece has the digest that `PieceDigested` told: it counts as written."""
        if self._over:
            return
        if self._book.proved(index):
            self._advance(now)

    def piece_refuted(self, now: float, index: int) -> None:
        """What is on disk of this piece is something else, or cannot be read (then no digest need have come): the
        sender is asked for it, and it comes in `writes`."""
        if not self._over:
            self._book.refuted(index)

    def file_verified(self, now: float, index: int) -> None:
        """The file of a `FileReady` is verified, synced and published. After the last the sender is told."""
        if self._over:
            return
        self._book.files.file_verified(index)
        self._advance(now)

    def file_dropped(self, now: float, index: int) -> None:
        """The file of a `FileWithdrawn` was dropped."""
        if self._over:
            return
        self._book.files.file_dropped(index)
        self._advance(now)

    # The network ----------------------------------------------------------------------------------------------

    def report_use(self, now: float, use: EndUse) -> None:
        """Tell the sender what this end was at lately; about once a second, and when that changes."""
        if self._state in (ReceiveState.RECEIVING, ReceiveState.VERIFYING) and not self._parted:
            self._control.send(UseReport.of(use))

    def report_delivered(self, now: float) -> None:
        """After `Reported`: what lies below has had the whole report acknowledged, so the sender has it."""
        if self._state is ReceiveState.REPORTED and self._bye_deadline is None:
            self._bye_deadline = now + self._options.bye_timeout_s

    def packets(self, now: float) -> list[OutgoingPacket]:
        """What to send now, in order; at most about twice PACKETS_BUDGET_BYTES. Call again until it is empty."""
        self._awake_at = now
        if self._parted:
            return []
        for wanted in self._book.take_wanted():
            self._control.send(Want(wanted))
        packets = self._control.packets(PACKETS_BUDGET_BYTES)
        if self._state in _ACCEPTED:
            answer = self._answers.packet(now, self._control.channel)
            if answer is not None:
                packets.append(answer)
        if packets:
            self._life.spoke(now)
        return packets

    def next_timeout(self) -> float | None:
        if self._over or self._parted:
            return None
        deadlines = [self._life_deadline, *self._answers.deadlines()]
        if self._bye_deadline is not None:
            deadlines.append(self._bye_deadline)
        if self._waits_for_pieces:
            deadlines.append(self._progress_at + self._options.pieces_timeout_s)
        return min(deadlines)

    @property
    def _waits_for_pieces(self) -> bool:
        """All that the sender has to do is to tell the digests of claimed pieces."""
        waiting = self._state in (ReceiveState.RECEIVING, ReceiveState.VERIFYING) and not self._parted
        return waiting and self._book.claims.untold > 0 and self._intake.complete

    def _on_pause(self, late_s: float) -> None:
        super()._on_pause(late_s)
        self._progress_at += late_s

    def _on_timeout(self, now: float) -> None:
        if self._bye_deadline is not None and now >= self._bye_deadline:
            self._finish()
        timeout_s = self._options.pieces_timeout_s
        if self._waits_for_pieces and now >= self._progress_at + timeout_s:
            self._break_off(
                now, TransferStalled("the sender was to say whether what is here is right", timeout_s)
            )
        self._tend_life(now)

    # Inputs ---------------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._state in (ReceiveState.DONE, ReceiveState.FAILED)

    def _enter_failed(self, now: float) -> None:
        self._state = ReceiveState.FAILED
        self._remains = self._intake.writes()

    def _on_channel(self, now: float, channel: int, state: ChannelState) -> None:
        """The sender notices by itself; what we owed this channel's packets goes over another."""

    @property
    def _needs_sender(self) -> bool:
        """Whether anything of the transfer is still to come."""
        return self._state not in _ACCEPTED or not (
            self._book.is_all_here and self._book.files.all_digests_known
        )

    def _peer_ended(self, now: float, error: TallowError) -> None:
        self.parted_by = error
        if self._state is ReceiveState.REPORTED:
            self._finish()
        elif self._needs_sender:
            super()._peer_ended(now, error)
        else:
            self._part(now)

    def _break_off(self, now: float, error: TallowError) -> None:
        if self._needs_sender:
            super()._break_off(now, error)
        else:
            self._peer_ended(now, error)

    def _part(self, now: float) -> None:
        """Go on without the sender: what is here is all there was to come, and only the disk can fail now."""
        self._parted = True
        self._control.discard()
        self._advance(now)

    def _on_channels_lost(self, now: float) -> None:
        """Digests and goodbyes come over the control channel: with every byte here no other is needed."""
        if not (self._state in _ACCEPTED and self._book.is_all_here):
            super()._on_channels_lost(now)

    def _on_message(self, now: float, message: ControlMessage) -> None:
        if not isinstance(message, _EXPECTED.get(self._state, ())):
            raise PeerProtocolError(f"{type(message).__name__} while {self._state.value}")
        if not isinstance(message, _REPORTS):
            self._progress_at = now
        if isinstance(message, Offer):
            if message.version != PROTOCOL_VERSION:
                raise PeerProtocolError(f"transfer protocol version {message.version}")
            if len(message.manifest) > self._options.max_manifest_bytes:
                raise PeerProtocolError(f"a manifest of {len(message.manifest)} bytes")
            self._control.assembler.expect_at_most(MAX_LATER_BYTES)
            self._state = ReceiveState.OFFERED
            self._events.append(OfferArrived(message.manifest))
        elif isinstance(message, Digests):
            self._book.digests_untrusted(message.first, message.digests)
            self._advance(now)
        elif isinstance(message, PieceDigests):
            self._events += self._book.claims.digests_untrusted(message.first, message.digests)
            self._advance(now)
        elif isinstance(message, Withdraw):
            self._book.withdrawn_untrusted(message.index, message.size, message.why)
            self._advance(now)
        elif isinstance(message, StreamEnd):
            self._book.end_untrusted(message.total)
            self._advance(now)
        elif isinstance(message, PathReport):
            self._path_report = message
        elif isinstance(message, VerdictReport):
            self._verdict_report = message
        elif isinstance(message, Bye):
            self._finish()

    def _on_packet(self, now: float, channel: int, number: int, frames: list[Frame], size: int) -> None:
        super()._on_packet(now, channel, number, frames, size)
        if self._over or not self._answers.knows(channel):
            return
        # Only now is the packet known to be sound: what is acknowledged has been taken.
        wants_ack_at_once = self._intake.complete or any(isinstance(frame, Ping) for frame in frames)
        self._answers.arrived(now, channel, number, size, at_once=wants_ack_at_once)

    def _on_data_frame(self, now: float, channel: int, number: int, frame: Frame) -> None:
        if not self._answers.knows(channel) or self._state not in _ACCEPTED:
            raise PeerProtocolError(
                f"a {type(frame).__name__} frame on channel {channel} while {self._state.value}"
            )
        if isinstance(frame, Data):
            self._on_data(now, channel, frame)
        elif isinstance(frame, Floor):
            self._answers.floor(channel, number, frame.number)
        elif not isinstance(frame, Ping):
            raise PeerProtocolError(f"a {type(frame).__name__} frame from the sender")

    def _on_data(self, now: float, channel: int, frame: Data) -> None:
        if self._first_data_at is None:
            self._first_data_at = now
        news = self._intake.arrived_untrusted(frame.offset, frame.data)
        if news:
            self._window.take(news)
            self._progress_at = now
        if self._intake.has_excused:
            unneeded = self._intake.came_all_the_same(frame.offset, len(frame.data))
            self._window.take(unneeded)
            self._answers.grant(now, unneeded, self._control)
        if frame.end_of_chunk and news:
            self._channels[channel].counters.chunks_received += 1

    def _advance(self, now: float) -> None:
        """Moves on as far as what is written and verified allows."""
        for index, digest in self._book.files.newly_ready():
            if isinstance(digest, Why):
                self._events.append(FileWithdrawn(index, digest))
            else:
                self._events.append(FileReady(index, digest))
        if self._state is ReceiveState.RECEIVING and self._book.files.all_written:
            self._state = ReceiveState.VERIFYING
        if self._state is ReceiveState.VERIFYING and self._book.files.all_settled and self._is_believed:
            self._state = ReceiveState.REPORTED
            self._events.append(Reported())
            if self._parted:
                self._finish()
            else:
                self._control.send(Complete(self._book.files.written_bytes, self._book.files.verified))

    @property
    def _is_believed(self) -> bool:
        """Whether the sender would take a report for true, or hears none anyway."""
        return not self._book.claims.untold or self._parted

    def _finish(self) -> None:
        self._state = ReceiveState.DONE
        self._events.append(Finished())
