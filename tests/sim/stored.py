"""A whole transfer in virtual time: both machines over a lossy network, and the real source, sink and journal.

`tests.sim.transfer` with its model of a disk replaced by what the sessions use: `DiskReader` over a source, `Landing`
over a sink, on a `FaultyDisk`. Processes are `Sender` and `Receiver`: either may be killed, and a new one goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tallow_cli.errors import PeerVanished, TallowError
from tallow_cli.offer.manifest import Manifest, decode_manifest_untrusted, encode_manifest
from tallow_cli.offer.name_rules import POSIX
from tallow_cli.ranges import RangeSet
from tallow_cli.session.disk_reader import DiskNews, DiskReader
from tallow_cli.session.landing import Batch, Landing, Report
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.sink import OnConflict
from tallow_cli.store.source import Source
from tallow_cli.store.stream_source import StreamSource
from tallow_cli.transfer.driving import (
    Accepted,
    Failed,
    FileReady,
    FileWithdrawn,
    Finished,
    OfferArrived,
    PeerReady,
    PieceDigested,
)
from tallow_cli.transfer.receiver import ReceiveState
from tallow_cli.transfer.sender import SendState
from tests.sim.transfer import Ends, Scenario, Simulation
from tests.support.faulty_disk import FaultyDisk, Killed, Patience

DISK_RATE = 200e6  # bytes per second, of virtual time
TICK_S = 0.2


class Sender:
    """A process that sends `path`."""

    def __init__(self, path: Path, *, is_stream: bool) -> None:
        self.fd = os.open(path, os.O_RDONLY) if is_stream else -1
        self.source: Source = StreamSource(self.fd, "stream") if is_stream else FileSource([path])
        self.source.prepare(POSIX)
        self.manifest = self.source.manifest
        self.encoded = encode_manifest(self.manifest)
        self.reader = DiskReader(self.source)

    def kill(self) -> None:
        self.source.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass
class Later:
    """Jobs that a thread of their own would do, at a time that the simulation chooses."""

    jobs: list[Callable[[], None]] = field(default_factory=list)

    def __call__(self, job: Callable[[], None]) -> None:
        self.jobs.append(job)

    def do(self) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()


class Receiver:
    """A process that receives into `target`."""

    def __init__(
        self,
        target: Path,
        clock: Callable[[], float],
        policy: OnConflict,
        limits: ReceiveLimits | None = None,
    ) -> None:
        self.disk = FaultyDisk()
        self.patience = Patience(self.disk)
        self.later = Later()
        self.sink = DirectorySink(
            target,
            policy,
            resume=True,
            filesystem=self.disk,
            clock=clock,
            limits=limits or ReceiveLimits(),
            in_background=self.later,
        )
        self.landing: Landing | None = None
        self.manifest: Manifest | None = None
        self.encoded = b""
        self.file_count = self.files_given = self.files_verified = 0
        self.written, self.published, self.claims, self.dropped = (
            RangeSet(),
            RangeSet(),
            RangeSet(),
            RangeSet(),
        )
        self.said = RangeSet()  # of the stream, by `open`: held, kept or claimed
        self.refuted_bytes = self.taken_bytes = 0
        self.unwritten: list[tuple[int, memoryview]] = []
        self.ready: list[FileReady] = []
        self.gone: list[FileWithdrawn] = []
        self.pieces: list[PieceDigested] = []
        self.done = False
        self.told: list[Report] = []  # by the job that is being done

    def open(self, encoded: bytes) -> None:
        """Raises LocalFileError."""
        self.encoded = encoded
        self.manifest = manifest = decode_manifest_untrusted(encoded)
        self.sink.conflicts(manifest)
        self.sink.at_hand(manifest)
        holding = self.sink.open(manifest)
        self.landing = Landing(self.sink, self.patience, self.told.append)
        self.file_count = len(manifest.file_spans)
        self.files_given = self.files_verified = holding.kept.total
        self.written, self.published = RangeSet(holding.held), RangeSet(holding.kept)
        self.claims = RangeSet(holding.claims)
        self.said = RangeSet((*holding.held, *holding.claims, *self._bytes_of(holding.kept)))
        if holding.kept.total == self.file_count:
            self.sink.complete()

    def _bytes_of(self, indexes: RangeSet) -> list[tuple[int, int]]:
        spans = self.manifest.file_spans if self.manifest else ()
        ranges = [(spans[first].start, spans[end - 1].end) for first, end in indexes]
        return [(start, end) for start, end in ranges if start < end]

    def has(self) -> RangeSet:
        """Of the stream: all that was on the disk, and right."""
        return RangeSet((*self.written, *self._bytes_of(self.published)))

    @property
    def has_work(self) -> bool:
        return bool(self.unwritten or self.ready or self.gone or self.pieces)

    def work(self, writes: list[tuple[int, memoryview]]) -> list[Report]:
        """One batch. Raises LocalFileError, Killed."""
        assert self.landing is not None
        writes, self.unwritten = self.unwritten + writes, []
        files, self.ready = self.ready, []
        gone, self.gone = self.gone, []
        pieces, self.pieces = self.pieces, []
        self.files_given += len(files) + len(gone)
        self.told.clear()
        report = self.landing.work(Batch(writes, files, self.files_given == self.file_count, gone, pieces))
        self.unwritten = report.unwritten
        self.files_given -= len(report.unverified) + len(report.undropped)
        self.ready, self.gone, self.pieces = report.unverified, report.undropped, report.unproven
        reports = [*self.told, report]
        for each in reports:
            self._take(each)
        return reports

    def publish_due(self) -> list[Report]:
        if self.landing is None or self.files_verified <= self.published.total:
            return []
        report = self.landing.publish_due()
        self._take(report)
        return [report]

    def _take(self, report: Report) -> None:
        self.files_verified += report.verified
        for offset, size in report.written:
            self.written.add(offset, offset + size)
            self.taken_bytes += size
        for piece in report.proved:
            self.written.add(piece.start, piece.end)
            self.claims.remove(piece.start, piece.end)
        for piece in report.refuted:
            self.claims.remove(piece.start, piece.end)
            self.refuted_bytes += piece.end - piece.start
        for file in report.published:
            self.published.add(file.file_index, file.file_index + 1)
        for withdrawn in report.dropped:
            self.dropped.add(withdrawn.index, withdrawn.index + 1)

    def settle(self) -> None:
        """The connection is gone; what came over it is written, and what is verified gets its name. Raises as work."""
        self.pieces = []
        while self.has_work:
            self.work([])
        if self.landing is not None:
            self.landing.forget_waiting()

    def stop(self) -> None:
        """It was told to, or failed: what was verified is published, what is unfinished is kept."""
        self.patience.set()
        self.disk.room = None if self.patience.waits is not None else self.disk.room
        self.sink.suspend()
        self.sink.close()
        self.later.jobs.clear()
        self.disk.kill()


class StoredSimulation(Simulation):
    """One connection between a Sender and a Receiver. `receiver_killed` says that it was, in the middle of a call."""

    def __init__(self, scenario: Scenario, sending: Sender, receiving: Receiver, seed: int) -> None:
        self.sending = sending
        self.receiving = receiving
        self.receiver_killed = False
        self._is_busy = False  # the receiver's disk
        self._is_accepted = self._is_taking = False
        super().__init__(scenario, Ends(b"", bytearray(), RangeSet(), RangeSet(), set()))
        self.at(TICK_S, self._tick)

    def sender_passes(self, point: str) -> None:
        """A point of the sender's path has this label. Raises Killed where it ends here."""

    # The sender's shell

    def _drain_sender(self) -> None:
        sending, machine, now = self.sending, self.sender, self.now
        for event in machine.events():
            self.sender_passes(f"event {type(event).__name__}")
            match event:
                case Failed(error):
                    self.errors["sender"] = error
                case Finished():
                    self.finished["sender"] = now
                case PeerReady():
                    spans = sending.manifest.file_spans
                    ends = None if sending.manifest.kind == "stream" else [span.end for span in spans]
                    machine.offer(now, sending.encoded, ends, sending.reader.read_bytes)
                case Accepted(_, claims, kept):
                    self._is_accepted = True
                    sending.reader.begin(kept, claims)
        if self._is_accepted:
            while (request := machine.next_read(now)) is not None:
                sending.reader.want(request)
            self._feed_reader()
            sending.source.release(machine.acked_until)
        while packets := machine.packets(now):
            for packet in packets:
                self._hand_over(self.there, packet)
            self._report_departures()

    def _feed_reader(self) -> None:
        job = self.sending.reader.next_job(self.sender.read_position)
        if job is None:
            return
        self.sender_passes("before reading")
        try:
            news = job()
        except TallowError as error:
            self._sender_fails(error)
            return
        self.at(self.now + self.scenario.read_delay, lambda: self._apply(news))

    def _sender_fails(self, error: TallowError) -> None:
        self.sender.abort(self.now, "source-changed", str(error))
        self.errors["sender"] = error

    def _apply(self, news: DiskNews) -> None:
        if not self.sending.reader.finished(news) or self.errors["sender"] is not None:
            return
        now, machine, source = self.now, self.sender, self.sending.source
        if machine.state not in (SendState.SENDING, SendState.COMPLETING):
            return
        for offset, data in news.chunks:
            self.sender_passes("chunk read")
            machine.chunk_read(now, offset, data)
        spans = source.manifest.file_spans
        if source.withdrawn and len(source.withdrawn) == len(spans):
            self._sender_fails(source.withdrawn[0].error)
            return
        for gone in news.given_up:
            span = spans[gone.index]
            machine.withdraw(now, span.index, span.start, span.end, gone.withdrawn.why)
        if news.piece_digests:
            self.sender_passes("piece digests given")
            machine.piece_digests(now, news.first_piece, news.piece_digests)
        if news.digested is not None:
            self.sender_passes("digests given")
            machine.digests(now, news.digested.first, news.digested.digests)

    # The receiver's shell

    def _drain_receiver(self) -> None:
        if self.receiver_killed:
            return
        machine, receiving = self.receiver, self.receiving
        for event in machine.events():
            match event:
                case OfferArrived(encoded):
                    self.at(self.now + self.scenario.consent_after, lambda e=encoded: self._take_offer(e))  # type: ignore[misc]
                case PieceDigested():
                    receiving.pieces.append(event)
                case FileReady():
                    receiving.ready.append(event)
                case FileWithdrawn(index, _):
                    if index in receiving.dropped:
                        machine.file_dropped(self.now, index)
                    else:
                        receiving.gone.append(event)
                case Failed(error):
                    self.errors["receiver"] = self.errors["receiver"] or error
                case Finished():
                    self.finished["receiver"] = self.now
                    receiving.done = True
        may_work = self._is_taking and not self._is_busy and self.errors["receiver"] is None
        if may_work and (machine.waiting_bytes or receiving.has_work):
            self._work(machine.writes())
        while packets := machine.packets(self.now):
            for packet in packets:
                self._hand_over(self.back, packet)

    def guarded(self, call: Callable[[], list[Report] | None]) -> list[Report]:
        """What a process does with its disk, which may be the last thing it does."""
        try:
            return call() or []
        except Killed:
            self.receiver_killed = True
            self.errors["receiver"] = PeerVanished("killed")
            self._cut()
        except TallowError as error:
            self.errors["receiver"] = error
            self.receiver.abort(self.now, "target", str(error))
        return []

    def _take_offer(self, encoded: bytes) -> None:
        receiving = self.receiving
        if self.receiver_killed or self.receiver.state is ReceiveState.FAILED:
            return
        if receiving.manifest is None:
            self.guarded(lambda: receiving.open(encoded))
            if receiving.landing is None:
                return
        assert encoded == receiving.encoded
        assert receiving.manifest is not None
        spans = receiving.manifest.file_spans
        is_stream = receiving.manifest.kind == "stream"
        held = RangeSet(receiving.written)
        for first, end in receiving.dropped:
            held.add(spans[first].start, spans[end - 1].end)
        if is_stream:
            self.receiver.accept(self.now, None, held, receiving.published)
        else:
            ends = [span.end for span in spans]
            self.receiver.accept(self.now, ends, held, receiving.published, receiving.claims)
            rest = RangeSet(receiving.claims)
            for start, end in self.receiver.claims:
                rest.remove(start, end)
            for start, end in RangeSet(rest):
                receiving.claims.remove(start, end)
                receiving.sink.refuted(start, end)
        self._is_taking = True

    def _work(self, writes: list[tuple[int, memoryview]]) -> None:
        self._is_busy = True
        reports = self.guarded(lambda: self.receiving.work(writes))
        size = sum(len(data) for _, data in writes)
        self.at(self.now + 0.001 + size / DISK_RATE, lambda: self._worked(reports))

    def _worked(self, reports: list[Report]) -> None:
        self._is_busy = False
        if self.receiver.state is ReceiveState.FAILED:
            return
        now, machine = self.now, self.receiver
        for report in reports:
            for offset, size in report.written:
                machine.written(now, offset, size)
            for piece in report.proved:
                machine.piece_proved(now, piece.index)
            for piece in report.refuted:
                machine.piece_refuted(now, piece.index)
            for gone in report.dropped:
                machine.file_dropped(now, gone.index)
            for file in report.published:
                machine.file_verified(now, file.file_index)

    def _tick(self) -> None:
        if not self._over:
            self.at(self.now + TICK_S, self._tick)
            if self._is_taking and not self._is_busy and not self.receiver_killed:
                self._worked(self.guarded(self.receiving.publish_due))

    def keep_what_came(self) -> None:
        """The receiver lives: what has arrived is written."""
        if self._is_taking and not self.receiver_killed:
            self.receiving.unwritten += self.receiver.remains()
        self.guarded(self.receiving.settle)
