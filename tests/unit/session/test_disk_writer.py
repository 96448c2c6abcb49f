"""session.disk_writer: what gathers goes to the disk in batches, and everything the disk did is told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from blake3 import blake3

from tallow_cli.errors import DigestMismatch
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest
from tallow_cli.session.disk_writer import DiskWriter
from tallow_cli.session.landing import Report
from tallow_cli.session.pace import DiskPace
from tallow_cli.session.worker import Worker
from tallow_cli.store.sequential_sink import NullSink
from tallow_cli.transfer.driving import FileReady


class Waiting:
    """What a machine has for the disk."""

    def __init__(self, *writes: tuple[int, bytes]) -> None:
        self.queued = [(offset, memoryview(data)) for offset, data in writes]

    @property
    def waiting_bytes(self) -> int:
        return sum(len(data) for _, data in self.queued)

    def writes(self) -> list[tuple[int, memoryview]]:
        writes, self.queued = self.queued, []
        return writes

    remains = writes


class Disk:
    """A writer into nowhere, and what it told."""

    def __init__(self, worker: Worker, *sizes: int, pace: DiskPace | None = None) -> None:
        entries = tuple(
            Entry(f"file{number}", EntryKind.FILE, size, 0o644, 0) for number, size in enumerate(sizes)
        )
        sink = NullSink()
        sink.open(Manifest("files", entries))
        self.reports: list[Report] = []
        self.errors: list[BaseException] = []
        self.writer = DiskWriter(sink, worker, len(sizes), self.reports.append, self.errors.append, pace=pace)

    @property
    def written(self) -> list[tuple[int, int]]:
        return [each for report in self.reports for each in report.written]

    async def idle(self) -> None:
        for _ in range(40):
            await asyncio.sleep(DiskPace().gather_s)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    made = Worker()
    yield made
    await made.close()


async def test_a_little_waits_a_moment_and_then_goes_to_the_disk(worker: Worker) -> None:
    disk = Disk(worker, 5)
    arrivals = Waiting((0, b"hello"))
    disk.writer.feed(arrivals)
    assert arrivals.queued
    await disk.idle()
    assert disk.written == [(0, 5)]


async def test_a_file_that_is_whole_is_verified_and_the_last_one_published(worker: Worker) -> None:
    disk = Disk(worker, 5)
    disk.writer.feed(Waiting((0, b"hello")))
    await disk.idle()
    disk.writer.file_ready(FileReady(0, blake3(b"hello").digest()))
    disk.writer.feed(Waiting())
    await disk.idle()
    assert disk.writer.files_verified == 1
    assert [file.file_index for report in disk.reports for file in report.published] == [0]


async def test_what_the_sink_raises_is_handed_on(worker: Worker) -> None:
    disk = Disk(worker, 5)
    disk.writer.file_ready(FileReady(0, bytes(32)))
    disk.writer.feed(Waiting((0, b"hello")))
    await disk.idle()
    assert [type(error) for error in disk.errors] == [DigestMismatch]


async def test_nothing_is_given_to_the_disk_after_stop_but_what_is_whole_is_still_verified(
    worker: Worker,
) -> None:
    disk = Disk(worker, 5, 5)
    disk.writer.feed(Waiting((0, b"hello")))
    await disk.idle()
    disk.writer.file_ready(FileReady(0, blake3(b"hello").digest()))
    disk.writer.stop()
    arrivals = Waiting((5, b"world"))
    disk.writer.feed(arrivals)
    await disk.writer.keep_what_is_whole()
    assert arrivals.queued
    assert disk.writer.files_verified == 1


async def test_what_a_batch_gave_back_is_not_written_behind_the_end_of_the_sink(worker: Worker) -> None:
    """It would make anew what the end has just removed."""
    disk = Disk(worker, 10, pace=DiskPace(most_s=0.0))
    disk.writer.take_over(Waiting((0, b"hello"), (5, b"world")))
    disk.writer.stop()
    await disk.idle()
    assert disk.written == [(0, 5)], "the batch that was under way ends, and no other begins"


async def test_what_came_over_a_lost_connection_is_written_and_then_need_not_come_again(
    worker: Worker,
) -> None:
    disk = Disk(worker, 10, pace=DiskPace(most_s=0.0))
    disk.writer.take_over(Waiting((5, b"world"), (0, b"hel")))
    await disk.writer.settle()
    assert list(disk.writer.written) == [(0, 3)], "what waits for its turn is forgotten, and comes again"
    disk.writer.take_over(Waiting((3, b"loworld")))
    disk.writer.file_ready(FileReady(0, blake3(b"helloworld").digest()))
    await disk.writer.settle()
    assert list(disk.writer.written) == [(0, 10)]
    assert list(disk.writer.published) == [(0, 1)]
