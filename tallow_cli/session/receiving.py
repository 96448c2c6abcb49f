"""The receiver's half of a transfer over an open connection: channels, ReceiveMachine and sink, joined."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

from tallow_cli.core.driving import Failed, FileReady, Finished, OfferArrived, Reported
from tallow_cli.core.manifest import Manifest, decode_manifest_untrusted
from tallow_cli.core.receiving import ReceiveMachine, ReceiveOptions
from tallow_cli.errors import TallowError, TransferStalled
from tallow_cli.session.connection import Connection
from tallow_cli.session.events import (
    Done,
    FileFinished,
    LastWords,
    Notice,
    Offered,
    OfferedEntry,
    SessionEvent,
    TextReceived,
)
from tallow_cli.session.measure import TICK_S, Meter, Sample
from tallow_cli.session.patience import Patience
from tallow_cli.session.pump import Pump
from tallow_cli.session.settings import ReceiveSettings
from tallow_cli.session.words import for_the_peer
from tallow_cli.session.worker import Worker
from tallow_cli.store.sequential_sink import StdoutSink, TextSink
from tallow_cli.store.sink import Published, Sink

# A hop between threads costs as much as writing and hashing half a megabyte: data gathers first, but not for long.
_BATCH_BYTES = 1024 * 1024
_GATHER_S = 0.005

# Asked with the validated offer; returns where to put it, or raises the TallowError that refuses it.
Decide = Callable[[Manifest], Awaitable[Sink]]


@dataclass(slots=True)
class _Batch:
    """What the disk shall do next, and has done."""

    writes: list[tuple[int, memoryview]] = field(default_factory=list)
    files: list[FileReady] = field(default_factory=list)
    complete: bool = False
    size: int = 0  # bytes in `writes`


@dataclass(slots=True)
class _Result:
    written: list[tuple[int, int]]
    published: list[Published]


class Receiving:
    """Receives over `connection` into the sink that `decide` chooses. Use once: `await run()`.

    Cancelling `run` tells the peer that the transfer was cancelled; what was unfinished is removed.
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
        self._file_count = 0
        self._files_published = 0
        self._files_finished = 0
        self._busy = False
        self._gathering: asyncio.TimerHandle | None = None
        self._gathered = False  # long enough: what there is goes to the disk
        self._next = _Batch()
        self._held_back: list[tuple[int, int]] = []  # heap of ranges an in-order sink has not passed on
        self._passed_on = 0
        self._machine = ReceiveMachine(
            channels=len(connection.data.indexes),
            now=monotonic(),
            options=ReceiveOptions(
                sealed=connection.sealed,
                max_message_bytes=connection.max_message_bytes,
                idle_timeout_s=settings.waits.idle_s,
            ),
        )
        self._pump = Pump(self._machine, connection, self._on_turn)

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
        if isinstance(self._sink, StdoutSink):
            self._sink.close()  # wakes a write that waits for whoever reads standard output
        await self._worker.close()
        if self._sink is not None:
            self._sink.close()

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
                    self._next.files.append(event)
                case Reported():
                    self._succeeded()
                case Finished():
                    self._pump.finish()
                case Failed(error=error):
                    self._pump.fail(error)
        for offset, data in self._machine.writes():
            self._next.writes.append((offset, data))
            self._next.size += len(data)
        self._feed_disk()

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
            manifest = await self._worker.run(decode_manifest_untrusted, encoded)
            self._emit(describe(manifest))
            sink = self._sink = await self._decide(manifest)
            await self._worker.run(sink.open, manifest)
            if not manifest.file_spans:  # nothing will be written: what there is to do is done now
                await self._worker.run(sink.complete)
        except TallowError as error:
            self._machine.refuse(monotonic(), for_the_peer(error).removesuffix("."))
            self._pump.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - a task nobody awaits hands every error on
            self._pump.fail(error)
            return
        now = monotonic()
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
        """Give the worker what has gathered, unless it is still at the last batch."""
        batch, sink = self._next, self._sink
        if self._busy or sink is None or not (batch.writes or batch.files):
            return
        if not batch.files and batch.size < _BATCH_BYTES and not self._gathered:
            if self._gathering is None:
                self._gathering = self._loop.call_later(_GATHER_S, self._gather_no_more)
            return
        self._gathered = False
        self._files_finished += len(batch.files)
        batch.complete = self._files_finished == self._file_count
        self._next = _Batch()
        self._busy = True
        self._worker.submit(lambda: self._work(sink, batch), self._worked, self._pump.fail)

    def _gather_no_more(self) -> None:
        self._gathering = None
        self._gathered = True
        self._feed_disk()

    def _work(self, sink: Sink, batch: _Batch) -> _Result:
        """Runs in the worker's thread; nothing else touches the sink or the ranges held back meanwhile."""
        result = _Result([], [])
        for offset, data in batch.writes:
            self._write(sink, offset, data, result.written)
        for file in batch.files:
            result.published.extend(sink.finish(file.index, file.digest))
        if batch.complete:
            result.published.extend(sink.complete())
        return result

    def _write(self, sink: Sink, offset: int, data: memoryview, written: list[tuple[int, int]]) -> None:
        """Write a range. A sink that must keep order may hold it back, and pass it on in a later call."""
        size = len(data)
        passed_on = sink.write(offset, data)
        if passed_on == size and not self._held_back:
            self._passed_on += size
            written.append((offset, size))
            return
        heapq.heappush(self._held_back, (offset, size))
        self._passed_on += passed_on
        while self._held_back and sum(self._held_back[0]) <= self._passed_on:
            written.append(heapq.heappop(self._held_back))

    def _worked(self, result: _Result) -> None:
        self._busy = False
        now = monotonic()
        for offset, size in result.written:
            self._machine.written(now, offset, size)
        for file in result.published:
            self._files_published += 1
            if not isinstance(self._sink, TextSink):
                self._emit(FileFinished(path=file.path, size=file.size, saved_as=file.saved_as))
            self._machine.file_verified(now, file.file_index)
        self._pump.wake()

    # What people see

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self._meter is not None:
                self._meter.tick(monotonic(), self._sample(), self._machine.counters)

    def _sample(self) -> Sample:
        figures = self._machine.figures
        return Sample(
            bytes_done=figures.bytes_written,
            rtt_s=figures.rtt_s,
            loss=figures.packet_loss,
            files_done=self._files_published,
        )

    def _finish(self) -> Done:
        if self._meter is None or self._sink is None:
            raise RuntimeError("the transfer finished before it was accepted")
        for notice in self._sink.notices:
            self._emit(Notice(notice))
        if isinstance(self._sink, TextSink):
            self._emit(TextReceived(self._sink.text))
        return self._meter.finish(monotonic(), self._sample())


def _stay_uncancelled() -> None:
    """Whoever cancelled us wanted us gone, and we go: but it is success that we end with."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def describe(manifest: Manifest) -> Offered:
    """The offer as an event. Its texts are the peer's."""
    return Offered(
        kind=manifest.kind,
        entries=tuple(
            OfferedEntry(path=entry.path, kind=entry.kind.value, size=entry.size)
            for entry in manifest.entries
        ),
        total_bytes=manifest.total_bytes,
    )
