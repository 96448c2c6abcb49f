"""The sender's half of a transfer over an open connection: source, SendMachine and channels, joined."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from time import monotonic

from tallow_cli.errors import NoAnswer
from tallow_cli.measure.quality import LimitedBy
from tallow_cli.offer.manifest import encode_manifest
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.session.connection import Connection
from tallow_cli.session.events import Done, FileFinished, LastWords, LeftOut, Notice, SessionEvent
from tallow_cli.session.meter import TICK_S, Meter, Sample
from tallow_cli.session.offer_events import describe, left_out, withdrawn_item
from tallow_cli.session.path_view import PathView
from tallow_cli.session.patience import Patience
from tallow_cli.session.pump import Pump
from tallow_cli.session.settings import SendSettings
from tallow_cli.session.worker import Worker
from tallow_cli.store.failures import displayable
from tallow_cli.store.source import Source
from tallow_cli.transfer.chunking import AdaptiveBitrateController, ChunkMode
from tallow_cli.transfer.driving import Accepted, Failed, Finished, PeerReady, ReadRequest
from tallow_cli.transfer.sender import SendMachine, SendOptions

_REPORT_TICKS = 5  # the receiver's user is told the sender's measurements once a second


class Sending:
    """Sends `source` over `connection`. Use once: `await run()`.

    Cancelling `run` tells the peer that the transfer was cancelled before the cancellation goes on.
    """

    def __init__(
        self,
        source: Source,
        connection: Connection,
        settings: SendSettings,
        emit: Callable[[SessionEvent], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._connection = connection
        self._settings = settings
        self._emit = emit
        self._worker = Worker()
        self._path = PathView(connection.link.path_figures)
        self._chunks = AdaptiveBitrateController(connection.is_lan, ChunkMode(settings.link.mode))
        self._wanted: list[ReadRequest] = []
        self._reading = False
        self._settled = 0  # files whose digest was given to the machine, or that were withdrawn
        self._offering: asyncio.Task[None] | None = None
        self._file_ends: list[int] = []
        self._file_count = 0
        self._notices_told = len(source.notices)
        self._meter: Meter | None = None
        self._patience: Patience | None = None
        self._machine = SendMachine(
            channels=len(connection.data.indexes),
            chunk_sizer=self._chunks,
            now=monotonic(),
            options=SendOptions(
                sealed=connection.sealed,
                reliable=connection.reliable,
                retransmissions=connection.link.retransmissions,
                max_message_bytes=connection.max_message_bytes,
                limit_bytes_per_s=settings.link.limit_bytes_per_s,
                # A third part is being read ahead; what is in flight is held twice, here and sealed in the engine.
                memory_bytes=connection.link.window_bytes * 3 // 2,
                idle_timeout_s=settings.waits.idle_s,
            ),
        )
        self._pump = Pump(self._machine, connection, self._on_turn)

    async def run(self) -> Done:
        """Return once the receiver has reported every file verified. Raises the TallowError that ended it."""
        ticker = self._pump.watch(self._loop.create_task(self._tick()))
        self._patience = Patience(
            self._emit, "for the receiver to accept", self._settings.waits.peer_s, self._consent_overdue
        )
        try:
            await self._pump.run()
            return self._finish()
        except asyncio.CancelledError:
            heard = bool(self._pump.peer_told)
            self._emit(LastWords(heard=heard, all_arrived=heard and self._machine.all_handed_over))
            raise
        finally:
            self._patience.end()
            ticker.cancel()
            self._pump.stop()
            if self._offering is not None:
                self._offering.cancel()
                await asyncio.wait([self._offering])
            if self._reading:
                self._source.close()  # wakes a read that waits for standard input
            await self._worker.close()

    def _consent_overdue(self) -> None:
        self._pump.fail(NoAnswer(self._settings.waits.peer_s))

    # A turn of the pump

    def _on_turn(self, now: float) -> None:
        for channel in self._connection.data.indexes:
            self._machine.buffered(now, channel, self._connection.data.buffered_amount(channel))
        for event in self._machine.events():
            match event:
                case PeerReady(names=names):
                    self._offering = self._loop.create_task(self._offer(names))
                case Accepted(held_bytes=held):
                    self._begin(now, held)
                case Finished():
                    self._pump.finish()
                case Failed(error=error):
                    self._pump.fail(error)
        if self._meter is not None:
            while (request := self._machine.next_read(now)) is not None:
                self._wanted.append(request)
            self._read_next()

    async def _offer(self, names: NameRules) -> None:
        """Look again at what is to be sent, and offer it."""
        source = self._source
        known = frozenset(source.left_out)
        try:
            await self._worker.run(source.prepare, names)
            manifest = source.manifest
            encoded = await self._worker.run(encode_manifest, manifest)
            self._file_ends = await self._worker.run(lambda: [span.end for span in manifest.file_spans])
            self._file_count = len(self._file_ends)
            news = [item for item in source.left_out if item not in known]
            if news:
                self._emit(left_out(news))
            self._tell_notices()
            self._emit(await self._worker.run(describe, manifest))
        except Exception as error:  # noqa: BLE001 - a task nobody awaits hands every error on
            self._pump.fail(error)
            return
        self._machine.offer(
            monotonic(), encoded, total_bytes=manifest.total_bytes, file_count=self._file_count
        )
        self._pump.wake()

    def _tell_notices(self) -> None:
        notices = self._source.notices
        for notice in notices[self._notices_told :]:
            self._emit(Notice(notice))
        self._notices_told = len(notices)

    def _begin(self, now: float, held_bytes: int) -> None:
        if self._patience is not None:
            self._patience.end()
        self._meter = Meter(
            self._emit,
            self._connection.data,
            total_bytes=self._source.manifest.total_bytes,
            held_bytes=held_bytes,
            files_total=self._file_count,
            now=now,
        )
        # Files without data are read by nobody's wish: the first of them now, the others behind the ones before them.
        self._worker.submit(lambda: self._source.read(0, 0), lambda _: self._settle(), self._pump.fail)

    def _read_next(self) -> None:
        """Give the worker every range that is wanted by now, as one job: each hop between threads costs as much
        as reading and hashing half a megabyte."""
        if self._reading or not self._wanted:
            return
        requests, self._wanted = self._wanted, []
        self._reading = True

        def read() -> list[bytes]:
            return [self._source.read(request.offset, request.size) for request in requests]

        def on_result(chunks: list[bytes]) -> None:
            self._reading = False
            now = monotonic()
            for request, data in zip(requests, chunks, strict=True):
                self._machine.chunk_read(now, request.offset, data)
            self._settle()

        self._worker.submit(read, on_result, self._pump.fail)

    def _settle(self) -> None:
        """Tell the receiver the digest of each file that was read to its end since the last call, and which will not
        come."""
        now, source = monotonic(), self._source
        ready, withdrawn = source.files_read, source.withdrawn
        if withdrawn and len(withdrawn) == self._file_count:
            self._pump.fail(withdrawn[0].error)  # nothing is left of it: that is no success
            return
        spans = source.manifest.file_spans
        gone = []
        while self._settled < ready:
            index = self._settled
            if index in withdrawn:
                self._machine.withdraw(now, index, spans[index].start, spans[index].end, withdrawn[index].why)
                gone.append(withdrawn_item(spans[index].entry.path, withdrawn[index].why))
                self._settled += 1
                continue
            while self._settled < ready and self._settled not in withdrawn:
                self._settled += 1
            self._machine.digests(now, index, [source.digest(i) for i in range(index, self._settled)])
        if gone:
            self._emit(LeftOut(tuple(gone)))
        self._tell_notices()
        self._pump.wake()

    # What people see

    async def _tick(self) -> None:
        for tick in count(1):
            await asyncio.sleep(TICK_S)
            if self._meter is None:
                continue
            self._machine.network_packet(self._connection.link.network_packet_bytes)
            figures, path = self._machine.figures, self._path
            path.look(figures)
            self._meter.tick(monotonic(), self._sample(), self._machine.counters)
            if path.rtt_s is None or path.loss is None:
                continue
            self._chunks.report_metrics(figures.rate_bytes_per_s, path.rtt_s, path.loss)
            if tick % _REPORT_TICKS == 0:
                self._machine.report_path(
                    monotonic(), rtt_s=path.rtt_s, jitter_s=path.jitter_s, packet_loss=path.loss
                )
                self._pump.wake()

    def _sample(self) -> Sample:
        figures = self._machine.figures
        return Sample(
            bytes_done=figures.bytes_written,
            rtt_s=self._path.rtt_s,
            loss=self._path.loss,
            limited_by=self._limited_by(),
            chunk_bytes=self._chunks.chunk_size,
            message_bytes=figures.message_bytes,
            files_done=bisect_right(self._file_ends, figures.bytes_written),
        )

    def _limited_by(self) -> LimitedBy:
        """What keeps us from sending more just now, as far as this side can tell."""
        figures = self._machine.figures
        limit = self._settings.link.limit_bytes_per_s
        if limit is not None and figures.rate_bytes_per_s > 0.8 * limit:
            return LimitedBy.LIMIT
        if figures.credit_bytes < figures.message_bytes:
            return LimitedBy.RECEIVER
        if self._reading and figures.retained_bytes <= figures.bytes_in_flight:
            return LimitedBy.SOURCE
        return LimitedBy.NETWORK

    def _finish(self) -> Done:
        if self._meter is None:
            raise RuntimeError("the transfer finished before it was accepted")
        manifest, withdrawn = self._source.manifest, self._source.withdrawn
        for span in () if manifest.kind == "text" else manifest.file_spans:
            if span.index not in withdrawn:
                size = self._machine.figures.bytes_written if manifest.kind == "stream" else span.entry.size
                self._emit(FileFinished(path=displayable(span.entry.path), size=size))
        return self._meter.finish(
            monotonic(),
            replace(self._sample(), files_done=self._file_count - len(withdrawn)),
            left_out=len(self._source.left_out) + len(withdrawn),
            missed=manifest.missed + len(withdrawn),
        )
