"""What the worker's thread does with what has arrived: write, verify, publish, and tell as it goes."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from tallow_cli.store.sink import Published, Sink
from tallow_cli.transfer.driving import FileReady, FileWithdrawn

# What a job has done is told while it goes on: a slow disk is credited, shown and interrupted in small steps.
REPORT_BYTES: Final = 1024 * 1024
REPORT_S: Final = 0.05
# Files that become whole meanwhile are verified by the next batch, so a slow disk gets its writes in several.
MOST_S: Final = 0.25


@dataclass(slots=True)
class Batch:
    """What the disk shall do next."""

    writes: list[tuple[int, memoryview]]
    files: list[FileReady]  # to be verified, after the writes
    complete: bool  # whether they are the last, those of `withdrawn` included
    withdrawn: list[FileWithdrawn] = field(default_factory=list)  # to be dropped, after the writes


@dataclass(slots=True)
class Report:
    """What the disk has done since the last one."""

    written: list[tuple[int, int]] = field(default_factory=list)  # (offset, size), as they were given
    verified: int = 0  # files
    published: list[Published] = field(default_factory=list)
    dropped: list[FileWithdrawn] = field(default_factory=list)
    unwritten: list[tuple[int, memoryview]] = field(default_factory=list)  # what the batch had no time for


class Landing:
    """Works off batches for one sink. One thread at a time; nothing else touches the sink meanwhile."""

    def __init__(self, sink: Sink, stopping: threading.Event, tell: Callable[[Report], None]) -> None:
        """`stopping` ends a batch between two writes; `tell` is given what was done while a batch goes on."""
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
        unwritten = self._write_in_time(batch.writes)
        for gone in batch.withdrawn:
            self._passed_over(self._sink.skip(gone.index))
            self._report.dropped.append(gone)
        for file in batch.files:  # they are whole: to stop before they are verified would throw them away
            self._report.published.extend(self._sink.finish(file.index, file.digest))
            self._report.verified += 1
            self._tell_in_time(0)
        if batch.complete and not self._stopping.is_set():
            self._tell_now()  # syncing may take its time
            self._report.published.extend(self._sink.complete())
        self._report.unwritten = unwritten
        return self._report

    def _write_in_time(self, writes: list[tuple[int, memoryview]]) -> list[tuple[int, memoryview]]:
        """Return those for which there was no time."""
        until = monotonic() + MOST_S
        for number, (offset, data) in enumerate(writes, 1):
            self._write(offset, data)
            self._tell_in_time(len(data))
            if self._stopping.is_set() or monotonic() >= until:
                return writes[number:]
        return []

    def forget_waiting(self) -> None:
        """What an in-order sink has not passed on will come again. Between two jobs."""
        self._sink.forget_waiting()
        self._held_back = []

    def publish_due(self) -> Report:
        """Publish what has waited long enough."""
        return Report(published=list(self._sink.publish_due()))

    def _write(self, offset: int, data: memoryview) -> None:
        """Write a range. A sink that must keep order may hold it back, and pass it on in a later call."""
        size = len(data)
        passed_on = self._sink.write(offset, data)
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
        if self._unreported_bytes >= REPORT_BYTES or monotonic() - self._reported_at >= REPORT_S:
            self._report.published.extend(self._sink.publish_due())
            self._tell_now()

    def _tell_now(self) -> None:
        self._tell(self._report)
        self._begin_report()

    def _begin_report(self) -> None:
        self._report = Report()
        self._unreported_bytes = 0
        self._reported_at = monotonic()
