"""The sender of a transfer, as a state machine. The driver contract stands in driving.py.

    WAITING ──Ready──▶ READY ──offer()──▶ OFFERING ──Accept──▶ SENDING ──all acknowledged, all settled──▶ COMPLETING
                                             │ Refuse             │ ▲──────────────── Want ─────────────────┘ │
                                             │                    └───────── Complete ──────▶ DONE ◀── Complete ┘
                                             └──▶ FAILED ◀── Cancel, Failed, broken protocol, silence, no channel left

A file that cannot be read to its end is withdrawn in place of its digest: the rest of the stream goes on.

What the receiver holds, files that it keeps and ranges that it claims to have are not sent. Of each piece of a claim it
is told a digest instead, beside the data, and it may want any of them after all: that is read and sent like the rest.

A Complete may overtake the last ACKs; it is true once every byte was sent and every digest with it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from enum import Enum

from tallow_cli.errors import (
    PeerProtocolError,
    PeerRefused,
    PeerVanished,
    ReportMissing,
    TallowError,
    TransferStalled,
)
from tallow_cli.measure.account import Verdict
from tallow_cli.measure.causes import Stop
from tallow_cli.measure.diagnosis import EndUse
from tallow_cli.measure.path_summary import PathSummary
from tallow_cli.offer.manifest import MAX_MANIFEST_BYTES
from tallow_cli.transfer.driving import (
    Accepted,
    ChannelState,
    ChunkSizer,
    Finished,
    OutgoingPacket,
    PeerReady,
    ReadRequest,
    SendFigures,
)
from tallow_cli.transfer.endpoint import PACKETS_BUDGET_BYTES, TransferEndpoint
from tallow_cli.transfer.frames import Ack, Credit, Frame
from tallow_cli.transfer.messages import (
    MAX_ANSWER_BYTES,
    MAX_DIGESTS,
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
    unpack_kept_untrusted,
)
from tallow_cli.transfer.options import SendOptions
from tallow_cli.transfer.owed import FilesOwed
from tallow_cli.transfer.parallel_channels import ParallelChannelManager
from tallow_cli.transfer.pieces import Pieces
from tallow_cli.transfer.sendbuffer import SendBuffer

READ_AHEAD_S = 0.1  # of data at the present rate: the disk's hiccups do not reach the network
MIN_READ_AHEAD_CHUNKS = 2  # one to send, one being read


class SendState(Enum):
    WAITING = "waiting"
    READY = "ready"  # the receiver is; the shell shall offer
    OFFERING = "offering"
    SENDING = "sending"
    COMPLETING = "completing"
    DONE = "done"
    FAILED = "failed"


# What the receiver may say in which state; everything else breaks the protocol.
_EXPECTED: dict[SendState, tuple[type, ...]] = {
    SendState.WAITING: (Ready,),
    SendState.OFFERING: (Accept, Refuse),
    SendState.SENDING: (Want, UseReport, Complete),
    SendState.COMPLETING: (Want, UseReport, Complete),
}


class SendMachine(TransferEndpoint[PeerReady | Accepted | Finished]):
    """Sends one manifest and one byte stream over `channels` data channels and a control channel.

    `chunk_sizer` is asked for the size of each next chunk.
    """

    def __init__(
        self,
        *,
        channels: int,
        chunk_sizer: ChunkSizer,
        now: float,
        options: SendOptions | None = None,
    ) -> None:
        self._options = options = options or SendOptions()
        self._buffer = SendBuffer(None, options.memory_bytes)
        self._data = ParallelChannelManager(self._buffer, channels=channels, now=now, options=options)
        super().__init__(
            channels=self._data.channels,
            now=now,
            sealed=options.sealed,
            max_message_bytes=options.max_message_bytes,
            idle_timeout_s=options.idle_timeout_s,
            assembly_limit_bytes=MAX_ANSWER_BYTES,
        )
        self._state = SendState.WAITING
        self._file_ends = array("q")
        self._stream_bytes = 0  # of a stream of unknown length, what earlier attempts have read
        self._held_bytes = 0  # what the receiver had or claimed beforehand, or will never get
        self._owed = FilesOwed(0)
        self._withdrawn = 0
        self._pieces = Pieces()
        self._pieces_told = 0
        self._untold_bytes = 0  # of the other pieces
        self._chunk_sizer = chunk_sizer
        self._receiver_use: EndUse | None = None

    # For people -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> SendState:
        return self._state

    @property
    def figures(self) -> SendFigures:
        """Numbers for people and for `AdaptiveBitrateController.report_metrics`; cheap, ask at any time."""
        data, buffer = self._data, self._buffer
        return SendFigures(
            bytes_acked=buffer.acked_bytes,
            bytes_written=self._written_bytes,
            unproven_bytes=self._untold_bytes,
            bytes_in_flight=data.in_flight_bytes,
            bytes_sent=data.sent_bytes,
            retained_bytes=buffer.retained_bytes,
            total_bytes=buffer.total_bytes,
            rate_bytes_per_s=data.rate.bytes_per_s,
            smoothed_rtt_s=data.rtt.smoothed_s,
            latest_rtt_s=data.rtt.latest_s,
            min_rtt_s=data.rtt.min_s,
            jitter_s=data.rtt.jitter.value_s,
            message_loss=data.loss.message_loss,
            packet_loss=data.loss.packet_loss,
            message_bytes=data.sizer.message_bytes,
            credit_bytes=data.credit.left,
            read_bytes=buffer.read_bytes,
            first_data_at=data.first_data_at,
            receiver_use=self._receiver_use,
        )

    def take_stops(self, now: float) -> dict[Stop, float]:
        """For how many seconds since the last call new data waited, and for what."""
        return self._data.stops.take(now)

    @property
    def _written_bytes(self) -> int:
        acked_bytes = self._buffer.acked_bytes
        if self._state is SendState.DONE:  # `complete` may overtake the last ACKs
            return self._buffer.total_bytes or 0
        return min(acked_bytes, self._held_bytes + self._data.credit.regained)

    # The offer ------------------------------------------------------------------------------------------------

    def offer(
        self, now: float, manifest: bytes, file_ends: Sequence[int] | None, stream_bytes: int = 0
    ) -> None:
        """Answer `PeerReady`. After a `Failed` it does nothing.

        `manifest` is opaque. `file_ends` has the stream offset at which each of its FILE entries ends, in order; the
        last is the length of the stream. None: one file of unknown length, of which `stream_bytes` were read in
        earlier attempts. Each file but those the receiver keeps shall be settled by `digests` or `withdraw`. Raises
        ValueError in any state but READY.
        """
        if self._over:
            return
        if self._state is not SendState.READY:
            raise ValueError("nobody is ready for an offer, or it was made")
        if len(manifest) > MAX_MANIFEST_BYTES:
            raise ValueError(f"a manifest of {len(manifest)} bytes")
        self._state = SendState.OFFERING
        self.all_handed_over = (
            False  # when it was cancelled: every byte acknowledged, and every digest on its way
        )
        if file_ends is None:
            self._stream_bytes = stream_bytes
            self._owed = FilesOwed(1)
        else:
            self._file_ends = array("q", file_ends)
            self._buffer.total_bytes = file_ends[-1] if file_ends else 0
            self._owed = FilesOwed(len(file_ends))
        self._control.send(Offer(PROTOCOL_VERSION, manifest))

    # Reading and digests --------------------------------------------------------------------------------------

    def next_read(self, now: float) -> ReadRequest | None:
        """The next range to read, or None for now: the lowest that the receiver has not and that was not asked for.

        Of a stream of unknown length only one is outstanding at a time.
        """
        if self._state is not SendState.SENDING:
            return None
        chunk_bytes = self._chunk_sizer.chunk_size
        ahead_bytes = max(
            MIN_READ_AHEAD_CHUNKS * chunk_bytes, int(self._data.rate.bytes_per_s * READ_AHEAD_S)
        )
        return self._buffer.next_read(chunk_bytes, min(ahead_bytes, self._options.memory_bytes // 2))

    def chunk_read(self, now: float, offset: int, data: bytes) -> None:
        """The bytes of a range `next_read` gave. The machine keeps `data` until it is acknowledged.

        With a known total `data` has exactly the size asked for (else ValueError: a source that shrank is
        the shell's to report, `abort`). With an unknown total it may be shorter, and b"" means that the
        stream has ended.
        """
        if self._state is not SendState.SENDING:
            return
        known = self._buffer.total_bytes is not None
        self._buffer.chunk_read(offset, data)
        if not known and self._buffer.total_bytes is not None:
            self._control.send(StreamEnd(self._buffer.total_bytes))
            self._consider_completing()

    @property
    def read_position(self) -> int:
        """Every byte before this one was asked for, or need not be read for all that is known by now."""
        return self._buffer.read_position

    @property
    def acked_until(self) -> int:
        """The bytes of the stream before this one never need be read again, in this attempt or a later one."""
        return self._buffer.acked_until

    def digests(self, now: float, first: int, digests: Sequence[bytes]) -> None:
        """BLAKE3 digests (32 bytes each) of the file `first`, which is the next that is owed one, and of those after
        it: of each file once, in order; none of a file that the receiver keeps, or that was withdrawn."""
        if self._over or not digests:
            return
        self._check_settling()
        indexes = self._owed.settle_next(first, len(digests))
        for start in range(0, len(digests), MAX_DIGESTS):
            self._control.send(Digests(indexes[start], tuple(digests[start : start + MAX_DIGESTS])))
        self._consider_completing()

    def withdraw(self, now: float, index: int, start: int, end: int, why: Why) -> None:
        """The file `index`, which is [start, end) of the stream, will not come: the receiver shall drop it.

        Takes its digest's place, and may come before its turn. Of its range nothing more is asked for; what
        `next_read` has given already the shell answers as ever, with whatever bytes it likes, and for its pieces it
        gives NOT_PROVEN. It may come after the digest as well, if something is still to be read of what the receiver
        wanted: what was read now is not what the digest is of.
        """
        if self._over:
            return
        self._check_settling()
        if self._owed.is_owed(index):
            self._owed.settle(index, index + 1)
        else:
            self._owed.take_back(index)
        size, unsent_bytes = self._buffer.give_up(start, end)
        self._held_bytes += unsent_bytes
        self._control.send(Withdraw(index, size, why))
        self._withdrawn += 1
        self._consider_completing()

    def piece_digests(self, now: float, first: int, digests: Sequence[bytes]) -> None:
        """BLAKE3 digests (32 bytes each) of the pieces `first`, `first + 1`, … of `Accepted.claims`; in order, each
        once, NOT_PROVEN for one of a withdrawn file."""
        if self._over:
            return
        if first != self._pieces_told or first + len(digests) > len(self._pieces):
            raise ValueError(
                f"digests of pieces from {first}, after {self._pieces_told} of {len(self._pieces)}"
            )
        for start in range(0, len(digests), MAX_DIGESTS):
            self._control.send(PieceDigests(first + start, tuple(digests[start : start + MAX_DIGESTS])))
        told = self._pieces[first : first + len(digests)]
        self._pieces_told += len(told)
        self._untold_bytes -= sum(piece.size for piece in told)
        self._consider_completing()

    def _check_settling(self) -> None:
        if self._state not in (SendState.SENDING, SendState.COMPLETING):
            raise ValueError("a file is settled before the offer was accepted")

    @property
    def _all_told(self) -> bool:
        """Every file is settled, and a digest of every piece is on its data."""
        return not self._owed.left and self._pieces_told == len(self._pieces)

    # The network ----------------------------------------------------------------------------------------------

    def buffered(self, now: float, channel: int, size_bytes: int) -> None:
        super().buffered(now, channel, size_bytes)
        self._data.buffered(now, channel)

    def network_packet(self, payload_bytes: int) -> None:
        """The path takes network packets that carry this much of a message; a hint, at any time."""
        self._data.set_packet_bytes(payload_bytes)

    def report_path(self, now: float, path: PathSummary) -> None:
        """Tell the receiver's user what this side measured of the path; call it about once a second."""
        if self._state in (SendState.SENDING, SendState.COMPLETING):
            self._control.send(PathReport.of(path))

    def report_verdict(self, now: float, recent: Verdict, whole: Verdict) -> None:
        """Tell the receiver's user where the time went, lately and in all; call it about once a second."""
        if self._state in (SendState.SENDING, SendState.COMPLETING):
            self._control.send(VerdictReport.of(recent, whole))

    def packets(self, now: float) -> list[OutgoingPacket]:
        """What to send now, in order; at most about twice PACKETS_BUDGET_BYTES. Call again until it is empty."""
        self._awake_at = now
        packets = self._control.packets(PACKETS_BUDGET_BYTES)
        if self._state in (SendState.SENDING, SendState.COMPLETING):
            packets += self._data.packets(now, PACKETS_BUDGET_BYTES)
        if packets:
            self._life.spoke(now)
        return packets

    def next_timeout(self) -> float | None:
        if self._over:
            return None
        deadlines = [self._life_deadline, *self._data.deadlines()]
        if self._data.in_flight_bytes:
            deadlines.append(self._data.progress_at + self._options.idle_timeout_s)
        return min(deadlines)

    def _on_pause(self, late_s: float) -> None:
        super()._on_pause(late_s)
        self._data.progress_at += late_s

    def _on_timeout(self, now: float) -> None:
        if not self._tend_life(now):
            return
        idle_timeout_s = self._options.idle_timeout_s
        if self._data.in_flight_bytes and now >= self._data.progress_at + idle_timeout_s:
            self._break_off(now, TransferStalled("data was on its way", idle_timeout_s))
            return
        self._data.handle_timeout(now)

    # Inputs ---------------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._state in (SendState.DONE, SendState.FAILED)

    def _enter_failed(self, now: float) -> None:
        self._state = SendState.FAILED

    def _peer_ended(self, now: float, error: TallowError) -> None:
        if self._state is SendState.COMPLETING and isinstance(error, PeerVanished):
            error = ReportMissing(error.detail, error.loss)
        super()._peer_ended(now, error)

    def _on_message(self, now: float, message: ControlMessage) -> None:
        if not isinstance(message, _EXPECTED.get(self._state, ())):
            raise PeerProtocolError(f"{type(message).__name__} while {self._state.value}")
        if isinstance(message, Ready):
            if message.version != PROTOCOL_VERSION:
                raise PeerProtocolError(f"transfer protocol version {message.version}")
            self._state = SendState.READY
            self._events.append(PeerReady(message.names))
        elif isinstance(message, Accept):
            self._on_accept(message)
        elif isinstance(message, Refuse):
            self._fail(now, PeerRefused(message.reason, message.kind))
        elif isinstance(message, Want):
            self._held_bytes -= self._buffer.want_untrusted(message.ranges)
            if not self._buffer.all_acked:
                self._state = SendState.SENDING
        elif isinstance(message, UseReport):
            self._receiver_use = message.use
        elif isinstance(message, Complete):
            self._on_complete(message)

    def _on_accept(self, message: Accept) -> None:
        kept = unpack_kept_untrusted(message.kept)
        ends, total_bytes = self._file_ends, self._buffer.total_bytes
        for start, end in kept:
            if end > len(ends):
                raise PeerProtocolError("a file kept that was not offered, or has no length yet")
            self._owed.settle(start, end)
            self._buffer.keep(ends[start - 1] if start else 0, ends[end - 1])
        self._buffer.hold_untrusted(message.held, self._stream_bytes if total_bytes is None else total_bytes)
        self._buffer.claim_untrusted(message.claims)
        self._pieces = Pieces(ends, message.claims, self._options.segment_bytes)
        self._untold_bytes = self._pieces.total_bytes
        self._held_bytes = self._buffer.acked_bytes
        self._data.credit.granted(message.credit)
        self._control.assembler.expect_at_most(MAX_LATER_BYTES)
        self._state = SendState.SENDING
        self._events.append(Accepted(self._held_bytes, self._pieces, kept))
        self._consider_completing()

    def _on_complete(self, message: Complete) -> None:
        if not self._buffer.all_sent_once or not self._all_told:
            raise PeerProtocolError("a report of completion before everything was sent")
        if message.total != self._buffer.total_bytes or message.files != self._owed.count - self._withdrawn:
            raise PeerProtocolError("a report of completion with other totals")
        self._data.settle()
        self._state = SendState.DONE
        self._control.send(Bye())
        self._events.append(Finished())

    def cancel(self, now: float) -> None:
        self.all_handed_over = self._state is SendState.COMPLETING and not self._control.has_unsent
        super().cancel(now)

    def _consider_completing(self) -> None:
        if self._state is SendState.SENDING and self._buffer.all_acked and self._all_told:
            self._state = SendState.COMPLETING

    def _on_data_frame(self, now: float, channel: int, number: int, frame: Frame) -> None:
        if isinstance(frame, Ack):
            if self._data.on_ack(now, frame):
                self._consider_completing()
        elif isinstance(frame, Credit):
            self._data.credit.granted(frame.limit)
        else:
            raise PeerProtocolError(f"a {type(frame).__name__} frame from the receiver")

    def _on_channel(self, now: float, channel: int, state: ChannelState) -> None:
        if state is ChannelState.CLOSED:
            self._data.abandon(channel)
