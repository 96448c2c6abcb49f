"""What the disk's thread does with a batch: told in small steps, stopped between two of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from blake3 import blake3

from tallow_cli.session import landing
from tallow_cli.session.landing import Batch, Landing, Report
from tallow_cli.store.sequential_sink import NullSink
from tallow_cli.store.sink import Published
from tallow_cli.transfer.driving import FileReady
from tests.support.disk import file_entry, files

SIZE = 300_000


class SlowSink(NullSink):
    """`before` is called ahead of every write."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.before = before
        self.due: list[Published] = []

    def write(self, offset: int, data: object) -> int:
        self.before()
        return super().write(offset, data)  # type: ignore[arg-type]  # what a sink takes

    def publish_due(self) -> tuple[Published, ...]:
        due, self.due = self.due, []
        return tuple(due)


def batch(count: int, *, ready: bool = False) -> tuple[Batch, bytes]:
    data = bytes(SIZE)
    content = data * count
    writes = [(number * SIZE, memoryview(data)) for number in range(count)]
    return Batch(writes, [FileReady(0, blake3(content).digest())] if ready else [], ready), content


def opened(sink: NullSink, count: int) -> NullSink:
    sink.open(files(file_entry("a", count * SIZE)))
    return sink


def test_a_large_batch_is_told_every_megabyte() -> None:
    told: list[Report] = []
    work, _ = batch(20, ready=True)
    last = Landing(opened(SlowSink(), 20), threading.Event(), told.append).work(work)
    assert [len(report.written) for report in told] == [4] * 5 + [0]
    assert last.written == []
    assert told[-1].verified == 1
    assert [published.path for published in last.published] == ["a"]


def test_a_slow_batch_is_told_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def pass_time() -> None:
        nonlocal now
        now += 0.02

    monkeypatch.setattr(landing, "monotonic", lambda: now)
    told: list[Report] = []
    work, _ = batch(9)
    last = Landing(opened(SlowSink(pass_time), 9), threading.Event(), told.append).work(work)
    assert [len(report.written) for report in told] == [3, 3, 3]
    assert last.written == []


def test_what_there_is_no_time_for_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def pass_time() -> None:
        nonlocal now
        now += 0.1

    monkeypatch.setattr(landing, "monotonic", lambda: now)
    told: list[Report] = []
    work, _ = batch(9)
    last = Landing(opened(SlowSink(pass_time), 9), threading.Event(), told.append).work(work)
    assert [len(report.written) for report in told] == [1, 1, 1]
    assert [offset for offset, _ in last.unwritten] == [number * SIZE for number in range(3, 9)]


def test_that_all_is_verified_is_told_before_the_syncing() -> None:
    told: list[Report] = []

    class Hanging(SlowSink):
        def complete(self) -> tuple[Published, ...]:
            assert sum(report.verified for report in told) == 1
            return super().complete()

    work, _ = batch(2, ready=True)
    assert len(Landing(opened(Hanging(), 2), threading.Event(), told.append).work(work).published) == 1


def test_a_batch_that_has_to_stop_does_so_after_the_write_it_is_at_and_claims_no_more() -> None:
    stopping = threading.Event()
    writes = 0

    def stop_at_the_third() -> None:
        nonlocal writes
        writes += 1
        if writes == 3:
            stopping.set()

    work, _ = batch(20)
    report = Landing(opened(SlowSink(stop_at_the_third), 20), stopping, lambda _: None).work(work)
    assert len(report.written) == 3
    assert writes == 3


def test_whole_files_are_verified_although_the_rest_has_to_stop() -> None:
    stopping = threading.Event()
    stopping.set()
    sink = SlowSink()
    sink.open(files(file_entry("whole", 3), file_entry("half", SIZE)))
    land = Landing(sink, stopping, lambda _: None)
    assert land.work(Batch([(0, memoryview(b"abc"))], [], False)).written == [(0, 3)]
    report = land.work(Batch([], [FileReady(0, blake3(b"abc").digest())], True))
    assert report.verified == 1
    assert report.published == [], "and nothing is completed"


def test_what_is_due_is_published_in_the_middle_of_a_batch() -> None:
    told: list[Report] = []
    sink = SlowSink()
    work, _ = batch(8)
    done = Published(5, "earlier", 1, "earlier")
    sink.due = [done]
    Landing(opened(sink, 8), threading.Event(), told.append).work(work)
    assert told[0].published == [done]


def test_what_a_sink_holds_back_is_reported_when_it_has_passed_it_on() -> None:
    land = Landing(opened(NullSink(), 3), threading.Event(), lambda _: None)
    piece = memoryview(bytes(SIZE))
    assert land.work(Batch([(SIZE, piece)], [], False)).written == []
    assert land.work(Batch([(0, piece), (2 * SIZE, piece)], [], False)).written == [
        (0, SIZE), (SIZE, SIZE), (2 * SIZE, SIZE),
    ]  # fmt: skip
