"""The sender's half of a transfer: what outlives a connection, and what one connection of it does.

transfer = SendTransfer(source, settings, emit)
try:
    done = await transfer.carry(connection)      # as often as it takes
finally:
    await transfer.close()
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from time import monotonic

from tallow_cli.errors import NoAnswer, PeerVanished, TransferStalled
from tallow_cli.measure.causes import Cause
from tallow_cli.measure.diagnosis import PathState
from tallow_cli.measure.path_summary import PathSummary
from tallow_cli.offer.manifest import encode_manifest
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.session.attempt import Attempt
from tallow_cli.session.connection import Connection
from tallow_cli.session.disk_reader import DiskNews, DiskReader
from tallow_cli.session.end_use import EndUseMeter, memory_fraction
from tallow_cli.session.events import (
    ChannelStats,
    Done,
    FileFinished,
    LastWords,
    LeftOut,
    Notice,
    Resuming,
    SessionEvent,
)
from tallow_cli.session.meter import Meter, Sample
from tallow_cli.session.offer_events import describe, hole_bytes, left_out, withdrawn_item
from tallow_cli.session.pace import SILENT_S
from tallow_cli.session.path_view import PathView
from tallow_cli.session.patience import Patience
from tallow_cli.session.settings import SendSettings
from tallow_cli.session.verdicts import SenderVerdicts
from tallow_cli.session.worker import Worker
from tallow_cli.store.failures import displayable
from tallow_cli.store.source import Source
from tallow_cli.transfer.chunking import AdaptiveBitrateController, ChunkMode
from tallow_cli.transfer.driving import Accepted, Failed, Finished, PeerReady
from tallow_cli.transfer.options import SendOptions
from tallow_cli.transfer.sender import SendMachine, SendState

# The receiver's user is told the sender's measurements as soon as there are some, once a second, and, so that the last
# figures of both agree, at every tick once everything has been sent.
_REPORT_TICKS = 5


@dataclass(frozen=True, slots=True)
class _Offer:
    """What the receiver is told of the source: the same bytes over every connection."""

    encoded: bytes
    total_bytes: int | None
    file_ends: list[int]


class SendTransfer:
    """One source on its way to one receiver, over one connection after another. Its caller closes the source."""

    def __init__(self, source: Source, settings: SendSettings, emit: Callable[[SessionEvent], None]) -> None:
        self.source = source
        self.settings = settings
        self.emit = emit
        self.worker = Worker()
        self.reader = DiskReader(source)
        self.offer: _Offer | None = None
        self.meter: Meter | None = None  # once the receiver has accepted
        self.verdicts: SenderVerdicts | None = None
        self.use: EndUseMeter | None = None
        self._moved_bytes = 0  # over the connections before
        self.owes_report = False  # what the receiver is owed it has before we are done
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._preparing: asyncio.Task[_Offer] | None = None
        self._attempt: _SendAttempt | None = None
        self._patience: Patience | None = None
        self._is_closed = False
        self._says_how_it_ended = False  # it is done, or the last words tell the rest
        self._told_withdrawn = 0
        self._notices_told = len(source.notices)

    async def carry(self, connection: Connection) -> Done:
        """Go on over `connection`; return once the receiver has reported every file verified.

        Raises the TallowError that ended the connection or the transfer. Cancelling tells the peer that the transfer
        was cancelled before the cancellation goes on.
        """
        self._attempt = attempt = _SendAttempt(self, connection)
        if self._patience is None:
            self._patience = Patience(
                self.emit, "for the receiver to accept", self.settings.waits.peer_s, self._consent_overdue
            )
        try:
            await attempt.run()
        except asyncio.CancelledError:
            self._says_how_it_ended = True
            raise
        except (PeerVanished, TransferStalled):
            if self.meter is not None:
                self.meter.end_connection(monotonic(), attempt.channel_stats())
            raise
        finally:
            self._moved_bytes = self.moved_bytes
            self._attempt = None
        return self._finish(attempt)

    @property
    def moved_bytes(self) -> int:
        """Have arrived so far."""
        carried = 0 if self._attempt is None else self._attempt.sample().bytes_done
        return max(self._moved_bytes, carried)

    async def close(self) -> None:
        """Let go of the disk. The transfer is over, however it ended. Does nothing when repeated."""
        if self._is_closed:
            return
        self._is_closed = True
        self.ended.cancel()
        if self._patience is not None:
            self._patience.end()
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.wait([self._preparing])
        if self.meter is not None and self.source.manifest.kind == "stream" and not self._says_how_it_ended:
            self.emit(Notice("Standard input cannot be resumed: what is sent next begins anew."))
        if self.reader.is_busy:
            self.source.close()  # wakes a read that waits for standard input
        await self.worker.close()

    def _consent_overdue(self) -> None:
        self.fail(NoAnswer(self.settings.waits.peer_s))

    def fail(self, error: BaseException) -> None:
        """End the transfer."""
        if self._attempt is not None:
            self._attempt.fail(error)
        elif not (self._is_closed or self.ended.done()):
            self.ended.set_exception(error)

    # What an attempt reports

    async def prepare_offer(self, names: NameRules) -> _Offer:
        """Look again at what is to be sent, and fix it: what is offered now is offered over every connection."""
        if self._preparing is None:
            self._preparing = asyncio.create_task(self._prepare_offer(names))
        return await asyncio.shield(self._preparing)

    async def _prepare_offer(self, names: NameRules) -> _Offer:
        source, run = self.source, self.worker.run
        known = frozenset(source.left_out)
        await run(source.prepare, names)
        manifest = source.manifest
        encoded = await run(encode_manifest, manifest)
        file_ends = await run(lambda: [span.end for span in manifest.file_spans])
        news = [item for item in source.left_out if item not in known]
        if news:
            self.emit(left_out(news))
        self.tell_notices()
        self.emit(await run(describe, manifest))
        self.offer = _Offer(encoded, manifest.total_bytes, file_ends)
        return self.offer

    def accepted(self, offer: _Offer, now: float, held_bytes: int) -> Meter:
        """The receiver takes it, and has `held_bytes` of it."""
        if self._patience is not None:
            self._patience.end()
        if self.meter is not None:
            self.meter.go_on(now)
            return self.meter
        if held_bytes and offer.total_bytes:
            self.emit(Resuming(held_bytes, offer.total_bytes))
        self.verdicts = SenderVerdicts(now, self.reader.waits_for)
        self.use = EndUseMeter(now, self.reader.work_clock)
        self.meter = Meter(
            self.emit,
            total_bytes=offer.total_bytes,
            held_bytes=held_bytes,
            files_total=len(offer.file_ends),
            now=now,
        )
        return self.meter

    def feed_worker(self, until: int) -> None:
        """Give the worker what there is to read, or to hash of what lies before `until`."""
        job = self.reader.next_job(until)
        if job is not None:
            self.worker.submit(job, self._hear, self.fail)

    def _hear(self, news: DiskNews) -> None:
        is_news = self.reader.finished(news)
        if self._attempt is None:
            return
        if is_news and self._attempt.is_accepted:
            self._attempt.apply(news)
        else:  # the worker is free for what this attempt wants
            self._attempt.wake()

    def tell_notices(self) -> None:
        notices = self.source.notices
        for notice in notices[self._notices_told :]:
            self.emit(Notice(notice))
        self._notices_told = len(notices)

    def tell_withdrawn(self) -> None:
        """Those that were not told yet."""
        spans = self.source.manifest.file_spans
        gone = list(self.source.withdrawn.items())[self._told_withdrawn :]
        self._told_withdrawn += len(gone)
        if gone:
            items = [withdrawn_item(spans[index].entry.path, withdrawn.why) for index, withdrawn in gone]
            self.emit(LeftOut(tuple(items)))

    def _finish(self, attempt: _SendAttempt) -> Done:
        if self.meter is None or self.offer is None:
            raise RuntimeError("the transfer finished before it was accepted")
        manifest, withdrawn = self.source.manifest, self.source.withdrawn
        self._says_how_it_ended = True
        sample = attempt.judged_sample(monotonic())
        for span in () if manifest.kind == "text" else manifest.file_spans:
            if span.index not in withdrawn:
                size = sample.bytes_done if manifest.kind == "stream" else span.entry.size
                self.emit(FileFinished(path=displayable(span.entry.path), size=size))
        return self.meter.finish(
            monotonic(),
            replace(sample, files_done=len(self.offer.file_ends) - len(withdrawn)),
            left_out=len(self.source.left_out) + len(withdrawn),
            missed=manifest.missed + len(withdrawn),
            hole_bytes=manifest.hole_bytes - sum(hole_bytes(manifest, index) for index in withdrawn),
        )


class _SendAttempt:
    """One connection of a SendTransfer. Use once: `await run()`."""

    def __init__(self, transfer: SendTransfer, connection: Connection) -> None:
        self._transfer = transfer
        self._source = transfer.source
        self._connection = connection
        settings = transfer.settings
        self._path = PathView(connection.link.path_figures)
        self._told_cause: Cause | None = None
        self._chunks = AdaptiveBitrateController(connection.is_lan, ChunkMode(settings.link.mode))
        self._limit = settings.link.limit_bytes_per_s
        self._offering: asyncio.Task[None] | None = None
        self._offer: _Offer | None = None  # made over this connection
        self._meter: Meter | None = None  # once it was accepted over this connection
        self._machine = SendMachine(
            channels=len(connection.data),
            chunk_sizer=self._chunks,
            now=monotonic(),
            options=SendOptions(
                sealed=connection.sealed,
                reliable=connection.reliable,
                retransmissions=connection.link.traits.retransmissions,
                max_message_bytes=connection.max_message_bytes,
                buffer_high=settings.link.buffer_high,
                buffer_low=settings.link.buffer_low,
                limit_bytes_per_s=self._limit,
                # A third part is being read ahead; what is in flight is held twice, here and sealed in the engine.
                memory_bytes=connection.link.traits.window_bytes * 3 // 2,
                idle_timeout_s=settings.waits.idle_s,
            ),
        )
        self._attempt = Attempt(self._machine, connection, self._on_turn)
        self.fail = self._attempt.fail
        self.wake = self._attempt.wake

    def channel_stats(self) -> tuple[ChannelStats, ...]:
        return self._attempt.channel_stats()

    async def run(self) -> None:
        """Return once the receiver has reported every file verified. Raises what ended the connection."""
        ticker = self._attempt.watch(asyncio.create_task(self._tick()))
        try:
            await self._attempt.run()
        except asyncio.CancelledError:
            heard = bool(self._attempt.peer_told)
            self._transfer.emit(
                LastWords(
                    heard=heard,
                    all_arrived=heard and self._machine.all_handed_over,
                    can_go_on=self._meter is not None and self._source.manifest.kind == "files",
                    is_stream=self._meter is not None and self._source.manifest.kind == "stream",
                )
            )
            raise
        finally:
            ticker.cancel()
            self._attempt.stop()
            if self._offering is not None:
                self._offering.cancel()
                await asyncio.wait([self._offering])

    # A turn of the shell

    def _on_turn(self, now: float) -> None:
        for event in self._machine.events():
            match event:
                case PeerReady(names=names):
                    self._offering = asyncio.create_task(self._make_offer(names))
                case Accepted():
                    self._begin(now, event)
                case Finished():
                    self._attempt.finish()
                case Failed(error=error):
                    self._attempt.fail(error)
        if self._meter is not None:
            while (request := self._machine.next_read(now)) is not None:
                self._transfer.reader.want(request)
            self._transfer.feed_worker(self._machine.read_position)
            self._source.release(self._machine.acked_until)

    async def _make_offer(self, names: NameRules) -> None:
        try:
            offer = self._offer = await self._transfer.prepare_offer(names)
        except Exception as error:  # noqa: BLE001 - a task nobody awaits hands every error on
            self._attempt.fail(error)
            return
        ends = None if offer.total_bytes is None else offer.file_ends
        self._machine.offer(monotonic(), offer.encoded, ends, self._transfer.reader.read_bytes)
        self._attempt.wake()

    def _begin(self, now: float, accepted: Accepted) -> None:
        if self._offer is None:
            raise RuntimeError("an offer was accepted before it was made")
        self._meter = self._transfer.accepted(self._offer, now, accepted.held_bytes)
        self._transfer.reader.begin(accepted.kept, accepted.claims)
        self._machine.take_stops(now)  # until now nobody waited to send

    @property
    def is_accepted(self) -> bool:
        """Whether the receiver has accepted over this connection."""
        return self._meter is not None

    def apply(self, news: DiskNews) -> None:
        """Give the machine what was read and hashed; tell which files will not come."""
        now, machine, source = monotonic(), self._machine, self._source
        for offset, data in news.chunks:
            machine.chunk_read(now, offset, data)
        spans, withdrawn = source.manifest.file_spans, source.withdrawn
        if withdrawn and len(withdrawn) == len(spans):
            self.fail(withdrawn[0].error)  # nothing is left of it: that is no success
            return
        for gone in news.given_up:
            span = spans[gone.index]
            machine.withdraw(now, span.index, span.start, span.end, gone.withdrawn.why)
        if news.piece_digests:
            machine.piece_digests(now, news.first_piece, news.piece_digests)
        if news.digested is not None:
            machine.digests(now, news.digested.first, news.digested.digests)
        self._transfer.tell_withdrawn()
        self._transfer.tell_notices()
        self.wake()

    # What people see

    async def _tick(self) -> None:
        told: PathSummary | None = None
        for tick in count(1):
            await asyncio.sleep(self._transfer.settings.pace.tick_s)
            if self._meter is None:
                continue
            self._machine.network_packet(self._connection.link.network_packet_bytes)
            figures, path = self._machine.figures, self._path
            path.look(figures, is_unanswered=self._meter.is_unanswered(figures.bytes_written))
            now = monotonic()
            self._meter.tick(now, self.judged_sample(now), self._attempt.channel_stats())
            self._tell_verdict(now, tick)
            if path.rtt_s is None or path.loss is None:
                continue
            self._chunks.report_metrics(figures.rate_bytes_per_s, path.rtt_s, path.loss)
            summary = self._meter.path
            is_due = tick % _REPORT_TICKS == 0 or told is None or self._is_ending
            if summary is not None and summary != told and is_due:
                told = summary
                self._machine.report_path(monotonic(), summary)
                self._attempt.wake()

    def sample(self) -> Sample:
        """The state of the transfer as this connection knows it."""
        figures = self._machine.figures
        ends = [] if self._offer is None else self._offer.file_ends
        return Sample(
            bytes_done=figures.bytes_written,
            unproven_bytes=figures.unproven_bytes,
            rtt_s=self._path.rtt_s,
            jitter_s=self._path.jitter_s,
            loss=self._path.loss,
            chunk_bytes=self._chunks.chunk_size,
            message_bytes=figures.message_bytes,
            files_done=bisect_right(ends, figures.bytes_written),
            silence_s=self._connection.link.silence_s,
        )

    def judged_sample(self, now: float) -> Sample:
        """`sample`, with where the time went until now."""
        sample, transfer = self.sample(), self._transfer
        meter, verdicts, use = transfer.meter, transfer.verdicts, transfer.use
        if meter is None or verdicts is None or use is None:
            return sample
        verdicts.tick(
            now,
            self._machine.take_stops,
            use.look(now, memory_fraction()),
            self._machine.figures.receiver_use,
            PathState(
                rtt_s=self._path.rtt_s,
                loss=self._path.own_loss,
                is_growing=self._path.is_growing,
                is_relayed=self._connection.link.traits.path.kind == "relayed",
            ),
            silence_s=sample.silence_s,
            is_in_doubt=meter.is_in_doubt(sample),
        )
        return replace(sample, verdict=verdicts.now(now), whole_verdict=verdicts.whole)

    def _tell_verdict(self, now: float, tick: int) -> None:
        """The receiver's user reads the same: once a second, and at once where the first cause has changed."""
        verdicts = self._transfer.verdicts
        recent, whole = (None, None) if verdicts is None else (verdicts.told(now), verdicts.whole)
        if recent is None or whole is None or self._connection.link.silence_s >= SILENT_S:
            return
        if tick % _REPORT_TICKS == 0 or recent.cause is not self._told_cause or self._is_ending:
            self._told_cause = recent.cause
            self._machine.report_verdict(now, recent, whole)
            self._attempt.wake()

    @property
    def _is_ending(self) -> bool:
        return self._machine.state is SendState.COMPLETING
