"""The receiver's half of a transfer: what outlives its connections.

transfer = ReceiveTransfer(settings, emit, decide)
try:
    done = await transfer.carry(connection)      # as often as it takes
finally:
    await transfer.close()
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from time import monotonic

from blake3 import blake3

from tallow_cli.errors import (
    PeerProtocolError,
    ReaderGone,
    TallowError,
    TooLarge,
    TransferStalled,
)
from tallow_cli.offer.manifest import Manifest, decode_manifest_untrusted
from tallow_cli.ranges import RangeSet
from tallow_cli.session.connection import Connection
from tallow_cli.session.disk_writer import DiskWriter
from tallow_cli.session.end_use import EndUseMeter
from tallow_cli.session.events import (
    Done,
    FileFinished,
    LeftOut,
    Notice,
    Resuming,
    SessionEvent,
    TextReceived,
    Unfinished,
)
from tallow_cli.session.landing import Report
from tallow_cli.session.meter import Meter, Sample
from tallow_cli.session.offer_events import describe, hole_bytes, withdrawn_item
from tallow_cli.session.patience import Patience
from tallow_cli.session.receive_attempt import ReceiveAttempt
from tallow_cli.session.settings import ReceiveSettings
from tallow_cli.session.worker import CLOSE_WAIT_S, Worker
from tallow_cli.store.sequential_sink import StdoutSink, TextSink
from tallow_cli.store.sink import AtHand, Holding, Published, Sink
from tallow_cli.transfer.driving import (
    FileWithdrawn,
)

# Asked with the validated offer; returns where to put it, or raises the TallowError that refuses it.
Decide = Callable[[Manifest], Awaitable[Sink]]
# Asked before the offer is shown: what of it is there already; None if that takes too long to tell.
Foresee = Callable[[Manifest], Awaitable[AtHand | None]]


class ReceiveTransfer:
    """One offer on its way into the sink that `decide` chooses, over one connection after another."""

    def __init__(
        self,
        settings: ReceiveSettings,
        emit: Callable[[SessionEvent], None],
        decide: Decide,
        foresee: Foresee | None = None,
    ) -> None:
        self.settings = settings
        self.emit = emit
        self.done: Done | None = None  # once all is verified and published: nothing can fail any more
        self.meter: Meter | None = None
        self.use: EndUseMeter | None = None
        self.disk: DiskWriter | None = None  # once the sink is open
        self.manifest = Manifest("files", ())
        self.owes_report = False  # all is done, and the sender does not know: another connection may tell it
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.holding = Holding()  # what the sink had when it was opened
        self._held_bytes = 0  # of it
        self._decide = decide
        self._foresee = foresee
        self._offer_digest = b""
        self._considering: asyncio.Task[Manifest] | None = (
            None  # the first offer; the same one counts for all
        )
        self._is_closed = False
        self._worker = Worker()
        self._sink: Sink | None = None
        self._attempt: ReceiveAttempt | None = None
        self._patience: Patience | None = None
        self._withdrawn = 0
        self._withdrawn_hole_bytes = 0
        self._notices_shown = 0
        self._ended_by: BaseException | None = None

    async def carry(self, connection: Connection) -> Done:
        """Go on over `connection`; return once every file is published and the sender knows, or cannot be told any
        more. `Done` is emitted as soon as the first is true; from then on nothing, cancelling included, makes this
        fail.

        Raises the TallowError that ended the connection or the transfer. Cancelling tells the sender that the
        transfer was cancelled before the cancellation goes on.
        """
        self._attempt = attempt = ReceiveAttempt(self, connection)
        attempt.outcome.add_done_callback(partial(self._attempt_ended, connection))
        if self._patience is None:
            self._patience = Patience(
                self.emit, "for the sender's offer", self.settings.waits.peer_s, self._offer_overdue
            )
        try:
            await attempt.run()
        except asyncio.CancelledError:
            if self.done is None:
                raise
            _stay_uncancelled()
        except Exception as error:
            if self.done is None:
                self._ended_by = error
                raise
        finally:
            self._attempt = None
            self.owes_report = attempt.owes_report
            attempt.hand_over()
        if self.done is None:
            raise RuntimeError("the transfer ended without its report")
        return self.done

    def _attempt_ended(self, connection: Connection, outcome: asyncio.Future[None]) -> None:
        error = None if outcome.cancelled() else outcome.exception()
        if error is not None and connection.goes_on_after(error):
            if self.meter is not None and self._attempt is not None:
                self.meter.end_connection(monotonic(), self._attempt.channel_stats())
        else:
            self._worker.stopping.set()

    async def close(self) -> None:
        """Leave the disk as a transfer that has ended leaves it: what was verified is published, what was unfinished is
        removed. Does nothing when repeated."""
        if self._is_closed:
            return
        self._is_closed = True
        self.ended.cancel()
        self._worker.stopping.set()
        if self._patience is not None:
            self._patience.end()
        if self._considering is not None:
            self._considering.cancel()
            await asyncio.wait([self._considering])
        if self.disk is not None:
            self.disk.stop()
        sink = self._sink
        if isinstance(sink, StdoutSink):
            sink.close()  # wakes a write that waits for whoever reads standard output
        slow = asyncio.get_running_loop().call_later(
            self.settings.pace.disk.say_after_s, self._say_why_it_waits
        )
        try:
            if sink is not None:
                async with asyncio.timeout(self.settings.pace.disk.keep_s):
                    await self._leave_disk(sink)
                self._show_notices(sink)
        except TimeoutError:
            self.emit(Notice("The disk does not answer, so it was left as it is."))
        finally:
            slow.cancel()
            await self._worker.close(wait_s=0 if sink is not None else CLOSE_WAIT_S)

    async def _leave_disk(self, sink: Sink) -> None:
        if self.disk is not None:
            await self.disk.keep_what_is_whole()
        suspended = await self._worker.run(sink.suspend)
        await self._worker.run(sink.close)
        self._tell_published(suspended.published)
        if self.done is None:
            self._say_what_is_lost(sink)
        if suspended.files:
            self.emit(Unfinished(suspended.files, suspended.bytes, suspended.path))

    def _say_what_is_lost(self, sink: Sink) -> None:
        """Of what cannot be gone on with."""
        if isinstance(sink, StdoutSink) and sink.bytes_received:
            what = "What went to standard output"
        elif self.manifest.kind == "stream" and self.moved_bytes:
            what = "A stream from the sender's standard input"
        else:
            return
        if not isinstance(self._ended_by, ReaderGone):  # which says so itself
            self.emit(Notice(f"{what} cannot be resumed; it has to be sent again from the start."))

    def _say_why_it_waits(self) -> None:
        why = f" ({self._ended_by.sentence})" if isinstance(self._ended_by, TallowError) else ""
        self.emit(
            Notice(
                f"The transfer has ended{why}; what is verified is being kept, on a disk that takes its time."
            )
        )

    def _offer_overdue(self) -> None:
        self.fail(TransferStalled("waiting for the sender's offer", self.settings.waits.peer_s))

    def fail(self, error: BaseException) -> None:
        """End the transfer."""
        if self._attempt is not None:
            self._attempt.fail(error)
        elif not (self._is_closed or self.ended.done()):
            self.ended.set_exception(error)

    # The offer

    async def consider(self, encoded: bytes) -> Manifest:
        """Judge the offer, ask whoever decides, make ready; over a later connection the same answer holds.

        Raises what refuses it; PeerProtocolError for another offer than the first.
        """
        digest = await self._worker.run(lambda: blake3(encoded).digest())
        if self._considering is None:
            self._offer_digest = digest
            self._considering = asyncio.create_task(self._consider(encoded))
            self._considering.add_done_callback(self._considered)
        elif digest != self._offer_digest:
            raise PeerProtocolError("another offer than over the connection before")
        return await asyncio.shield(self._considering)

    def _considered(self, considering: asyncio.Task[Manifest]) -> None:
        error = None if considering.cancelled() else considering.exception()
        if error is not None and self._attempt is None:
            self.fail(error)

    async def _consider(self, encoded: bytes) -> Manifest:
        if self._patience is not None:
            self._patience.end()
        manifest = await self._worker.run(decode_manifest_untrusted, encoded, self.settings.names)
        offered = await self._worker.run(describe, manifest)
        try:
            self.check_size(manifest.total_bytes, is_offered=True)
        except TooLarge:
            self.emit(offered)
            raise
        if self._foresee is not None:
            offered = replace(offered, here=await self._foresee(manifest))
        self.emit(offered)
        sink = self._sink = await self._decide(manifest)
        self.holding = holding = await self._worker.run(sink.open, manifest)
        self._tell_held(manifest, holding)
        self._show_notices(sink)
        file_count = len(manifest.file_spans)
        if holding.kept.total == file_count:  # nothing will be written: what there is to do is done now
            await self._worker.run(sink.complete)
        self.manifest = manifest
        self.disk = DiskWriter(
            sink, self._worker, file_count, self._take_report, self.fail, holding, self.settings.pace.disk
        )
        return manifest

    def _tell_held(self, manifest: Manifest, holding: Holding) -> None:
        spans = manifest.file_spans
        here = RangeSet((*holding.held, *holding.claims))
        for first, end in holding.kept:
            here.add(spans[first].start, spans[end - 1].end)
        self._held_bytes = here.total
        if here and manifest.total_bytes:
            self.emit(Resuming(here.total, manifest.total_bytes))

    def check_size(self, size_bytes: int | None, *, is_offered: bool = False) -> None:
        """Raises TooLarge for what is offered, or has come of a stream, if it is more than the user allows."""
        limit_bytes = self.settings.max_bytes
        if limit_bytes is not None and size_bytes is not None and size_bytes > limit_bytes:
            raise TooLarge(limit_bytes, size_bytes if is_offered else None)

    @property
    def moved_bytes(self) -> int:
        """Have arrived so far."""
        return 0 if self.disk is None else self.disk.written.total

    async def already_here(self) -> tuple[RangeSet, RangeSet]:
        """What need not come over this connection: bytes of the stream, and indexes of files that are verified."""
        if self.disk is None:
            return RangeSet(), RangeSet()
        await self.disk.settle()
        held, spans = RangeSet(self.disk.written), self.manifest.file_spans
        for first, end in self.disk.dropped:
            held.add(spans[first].start, spans[end - 1].end)
        return held, self.disk.published

    def accepted(self, now: float) -> None:
        """The offer is being accepted."""
        if self.meter is not None:
            self.meter.go_on(now)
            return
        if self.disk is not None:
            self.use = EndUseMeter(now, self.disk.work_clock)
        self.meter = Meter(
            self.emit,
            total_bytes=self.manifest.total_bytes,
            held_bytes=self._held_bytes,
            files_total=len(self.manifest.file_spans),
            now=now,
            sending=False,
        )

    # What the disk has done

    def _take_report(self, report: Report) -> None:
        if report.dropped:
            self._tell_dropped(report.dropped)
        self._tell_published(report.published)
        for notice in report.notices:
            self.emit(Notice(notice))
        if self._attempt is not None:
            self._attempt.take_report(report)

    def _tell_published(self, published: Iterable[Published]) -> None:
        for file in published:
            if not isinstance(self._sink, TextSink):
                self.emit(FileFinished(path=file.path, size=file.size, saved_as=file.saved_as))

    def _tell_dropped(self, withdrawn: list[FileWithdrawn]) -> None:
        self._withdrawn += len(withdrawn)
        self._withdrawn_hole_bytes += sum(hole_bytes(self.manifest, gone.index) for gone in withdrawn)
        spans = self.manifest.file_spans
        self.emit(
            LeftOut(tuple(withdrawn_item(spans[gone.index].entry.path, gone.why) for gone in withdrawn))
        )

    def _show_notices(self, sink: Sink) -> None:
        """Those that have not been shown."""
        for notice in sink.notices[self._notices_shown :]:
            self.emit(Notice(notice))
        self._notices_shown = len(sink.notices)

    def succeeded(self, sample: Sample) -> None:
        """Say so at once. What is left is to let the sender know, however long the path takes to carry it."""
        if self.meter is None or self._sink is None:
            raise RuntimeError("the transfer finished before it was accepted")
        self._show_notices(self._sink)
        if isinstance(self._sink, TextSink):
            self.emit(TextReceived(self._sink.text))
        self.done = self.meter.finish(
            monotonic(),
            sample,
            left_out=sum(group.count for group in self.manifest.left_out) + self._withdrawn,
            missed=self.manifest.missed + self._withdrawn,
            hole_bytes=self.manifest.hole_bytes - self._withdrawn_hole_bytes,
        )


def _stay_uncancelled() -> None:
    """Whoever cancelled us wanted us gone, and we go: but it is success that we end with."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
