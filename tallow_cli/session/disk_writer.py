"""The disk half of a receiver: gathers what arrives into batches, has the worker work them off, says what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from tallow_cli.errors import TallowError
from tallow_cli.session.landing import Batch, Landing, Report
from tallow_cli.session.worker import Worker
from tallow_cli.store.sink import Sink
from tallow_cli.transfer.driving import FileReady, FileWithdrawn

# A hop between threads costs as much as writing and hashing half a megabyte: data gathers first, but not for long.
BATCH_BYTES = 1024 * 1024
GATHER_S = 0.005


class Arrivals(Protocol):
    """What waits to be written: see `ReceiveMachine`."""

    @property
    def waiting_bytes(self) -> int: ...

    def writes(self) -> list[tuple[int, memoryview]]: ...


class DiskWriter:
    """Writes into an open `sink`. All methods belong to the event loop's thread.

    `on_report` is told of what was done, on the event loop; `on_error` of what the sink raised.
    """

    def __init__(
        self,
        sink: Sink,
        worker: Worker,
        file_count: int,
        on_report: Callable[[Report], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._worker = worker
        self._file_count = file_count
        self._on_report = on_report
        self._on_error = on_error
        self._landing = Landing(sink, worker.stopping, self._hear)
        self._is_busy = False
        self._gathering: asyncio.TimerHandle | None = None
        self._gathered = False  # long enough: what there is goes to the disk
        self._ready: list[FileReady] = []  # not yet given to the disk
        self._gone: list[FileWithdrawn] = []
        self._unwritten: list[tuple[int, memoryview]] = []  # given to it, and given back for lack of time
        self._files_given = 0
        self._files_verified = 0
        self._files_published = 0
        self._arrivals: Arrivals | None = None

    @property
    def files_verified(self) -> int:
        return self._files_verified

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
        given = bool(self._ready or self._gone or self._unwritten)
        if self._is_busy or not (waiting or given):
            return
        if not given and waiting < BATCH_BYTES and not self._gathered:
            if self._gathering is None:
                self._gathering = self._loop.call_later(GATHER_S, self._gather_no_more)
            return
        self._gathered = False
        files, self._ready = self._ready, []
        gone, self._gone = self._gone, []
        self._files_given += len(files) + len(gone)
        writes, self._unwritten = self._unwritten + arrivals.writes(), []
        batch = Batch(writes, files, self._files_given == self._file_count, gone)
        self._give(lambda: self._landing.work(batch))

    def publish_due(self) -> None:
        """Verified files wait for others to be published with, but not for long: see to it while nothing comes."""
        if not self._is_busy and self._files_verified > self._files_published:
            self._give(self._landing.publish_due)

    def stop(self) -> None:
        """Give the worker nothing more."""
        self._is_busy = True
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
        self._is_busy = False
        self._unwritten += report.unwritten
        self._take(report)

    def _hear(self, report: Report) -> None:
        """Called in the worker's thread."""
        self._worker.tell(partial(self._take, report))

    def _take(self, report: Report) -> None:
        self._files_verified += report.verified
        self._files_published += len(report.published)
        self._on_report(report)
