"""The disk half of a receiver: gathers what arrives into batches, has the worker work them off, says what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol

from tallow_cli.errors import TallowError
from tallow_cli.ranges import RangeSet
from tallow_cli.session.end_use import WorkClock
from tallow_cli.session.landing import Batch, Landing, Report
from tallow_cli.session.pace import DiskPace
from tallow_cli.session.worker import Worker
from tallow_cli.store.sink import Holding, Sink
from tallow_cli.transfer.driving import FileReady, FileWithdrawn, PieceDigested


class Arrivals(Protocol):
    """What waits to be written: see `ReceiveMachine`."""

    @property
    def waiting_bytes(self) -> int: ...

    def writes(self) -> list[tuple[int, memoryview]]: ...

    def remains(self) -> list[tuple[int, memoryview]]: ...


class DiskWriter:
    """Writes into an open `sink`, over one connection after another. All methods belong to the event loop's thread.

    `on_report` is told of what was done, on the event loop; `on_error` of what the sink raised.
    """

    def __init__(
        self,
        sink: Sink,
        worker: Worker,
        file_count: int,
        on_report: Callable[[Report], None],
        on_error: Callable[[BaseException], None],
        holding: Holding | None = None,
        pace: DiskPace | None = None,
    ) -> None:
        """`holding`: what the sink had when it was opened."""
        holding = holding or Holding()
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._worker = worker
        self._file_count = file_count
        self._on_report = on_report
        self._on_error = on_error
        self._pace = pace or DiskPace()
        self._landing = Landing(sink, worker.stopping, self._hear, self._pace)
        self._is_busy = False
        self._is_stopped = False
        self._gathering: asyncio.TimerHandle | None = None
        self._gathered = False  # long enough: what there is goes to the disk
        self._ready: list[FileReady] = []  # not yet given to the disk
        self._gone: list[FileWithdrawn] = []
        self._unwritten: list[tuple[int, memoryview]] = []  # given to it, and given back for lack of time
        self._files_given = self._files_verified = holding.kept.total
        self._written = RangeSet(holding.held)
        self._published = RangeSet(holding.kept)
        self._claims = RangeSet(holding.claims)
        self._pieces: list[PieceDigested] = []
        self._dropped = RangeSet()
        self._arrivals: Arrivals | None = None
        self._worked_off: asyncio.Future[None] | None = None

    @property
    def work_clock(self) -> WorkClock:
        return self._landing.work_clock

    @property
    def files_verified(self) -> int:
        return self._files_verified

    @property
    def written(self) -> RangeSet:
        """What of the stream need not come again."""
        return self._written

    @property
    def claims(self) -> RangeSet:
        """What of the stream is said to be there, and neither proven nor refuted."""
        return self._claims

    @property
    def published(self) -> RangeSet:
        """Indexes of files that are verified and under their names."""
        return self._published

    @property
    def dropped(self) -> RangeSet:
        """Indexes of files that the sender has withdrawn, of which nothing is left here."""
        return self._dropped

    def unclaim(self, taken: Iterable[tuple[int, int]]) -> None:
        """Of what is claimed only these ranges will be proven over this connection; the rest is sent."""
        rest = RangeSet(self._claims)
        for start, end in taken:
            rest.remove(start, end)
        if rest:
            for start, end in rest:
                self._claims.remove(start, end)
            self._give(lambda: self._landing.unclaim(rest))

    def piece_digested(self, piece: PieceDigested) -> None:
        """This is what the sender has where something is claimed: prove it."""
        self._pieces.append(piece)

    def file_ready(self, file: FileReady) -> None:
        """It is whole, and shall be verified."""
        self._ready.append(file)

    def file_withdrawn(self, file: FileWithdrawn) -> None:
        """All of it is written that will ever come."""
        self._gone.append(file)

    def feed(self, arrivals: Arrivals) -> None:
        """Give the worker what has gathered, unless it is still at the last batch.

        Until then data waits in the machine, which joins small pieces.
        """
        self._arrivals = arrivals
        waiting = arrivals.waiting_bytes
        given = self._has_work
        if self._is_busy or not (waiting or given):
            return
        if not given and waiting < self._pace.batch_bytes and not self._gathered:
            if self._gathering is None:
                self._gathering = self._loop.call_later(self._pace.gather_s, self._gather_no_more)
            return
        self._gathered = False
        writes, self._unwritten = self._unwritten + arrivals.writes(), []
        self._give_batch(writes)

    def _give_batch(self, writes: list[tuple[int, memoryview]]) -> None:
        files, self._ready = self._ready, []
        gone, self._gone = self._gone, []
        pieces, self._pieces = self._pieces, []
        self._files_given += len(files) + len(gone)
        batch = Batch(writes, files, self._files_given == self._file_count, gone, pieces)
        self._give(lambda: self._landing.work(batch))

    def publish_due(self) -> None:
        """Verified files wait for others to be published with, but not for long: see to it while nothing comes."""
        if not self._is_busy and self._files_verified > self._published.total:
            self._give(self._landing.publish_due)

    def take_over(self, arrivals: Arrivals) -> None:
        """Their connection has ended: what came over it is written all the same."""
        self._arrivals = None
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._unwritten += arrivals.remains()
        self._pieces = []  # they are claimed again, and have other numbers then
        self._work_off()

    async def settle(self) -> None:
        """Return once everything that came is written, and what is verified of it published: only then can the next
        connection be told what need not come. Call `take_over` before."""
        while self._is_busy or self._has_work or self._files_verified > self._published.total:
            self._work_off()
            self.publish_due()
            if self._is_busy:
                self._worked_off = self._loop.create_future()
                await self._worked_off
            if not (self._is_busy or self._has_work) and self._files_verified > self._published.total:
                await asyncio.sleep(self._pace.publish_s)
        self._landing.forget_waiting()

    @property
    def _has_work(self) -> bool:
        return bool(self._ready or self._gone or self._unwritten or self._pieces)

    def _work_off(self) -> None:
        """Give the worker what there is without a connection."""
        if self._has_work and not self._is_busy:
            writes, self._unwritten = self._unwritten, []
            self._give_batch(writes)

    def stop(self) -> None:
        """Give the worker nothing more."""
        self._is_busy = self._is_stopped = True
        if self._gathering is not None:
            self._gathering.cancel()

    async def keep_what_is_whole(self) -> None:
        """The transfer has failed: verify the files that are whole. Call `stop` before."""
        if self._ready:
            with suppress(TallowError):  # the transfer has an end already; this file is not kept
                self._take(await self._worker.run(self._landing.work, Batch([], self._ready, False)))

    def _gather_no_more(self) -> None:
        self._gathering = None
        self._gathered = True
        if self._arrivals is not None:
            self.feed(self._arrivals)

    def _give(self, job: Callable[[], Report]) -> None:
        self._is_busy = True
        self._worker.submit(job, self._worked, self._on_error)

    def _worked(self, report: Report) -> None:
        self._is_busy = self._is_stopped
        self._unwritten += report.unwritten
        self._files_given -= len(report.unverified) + len(report.undropped)
        self._ready = report.unverified + self._ready
        self._gone = report.undropped + self._gone
        if self._arrivals is not None:
            self._pieces = report.unproven + self._pieces
        self._take(report)
        if self._arrivals is None:
            self._work_off()
        if self._worked_off is not None and not self._worked_off.done():
            self._worked_off.set_result(None)

    def _hear(self, report: Report) -> None:
        """Called in the worker's thread."""
        self._worker.tell(partial(self._take, report))

    def _take(self, report: Report) -> None:
        self._files_verified += report.verified
        for offset, size in report.written:
            self._written.add(offset, offset + size)
        for piece in report.proved:
            self._written.add(piece.start, piece.end)
            self._claims.remove(piece.start, piece.end)
        for piece in report.refuted:
            self._claims.remove(piece.start, piece.end)
        for file in report.published:
            self._published.add(file.file_index, file.file_index + 1)
        for gone in report.dropped:
            self._dropped.add(gone.index, gone.index + 1)
        self._on_report(report)
