"""What the disk's thread does with a batch: told in small steps, stopped between two of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from blake3 import blake3

from tallow_cli.errors import DiskFull, DiskNearlyFull
from tallow_cli.session.landing import Batch, Landing, Report
from tallow_cli.session.pace import DiskPace
from tallow_cli.store.sequential_sink import NullSink
from tallow_cli.store.sink import Published
from tallow_cli.transfer.driving import FileReady, FileWithdrawn, PieceDigested
from tallow_cli.transfer.messages import Why
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


def test_a_slow_batch_is_told_by_time() -> None:
    now = 0.0

    def pass_time() -> None:
        nonlocal now
        now += 0.02

    told: list[Report] = []
    work, _ = batch(9)
    last = Landing(opened(SlowSink(pass_time), 9), threading.Event(), told.append, clock=lambda: now).work(
        work
    )
    assert [len(report.written) for report in told] == [3, 3, 3]
    assert last.written == []


def test_what_there_is_no_time_for_is_given_back() -> None:
    now = 0.0

    def pass_time() -> None:
        nonlocal now
        now += 0.1

    told: list[Report] = []
    work, _ = batch(9)
    last = Landing(opened(SlowSink(pass_time), 9), threading.Event(), told.append, clock=lambda: now).work(
        work
    )
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


class ClaimingSink(NullSink):
    """What of `claimed` is right; what is asked of it is noted."""

    def __init__(self, steps: int = 0) -> None:
        super().__init__()
        self.asked: list[tuple[str, int, int]] = []
        self.steps = steps

    def prove(self, start: int, end: int) -> bytes:
        return b"right"

    def proved(self, start: int, end: int) -> None:
        self.asked.append(("proved", start, end))

    def refuted(self, start: int, end: int) -> None:
        self.asked.append(("refuted", start, end))

    def catch_up(self, file_index: int, budget_bytes: int) -> bool:
        self.steps -= 1
        return self.steps < 0


def piece(index: int, digest: bytes) -> PieceDigested:
    return PieceDigested(index, index * 10, index * 10 + 10, digest)


def test_each_piece_is_proven_by_its_digest() -> None:
    sink = ClaimingSink()
    opened(sink, 1)
    pieces = [piece(0, b"right"), piece(1, b"wrong"), piece(2, b"right")]
    report = Landing(sink, threading.Event(), lambda _: None).work(Batch([], [], False, [], pieces))
    assert (report.proved, report.refuted, report.unproven) == ([pieces[0], pieces[2]], [pieces[1]], [])
    assert sink.asked == [("proved", 0, 10), ("refuted", 10, 20), ("proved", 20, 30)]
    Landing(sink, threading.Event(), lambda _: None).unclaim([(40, 60)])
    assert sink.asked[-1] == ("refuted", 40, 60)


def test_pieces_for_which_there_is_no_time_wait_and_what_is_withdrawn_waits_for_them() -> None:
    sink = ClaimingSink()
    opened(sink, 1)
    pieces = [piece(0, b"right"), piece(1, b"right")]
    gone = FileWithdrawn(0, Why.VANISHED)
    told: list[Report] = []
    job = Landing(sink, threading.Event(), told.append, DiskPace(prove_s=0.0))
    report = job.work(Batch([], [], True, [gone], pieces))
    assert (report.proved, report.unproven, report.undropped) == ([pieces[0]], [pieces[1]], [gone])
    job.work(Batch([], [], True, report.undropped, report.unproven))
    assert (told[0].proved, told[0].dropped) == ([pieces[1]], [gone])


def test_a_file_that_is_still_being_hashed_is_verified_later() -> None:
    sink = ClaimingSink(steps=1)
    opened(sink, 1)
    work, _ = batch(1, ready=True)
    told: list[Report] = []
    job = Landing(sink, threading.Event(), told.append, DiskPace(most_s=0.0))
    report = job.work(work)
    assert (report.verified, report.unverified) == (0, work.files)
    report = job.work(Batch([], report.unverified, True))
    assert told[-1].verified == 1
    assert len(report.published) == 1


class FullSink(NullSink):
    def __init__(self, times: int, error: type[DiskFull] = DiskFull) -> None:
        super().__init__()
        self.times = times
        self.error = error

    def write(self, offset: int, data: object) -> int:
        self.times -= 1
        if self.times >= 0:
            raise DiskNearlyFull("disk", 1, 2) if self.error is DiskNearlyFull else DiskFull("disk")
        return super().write(offset, data)  # type: ignore[arg-type]  # what a sink takes


def test_a_full_disk_is_waited_for_and_told_once() -> None:
    sink = FullSink(5)
    opened(sink, 1)
    told: list[Report] = []
    last = Landing(sink, threading.Event(), told.append, DiskPace(room_look_s=0.0)).work(batch(1)[0])
    assert "is full" in told[0].notices[0]
    assert last.notices == ["There is room again, so the transfer goes on."]
    assert last.written == [(0, SIZE)]


@pytest.mark.parametrize("why", ["too long", "over", "a rule"])
def test_a_full_disk_is_not_waited_for_without_end(why: str) -> None:
    pace = DiskPace(room_look_s=0.0, room_wait_s=0.0 if why == "too long" else 1e9)
    stopping = threading.Event()
    if why == "over":
        stopping.set()
    sink = FullSink(1_000_000, DiskNearlyFull if why == "a rule" else DiskFull)
    opened(sink, 1)
    with pytest.raises(DiskFull):
        Landing(sink, stopping, lambda _: None, pace).work(batch(1)[0])
