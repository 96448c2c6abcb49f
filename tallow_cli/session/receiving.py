"""The receiver's half of a transfer over an open connection: channels, ReceiveMachine and sink, joined."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from time import monotonic

from tallow_cli.errors import SLIPS, TallowError, TooLarge, TransferStalled
from tallow_cli.offer.manifest import Manifest, decode_manifest_untrusted
from tallow_cli.session.connection import Connection
from tallow_cli.session.events import (
    Done,
    FileFinished,
    LastWords,
    LeftOut,
    Notice,
    SessionEvent,
    TextReceived,
)
from tallow_cli.session.landing import Batch, Landing, Report
from tallow_cli.session.meter import TICK_S, Meter, Sample
from tallow_cli.session.offer_events import describe, withdrawn_item
from tallow_cli.session.patience import Patience
from tallow_cli.session.pump import Pump
from tallow_cli.session.settings import ReceiveSettings
from tallow_cli.session.words import for_the_peer, kind_for_the_peer
from tallow_cli.session.worker import CLOSE_WAIT_S, Worker
from tallow_cli.store.sequential_sink import StdoutSink, TextSink
from tallow_cli.store.sink import Published, Sink
from tallow_cli.transfer.driving import Failed, FileReady, FileWithdrawn, Finished, OfferArrived, Reported
from tallow_cli.transfer.receiver import ReceiveMachine, ReceiveOptions

# A hop between threads costs as much as writing and hashing half a megabyte: data gathers first, but not for long.
_BATCH_BYTES = 1024 * 1024
_GATHER_S = 0.005
# How long a disk may take to publish what is verified when the transfer failed, and when people are told that it does.
# After a signal the process ends sooner (cli.drive).
_KEEP_S = 30.0
_SAY_AFTER_S = 1.0

# Asked with the validated offer; returns where to put it, or raises the TallowError that refuses it.
Decide = Callable[[Manifest], Awaitable[Sink]]


class Receiving:
    """Receives over `connection` into the sink that `decide` chooses. Use once: `await run()`.

    Cancelling `run` tells the peer that the transfer was cancelled. However it ends, what was verified is published,
    and what was unfinished is removed.
    """

    def __init__(
        self,
        connection: Connection,
        settings: ReceiveSettings,
        emit: Callable[[SessionEvent], None],
        decide: Decide,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._settings = settings
        self._emit = emit
        self._decide = decide
        self._worker = Worker()
        self._patience: Patience | None = None
        self._deciding: asyncio.Task[None] | None = None
        self._sink: Sink | None = None
        self._meter: Meter | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None  # that everything arrived and is verified
        self._done: Done | None = None
        self._manifest = Manifest("files", ())
        self._file_count = 0
        self._withdrawn = 0
        self._files_given = 0  # to the disk, to be verified
        self._files_verified = 0
        self._files_published = 0
        self._notices_shown = 0
        self._busy = False
        self._gathering: asyncio.TimerHandle | None = None
        self._gathered = False  # long enough: what there is goes to the disk
        self._ready: list[FileReady] = []  # not yet given to the disk
        self._gone: list[FileWithdrawn] = []  # withdrawn by the sender
        self._is_endless = False  # a stream, whose length nobody knows
        self._unwritten: list[tuple[int, memoryview]] = []  # given to it, and given back for lack of time
        self._landing: Landing | None = None  # once the sink is open
        self._machine = ReceiveMachine(
            channels=len(connection.data.indexes),
            now=monotonic(),
            options=ReceiveOptions(
                sealed=connection.sealed,
                max_message_bytes=connection.max_message_bytes,
                idle_timeout_s=settings.waits.idle_s,
                names=settings.names,
            ),
        )
        self._pump = Pump(self._machine, connection, self._on_turn)
        self._pump.outcome.add_done_callback(lambda _: self._worker.stopping.set())

    async def run(self) -> Done:
        """Return once every file is published and the sender knows, or cannot be told any more. `Done` is emitted as
        soon as the first is true; from then on nothing, cancelling included, makes this fail.

        Raises the TallowError that ended it.
        """
        self._ticker = self._pump.watch(self._loop.create_task(self._tick()))
        self._patience = Patience(
            self._emit, "for the sender's offer", self._settings.waits.peer_s, self._offer_overdue
        )
        try:
            await self._pump.run()
        except asyncio.CancelledError:
            if self._done is None:
                self._emit(LastWords(heard=bool(self._pump.peer_told)))
                raise
            _stay_uncancelled()
        except Exception:
            if self._done is None:
                raise
        finally:
            self._patience.end()
            for task in (self._gathering, self._ticker, self._telling):
                if task is not None:
                    task.cancel()
            self._pump.stop()
            await self._let_go()
        if self._done is None:
            raise RuntimeError("the transfer ended without its report")
        return self._done

    async def _let_go(self) -> None:
        """Stop asking, and leave the disk as a transfer that has ended leaves it."""
        if self._deciding is not None:
            self._deciding.cancel()
            await asyncio.wait([self._deciding])
        sink = self._sink
        if isinstance(sink, StdoutSink):
            sink.close()  # wakes a write that waits for whoever reads standard output
        slow = self._loop.call_later(_SAY_AFTER_S, self._say_why_it_waits)
        try:
            if sink is not None:
                async with asyncio.timeout(_KEEP_S):
                    await self._leave_disk(sink)
                self._show_notices(sink)
        except TimeoutError:
            self._emit(Notice("The disk does not answer, so it was left as it is."))
        finally:
            slow.cancel()
            await self._worker.close(wait_s=0 if sink is not None else CLOSE_WAIT_S)

    async def _leave_disk(self, sink: Sink) -> None:
        """Keep what is whole and verified, and remove the rest."""
        if self._landing is not None and self._ready:
            with suppress(TallowError):  # the transfer has an end already; this file is not kept
                self._take_report(await self._worker.run(self._landing.work, Batch([], self._ready, False)))
        published = await self._worker.run(sink.abort)
        await self._worker.run(sink.close)
        self._tell_published(published)

    def _say_why_it_waits(self) -> None:
        outcome = self._pump.outcome
        error = None if outcome.cancelled() or not outcome.done() else outcome.exception()
        why = f" ({error.sentence})" if isinstance(error, TallowError) else ""
        self._emit(
            Notice(
                f"The transfer has ended{why}; what is verified is being kept, on a disk that takes its time."
            )
        )

    def _offer_overdue(self) -> None:
        self._pump.fail(TransferStalled("waiting for the sender's offer", self._settings.waits.peer_s))

    # A turn of the pump

    def _on_turn(self, now: float) -> None:
        for event in self._machine.events():
            match event:
                case OfferArrived(manifest=encoded):
                    if self._patience is not None:
                        self._patience.end()
                    self._deciding = self._loop.create_task(self._consider(encoded))
                case FileReady():
                    self._ready.append(event)
                case FileWithdrawn():
                    self._gone.append(event)
                case Reported():
                    self._succeeded()
                case Finished():
                    self._pump.finish()
                case Failed(error=error):
                    self._pump.fail(error)
        if self._is_endless and not self._pump.outcome.done():
            self._check_size(self._machine.received_bytes)
        self._feed_disk()

    def _check_size(self, size_bytes: int | None) -> None:
        """Raises TooLarge for what is offered, or has come of a stream, if it is more than the user allows."""
        limit_bytes = self._settings.max_bytes
        if limit_bytes is not None and size_bytes is not None and size_bytes > limit_bytes:
            raise TooLarge(limit_bytes, None if self._is_endless else size_bytes)

    def _succeeded(self) -> None:
        """Say so at once. What is left is to let the sender know, however long the path takes to carry it."""
        if self._ticker is not None:
            self._ticker.cancel()
        self._done = self._finish()
        self._telling = self._pump.watch(self._loop.create_task(self._deliver_report()))

    async def _deliver_report(self) -> None:
        await asyncio.sleep(0)  # the turn that we are in hands it over first
        if await self._connection.link.drain(None):
            self._machine.report_delivered(monotonic())
            self._pump.wake()

    async def _consider(self, encoded: bytes) -> None:
        """Judge the offer, ask whoever decides, make ready, accept; or refuse."""
        try:
            manifest = await self._worker.run(decode_manifest_untrusted, encoded, self._settings.names)
            self._emit(await self._worker.run(describe, manifest))
            self._check_size(manifest.total_bytes)
            self._is_endless = manifest.total_bytes is None
            sink = self._sink = await self._decide(manifest)
            await self._worker.run(sink.open, manifest)
            self._show_notices(sink)
            self._landing = Landing(sink, self._worker.stopping, self._hear)
            if not manifest.file_spans:  # nothing will be written: what there is to do is done now
                await self._worker.run(sink.complete)
        except TallowError as error:
            kind = kind_for_the_peer(error)
            self._machine.refuse(monotonic(), kind, for_the_peer(error).removesuffix("."))
            if kind in SLIPS:
                self._emit(Notice("The sender goes on waiting: run this again, with the same code."))
            self._pump.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - a task nobody awaits hands every error on
            self._pump.fail(error)
            return
        now = monotonic()
        self._manifest = manifest
        self._file_count = len(manifest.file_spans)
        self._meter = Meter(
            self._emit,
            self._connection.data,
            total_bytes=manifest.total_bytes,
            files_total=self._file_count,
            now=now,
        )
        ends = None if manifest.kind == "stream" else [span.end for span in manifest.file_spans]
        self._machine.accept(now, ends)
        self._pump.wake()

    # The disk

    def _feed_disk(self) -> None:
        """Give the worker what has gathered, unless it is still at the last batch.

        Until then data waits in the machine, which joins small pieces.
        """
        landing, waiting = self._landing, self._machine.waiting_bytes
        given = bool(self._ready or self._gone or self._unwritten)
        if self._busy or landing is None or not (waiting or given):
            return
        if not given and waiting < _BATCH_BYTES and not self._gathered:
            if self._gathering is None:
                self._gathering = self._loop.call_later(_GATHER_S, self._gather_no_more)
            return
        self._gathered = False
        files, self._ready = self._ready, []
        gone, self._gone = self._gone, []
        self._files_given += len(files) + len(gone)
        writes, self._unwritten = self._unwritten + self._machine.writes(), []
        batch = Batch(writes, files, self._files_given == self._file_count, gone)
        self._give(lambda: landing.work(batch))

    def _gather_no_more(self) -> None:
        self._gathering = None
        self._gathered = True
        self._feed_disk()

    def _publish_due(self) -> None:
        """Verified files wait for others to be published with, but not for long: see to it while nothing comes."""
        landing = self._landing
        if landing is not None and not self._busy and self._files_verified > self._files_published:
            self._give(landing.publish_due)

    def _give(self, job: Callable[[], Report]) -> None:
        self._busy = True
        self._worker.submit(job, self._worked, self._pump.fail)

    def _worked(self, report: Report) -> None:
        self._busy = False
        self._unwritten += report.unwritten
        self._take_report(report)

    def _hear(self, report: Report) -> None:
        """Called in the worker's thread."""
        self._worker.tell(partial(self._take_report, report))

    def _take_report(self, report: Report) -> None:
        now = monotonic()
        for offset, size in report.written:
            self._machine.written(now, offset, size)
        self._files_verified += report.verified
        if report.dropped:
            self._drop(now, report.dropped)
        self._tell_published(report.published)
        self._pump.wake()

    def _tell_published(self, published: Iterable[Published]) -> None:
        now = monotonic()
        for file in published:
            self._files_published += 1
            if not isinstance(self._sink, TextSink):
                self._emit(FileFinished(path=file.path, size=file.size, saved_as=file.saved_as))
            self._machine.file_verified(now, file.file_index)

    def _drop(self, now: float, withdrawn: list[FileWithdrawn]) -> None:
        self._withdrawn += len(withdrawn)
        spans = self._manifest.file_spans
        self._emit(
            LeftOut(tuple(withdrawn_item(spans[gone.index].entry.path, gone.why) for gone in withdrawn))
        )
        for gone in withdrawn:
            self._machine.file_dropped(now, gone.index)

    # What people see

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self._meter is not None:
                self._publish_due()
                self._meter.tick(monotonic(), self._sample(), self._machine.counters)

    def _sample(self) -> Sample:
        figures = self._machine.figures
        return Sample(
            bytes_done=figures.bytes_written,
            rtt_s=figures.rtt_s,
            loss=figures.packet_loss,
            files_done=self._files_verified,
        )

    def _show_notices(self, sink: Sink) -> None:
        """Those that have not been shown."""
        for notice in sink.notices[self._notices_shown :]:
            self._emit(Notice(notice))
        self._notices_shown = len(sink.notices)

    def _finish(self) -> Done:
        if self._meter is None or self._sink is None:
            raise RuntimeError("the transfer finished before it was accepted")
        self._show_notices(self._sink)
        if isinstance(self._sink, TextSink):
            self._emit(TextReceived(self._sink.text))
        return self._meter.finish(
            monotonic(),
            self._sample(),
            left_out=sum(group.count for group in self._manifest.left_out) + self._withdrawn,
            missed=self._manifest.missed + self._withdrawn,
        )


def _stay_uncancelled() -> None:
    """Whoever cancelled us wanted us gone, and we go: but it is success that we end with."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
