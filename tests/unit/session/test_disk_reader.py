"""session.disk_reader: reads come before hashing, everything is told once an attempt, and steps fit the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.ranges import RangeSet
from tallow_cli.session.disk_reader import (
    LEAST_STEP_BYTES,
    STEP_S,
    Digested,
    DiskNews,
    DiskReader,
)
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.memory_source import RandomSource
from tallow_cli.transfer.driving import ReadRequest
from tallow_cli.transfer.messages import Why

NOTHING = RangeSet()


class Clock:
    """Each look at it takes as long as `pace_s` says for what was hashed since the last."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowSource(RandomSource):
    """Needs `pace_s` for each byte that `settle` reads."""

    def __init__(self, size: int, clock: Clock, pace_s: float) -> None:
        super().__init__(size)
        self.clock = clock
        self.pace_s = pace_s
        self.steps: list[int] = []

    def settle(self, until: int, budget_bytes: int) -> bool:
        if budget_bytes:
            self.steps.append(budget_bytes)
        self.clock.now += budget_bytes * self.pace_s
        return super().settle(until, budget_bytes)


def work(reader: DiskReader, until: int) -> DiskNews:
    """Do the next job."""
    job = reader.next_job(until)
    assert job is not None
    news = job()
    assert reader.finished(news)
    return news


def work_off(reader: DiskReader, until: int) -> list[DiskNews]:
    """Do all there is."""
    done = []
    while (job := reader.next_job(until)) is not None:
        done.append(job())
        reader.finished(done[-1])
        assert len(done) < 10_000, "it never ends"
    return done


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a", "b", "c", "d"):
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(name.encode() * 10)
    return tmp_path / "tree"


def test_all_that_is_wanted_is_one_job_and_none_is_given_while_it_is_done() -> None:
    reader = DiskReader(RandomSource(100))
    reader.begin(NOTHING, ())
    reader.want(ReadRequest(0, 10))
    reader.want(ReadRequest(10, 20))
    job = reader.next_job(30)
    assert job is not None
    assert reader.is_busy
    assert reader.is_reading
    assert reader.next_job(30) is None
    reader.want(ReadRequest(30, 70))
    news = job()
    assert [(offset, len(data)) for offset, data in news.chunks] == [(0, 10), (10, 20)]
    assert news.digested is None
    reader.finished(news)
    assert not reader.is_busy
    last = work(reader, 100)
    assert last.digested == Digested(0, [blake3(RandomSource(100).read_at(0, 100)).digest()])
    assert reader.next_job(100) is None, "what was read in order is hashed: nothing is left"


def test_files_without_data_are_settled_although_nothing_is_read(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"")
    reader = DiskReader(FileSource([tmp_path / name for name in "abc"]))
    reader.begin(NOTHING, ())
    (news,) = work_off(reader, 0)
    assert news.digested == Digested(0, [blake3(b"").digest()] * 3)


def test_what_the_receiver_has_is_hashed_when_nothing_is_wanted() -> None:
    data = RandomSource(1000).read_at(0, 1000)
    source = RandomSource(1000)
    reader = DiskReader(source)
    reader.begin(NOTHING, [(0, 900)])
    reader.want(ReadRequest(900, 100))
    first = work(reader, 1000)
    assert first.chunks == [(900, data[900:])]
    assert first.has_more
    assert (first.digested, first.piece_digests) == (None, []), "the read did not wait for it"
    (step,) = work_off(reader, 1000)
    assert not step.chunks
    assert (step.first_piece, step.piece_digests) == (0, [blake3(data[:900]).digest()])
    assert step.digested == Digested(0, [blake3(data).digest()])


def test_reads_come_between_two_steps() -> None:
    reader = DiskReader(RandomSource(20 << 20))
    reader.begin(NOTHING, ())
    assert not work(reader, 10 << 20).chunks
    reader.want(ReadRequest(10 << 20, 5))
    assert work(reader, (10 << 20) + 5).chunks
    assert not work(reader, (10 << 20) + 5).chunks


@pytest.mark.parametrize("pace_s", [1e-10, 1e-9, 1e-8])
def test_a_step_takes_about_as_long_as_a_read_may_wait(pace_s: float) -> None:
    clock = Clock()
    source = SlowSource(64 << 20, clock, pace_s)
    reader = DiskReader(source, clock)
    reader.begin(NOTHING, ())
    work_off(reader, 64 << 20)
    assert all(budget * pace_s <= 2 * STEP_S for budget in source.steps[3:])
    assert source.steps[-1] > source.steps[0], "the first is a guess"


def test_on_a_slow_disk_a_step_becomes_small() -> None:
    clock = Clock()
    source = SlowSource(8 << 20, clock, 1e-5)
    reader = DiskReader(source, clock)
    reader.begin(NOTHING, ())
    work_off(reader, 8 << 20)
    assert source.steps[-1] == LEAST_STEP_BYTES


def test_nothing_is_told_of_kept_files_and_at_once_which_are_given_up(tree: Path) -> None:
    (tree / "e").write_bytes(b"e")
    source = FileSource([tree])
    (tree / "c").unlink()
    reader = DiskReader(source)
    reader.begin(RangeSet([(1, 2)]), ())
    reader.want(ReadRequest(20, 21))
    early = work(reader, 0)
    assert [data for _, data in early.chunks] == [bytes(10) + b"d" * 10 + b"e"]
    (gone,) = early.given_up
    assert (gone.index, gone.withdrawn.why) == (2, Why.VANISHED)
    assert early.digested is None, "it is not the turn of any"
    reader.want(ReadRequest(0, 10))
    news, rest = work_off(reader, 41)
    assert news.digested == Digested(0, [blake3(b"a" * 10).digest()])
    assert rest.digested == Digested(3, [blake3(b"d" * 10).digest(), blake3(b"e").digest()])
    assert not news.given_up
    assert not rest.given_up


def test_another_attempt_is_told_everything_again_and_no_news_of_the_last_one(tree: Path) -> None:
    source = FileSource([tree])
    reader = DiskReader(source)
    reader.begin(NOTHING, ())
    reader.want(ReadRequest(0, 25))
    stale = reader.next_job(25)
    assert stale is not None
    reader.want(ReadRequest(25, 5))
    reader.begin(RangeSet([(0, 1)]), ())
    reader.want(ReadRequest(15, 25))
    assert reader.next_job(40) is None, "the worker is not free yet"
    assert reader.is_reading
    assert not reader.finished(stale())
    (news, again) = work_off(reader, 40)
    assert news.chunks == [(15, b"b" * 5 + b"c" * 10 + b"d" * 10)]
    assert news.digested is None, "every file is looked at again first"
    assert again.digested == Digested(1, [blake3(name * 10).digest() for name in (b"b", b"c", b"d")])


def test_another_attempt_is_told_at_once_what_was_given_up_in_the_last(tree: Path) -> None:
    source = FileSource([tree])
    (tree / "c").unlink()
    reader = DiskReader(source)
    for _ in range(2):
        reader.begin(NOTHING, ())
        reader.want(ReadRequest(0, 25))
        assert [gone.index for gone in work(reader, 25).given_up] == [2]
