"""What the worker's thread does with what has arrived: write, verify, publish, and tell as it goes."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, TypeVar

from tallow_cli.errors import DiskFull, DiskNearlyFull
from tallow_cli.measure.causes import Cause
from tallow_cli.session.end_use import WorkClock
from tallow_cli.session.pace import DiskPace
from tallow_cli.store.sequential_sink import StdoutSink
from tallow_cli.store.sink import Published, Sink
from tallow_cli.transfer.driving import FileReady, FileWithdrawn, PieceDigested

T = TypeVar("T")

# What a job has done is told while it goes on: a slow disk is credited, shown and interrupted in small steps.
REPORT_BYTES: Final = 1024 * 1024
REPORT_S: Final = 0.05
CATCH_UP_BYTES: Final = 8 * 1024 * 1024


@dataclass(slots=True)
class Batch:
    """What the disk shall do next."""

    writes: list[tuple[int, memoryview]]
    files: list[FileReady]  # to be verified, after the writes
    complete: bool  # whether they are the last, those of `withdrawn` included
    withdrawn: list[FileWithdrawn] = field(default_factory=list)  # to be dropped, after the writes
    pieces: list[PieceDigested] = field(default_factory=list)  # to be proven, after the writes, in order


@dataclass(slots=True)
class Report:
    """What the disk has done since the last one."""

    written: list[tuple[int, int]] = field(default_factory=list)  # (offset, size), as they were given
    verified: int = 0  # files
    published: list[Published] = field(default_factory=list)
    dropped: list[FileWithdrawn] = field(default_factory=list)
    proved: list[PieceDigested] = field(default_factory=list)  # is there as it was sent
    refuted: list[PieceDigested] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    # What the batch had no time for:
    unwritten: list[tuple[int, memoryview]] = field(default_factory=list)
    unproven: list[PieceDigested] = field(default_factory=list)
    unverified: list[FileReady] = field(default_factory=list)
    undropped: list[FileWithdrawn] = field(default_factory=list)


class Landing:
    """Works off batches for one sink. One thread at a time; nothing else touches the sink meanwhile."""

    def __init__(
        self,
        sink: Sink,
        stopping: threading.Event,
        tell: Callable[[Report], None],
        pace: DiskPace | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`stopping` ends a batch between two writes; `tell` is given what was done while a batch goes on."""
        self._pace = pace or DiskPace()
        self._clock = clock
        self.work_clock: Final = WorkClock(clock())
        self._writing = Cause.RECEIVER_OUTPUT if isinstance(sink, StdoutSink) else Cause.RECEIVER_DISK
        self._sink = sink
        self._stopping = stopping
        self._tell = tell
        self._held_back: list[tuple[int, int]] = []  # heap of ranges an in-order sink has not passed on
        self._passed_on = 0
        self._report = Report()
        self._unreported_bytes = 0
        self._reported_at = 0.0

    def work(self, batch: Batch) -> Report:
        """Return what was not told yet. Raises what the sink raises."""
        self._begin_report()
        try:
            return self._work(batch)
        finally:
            self.work_clock.at(self._clock(), Cause.NOTHING)

    def _work(self, batch: Batch) -> Report:
        self.work_clock.at(self._clock(), self._writing)
        unwritten = self._write_in_time(batch.writes)
        if batch.files or batch.complete:
            self.work_clock.at(self._clock(), Cause.VERIFYING)
        unproven = self._prove_in_time(batch.pieces)
        undropped = batch.withdrawn if unproven else []  # theirs may be among the pieces
        for gone in [] if unproven else batch.withdrawn:
            self._passed_over(self._with_room(lambda gone=gone: self._sink.skip(gone.index)))  # type: ignore[misc]
            self._report.dropped.append(gone)
        unverified = self._verify_in_time(batch.files)
        is_complete = batch.complete and not (undropped or unverified)
        if is_complete and not self._stopping.is_set():
            self._tell_now()  # syncing may take its time
            self._report.published.extend(self._with_room(self._sink.complete))
        report = self._report
        report.unwritten, report.unproven = unwritten, unproven
        report.unverified, report.undropped = unverified, undropped
        return report

    def _prove_in_time(self, pieces: list[PieceDigested]) -> list[PieceDigested]:
        """Return those for which there was no time."""
        until = self._clock() + self._pace.prove_s
        for number, piece in enumerate(pieces):
            if self._stopping.is_set() or (number and self._clock() >= until):
                return pieces[number:]
            if self._sink.prove(piece.start, piece.end) == piece.digest:
                self._with_room(lambda piece=piece: self._sink.proved(piece.start, piece.end))  # type: ignore[misc]
                self._report.proved.append(piece)
            else:
                self._sink.refuted(piece.start, piece.end)
                self._report.refuted.append(piece)
        return []

    def _verify_in_time(self, files: list[FileReady]) -> list[FileReady]:
        """They are whole: to stop before they are verified would throw them away. Only what was not in order may still
        have to be read again, which may take long; return those for which there was no time.
        """
        until = self._clock() + self._pace.most_s
        unverified = []
        for file in files:
            if not self._catches_up(file, until):
                unverified.append(file)
                continue
            self._report.published.extend(
                self._with_room(lambda file=file: self._sink.finish(file.index, file.digest))  # type: ignore[misc]
            )
            self._report.verified += 1
            self._tell_in_time(0)
        return unverified

    def _catches_up(self, file: FileReady, until: float) -> bool:
        while not self._with_room(lambda: self._sink.catch_up(file.index, CATCH_UP_BYTES)):
            if self._stopping.is_set() or self._clock() >= until:
                return False
        return True

    def unclaim(self, ranges: Iterable[tuple[int, int]]) -> Report:
        """What was claimed and will be sent all the same."""
        for start, end in ranges:
            self._sink.refuted(start, end)
        return Report()

    def _with_room(self, call: Callable[[], T]) -> T:
        """Make a call again and again while the disk is full: somebody may free some space. Says so, once.

        Raises DiskFull when that took too long, or the transfer has ended.
        """
        since: float | None = None
        while True:
            try:
                result = call()
            except DiskNearlyFull:  # a rule, and not the end of the disk
                raise
            except DiskFull as full:
                now = self._clock()
                since = now if since is None else since
                if self._stopping.is_set() or now - since >= self._pace.room_wait_s:
                    raise
                if now == since:
                    self._report.notices.append(
                        f"The disk of {full.path} is full. Free some space: the transfer goes on by itself then, and "
                        f"is broken off after {self._pace.room_wait_s / 60:.0f} minutes."
                    )
                    self._tell_now()
                self._stopping.wait(self._pace.room_look_s)
            else:
                if since is not None:
                    self._report.notices.append("There is room again, so the transfer goes on.")
                return result

    def _write_in_time(self, writes: list[tuple[int, memoryview]]) -> list[tuple[int, memoryview]]:
        """Return those for which there was no time."""
        until = self._clock() + self._pace.most_s
        for number, (offset, data) in enumerate(writes, 1):
            self._write(offset, data)
            self._tell_in_time(len(data))
            if self._stopping.is_set() or self._clock() >= until:
                return writes[number:]
        return []

    def forget_waiting(self) -> None:
        """What an in-order sink has not passed on will come again. Between two jobs."""
        self._sink.forget_waiting()
        self._held_back = []

    def publish_due(self) -> Report:
        """Publish what has waited long enough."""
        self._begin_report()
        self._report.published.extend(self._with_room(self._sink.publish_due))
        return self._report

    def _write(self, offset: int, data: memoryview) -> None:
        """Write a range. A sink that must keep order may hold it back, and pass it on in a later call."""
        size = len(data)
        try:
            passed_on = self._sink.write(offset, data)
        except DiskFull:
            passed_on = self._with_room(lambda: self._sink.write(offset, data))
        if passed_on == size and not self._held_back:
            self._passed_on += size
            self._report.written.append((offset, size))
            return
        heapq.heappush(self._held_back, (offset, size))
        self._passed_over(passed_on)

    def _passed_over(self, size: int) -> None:
        """An in-order sink stands `size` bytes further on in the stream."""
        self._passed_on += size
        while self._held_back and sum(self._held_back[0]) <= self._passed_on:
            self._report.written.append(heapq.heappop(self._held_back))

    def _tell_in_time(self, written: int) -> None:
        """After each step."""
        self._unreported_bytes += written
        if self._unreported_bytes >= REPORT_BYTES or self._clock() - self._reported_at >= REPORT_S:
            self._report.published.extend(self._with_room(self._sink.publish_due))
            self._tell_now()

    def _tell_now(self) -> None:
        self._tell(self._report)
        self._begin_report()

    def _begin_report(self) -> None:
        self._report = Report()
        self._unreported_bytes = 0
        self._reported_at = self._clock()
