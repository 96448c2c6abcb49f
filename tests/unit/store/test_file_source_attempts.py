"""A FileSource read in any order and in several attempts: digests all the same, and no change goes unseen."""

from __future__ import annotations

import itertools
import os
import random
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.errors import SourceChanged, SourceMissing, SourceUnreadable
from tallow_cli.ranges import RangeSet
from tallow_cli.store.file_source import MAX_OPEN_FILES, FileSource
from tallow_cli.transfer.messages import NOT_PROVEN, Why
from tests.support.disk import open_descriptors

SIZES = (7, 0, 3000, 1, 0, 20_000, 50, 0)
TOTAL = sum(SIZES)
CONTENT = random.Random(1).randbytes(TOTAL)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    position = 0
    for number, size in enumerate(SIZES):
        (root / f"{number}").write_bytes(CONTENT[position : position + size])
        position += size
    return root


def finish(source: FileSource, budget: int = 5000) -> list[bytes]:
    """Hash all there is; the digests of the pieces."""
    pieces: list[bytes] = []
    for _ in range(10_000):
        has_more = source.settle(TOTAL, budget)
        first, digests = source.piece_digests()
        assert first == len(pieces)
        pieces += digests
        if not has_more:
            return pieces
    raise AssertionError("it never ends")


def assert_digests(source: FileSource, *, but: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    assert source.files_read == len(SIZES)
    for span in source.manifest.file_spans:
        if span.index not in but:
            assert source.digest(span.index) == blake3(CONTENT[span.start : span.end]).digest()


def rewrite(path: Path, *, set_back: bool = False) -> None:
    """The same size, other bytes."""
    status = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    if set_back:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(path, ns=(5, 5))


# Any order


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_read_in_whatever_order_every_byte_and_digest_is_right(root: Path, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    source = FileSource([root])
    before = open_descriptors()
    cuts = sorted({0, TOTAL, *(rng.randrange(TOTAL) for _ in range(6))})
    pieces = [(start, end) for start, end in itertools.pairwise(cuts) if rng.random() < 0.4]
    pieces = [
        (max(start, span.start), min(end, span.end))
        for start, end in pieces
        for span in source.manifest.file_spans
        if max(start, span.start) < min(end, span.end)
    ]
    source.begin(pieces=pieces)
    found: list[bytes] = []
    position = 0
    for _ in range(40):
        action = rng.random()
        if action < 0.4:  # in order
            size = rng.randrange(1, 4000)
            assert source.read_at(position, size) == CONTENT[position : position + size]
            position = min(TOTAL, position + size)
        elif action < 0.7:
            offset, size = rng.randrange(TOTAL + 5), rng.randrange(4000)
            assert source.read_at(offset, size) == CONTENT[offset : offset + size]
        else:
            source.settle(position, rng.randrange(3000))
            found += source.piece_digests()[1]
        assert open_descriptors() < before + 20
    source.settle(TOTAL, 0)
    while source.settle(TOTAL, rng.randrange(1, 9000)):
        found += source.piece_digests()[1]
    found += source.piece_digests()[1]
    assert found == [blake3(CONTENT[start:end]).digest() for start, end in pieces]
    assert_digests(source)
    assert source.withdrawn == {}
    source.close()


def test_few_files_are_open_however_they_are_read(root: Path) -> None:
    before = open_descriptors()
    source = FileSource([root])
    for offset in (25_000, 0, 4000, 3007, 10, 22_000, 3):
        source.read_at(offset, 5)
        source.settle(10, 1000)
        assert open_descriptors() <= before + MAX_OPEN_FILES + 1, "and their directory"
    source.close()
    assert open_descriptors() == before


def test_one_pass_over_the_data_makes_all_digests(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    preadv = os.preadv

    def counted(fd: int, buffers: tuple[memoryview], offset: int, flags: int = 0) -> int:
        read.append(preadv(fd, buffers, offset, flags))
        return read[-1]

    monkeypatch.setattr(os, "preadv", counted)
    source = FileSource([root])
    source.begin(pieces=[(7, 3007), (3008, 20_000)])
    finish(source)
    assert sum(read) == TOTAL


def test_reading_in_order_again_after_the_hashing_has_caught_up_reads_nothing_twice(root: Path) -> None:
    source = FileSource([root])
    source.begin(pieces=[(0, 7)])
    source.read_at(7, 1000)
    source.settle(1007, 1 << 30)
    assert source.read_at(1007, TOTAL) == CONTENT[1007:]
    assert source.settle(TOTAL, 0) is False, "all was hashed on the way"
    assert_digests(source)


def test_a_step_is_bounded(root: Path) -> None:
    (root / "big").write_bytes(bytes(8 << 20))
    source = FileSource([root / "big"])
    steps = 1
    while source.settle(8 << 20, 1 << 20):
        steps += 1
    assert steps >= 8
    assert source.files_read == 1


def test_kept_files_are_neither_read_nor_looked_at(root: Path) -> None:
    source = FileSource([root])
    (root / "5").unlink()
    source.begin(RangeSet([(2, 6)]))
    assert source.read_at(0, 7) == CONTENT[:7]
    finish(source)
    assert source.files_read == len(SIZES)
    assert source.withdrawn == {}
    for index in range(2, 6):
        with pytest.raises(ValueError, match=f"file {index}"):
            source.digest(index)


def test_a_piece_of_a_withdrawn_file_is_not_proven(root: Path) -> None:
    source = FileSource([root])
    (root / "2").unlink()
    source.begin(pieces=[(0, 7), (7, 1000), (1000, 3007), (3008, 3010)])
    digests = finish(source)
    assert digests == [
        blake3(CONTENT[:7]).digest(),
        NOT_PROVEN,
        NOT_PROVEN,
        blake3(CONTENT[3008:3010]).digest(),
    ]
    assert list(source.withdrawn) == [2]
    assert_digests(source, but={2})


def test_closing_ends_the_hashing(root: Path) -> None:
    (root / "big").write_bytes(bytes(64 << 20))
    source = FileSource([root / "big"])
    before = open_descriptors()
    ended = threading.Event()

    def hash_all() -> None:
        source.settle(64 << 20, 1 << 40)
        ended.set()

    hashing = threading.Thread(target=hash_all)
    hashing.start()
    source.close()
    hashing.join(10)
    assert ended.is_set()
    assert source.settle(64 << 20, 1 << 40) is False
    assert source.read_at(0, 5) == b""
    assert open_descriptors() <= before


# Between attempts


def test_another_attempt_sees_every_file_again_before_it_is_told(root: Path) -> None:
    source = FileSource([root])
    source.read_at(0, TOTAL)
    assert_digests(source)
    source.begin(RangeSet([(5, 6)]))
    assert source.files_read == 0
    with pytest.raises(ValueError, match="file 0"):
        source.digest(0)
    finish(source)
    assert_digests(source, but={5})


@pytest.mark.parametrize("set_back", [False, True])
@pytest.mark.parametrize("hashed", [False, True])
def test_a_file_rewritten_between_attempts_is_withdrawn(root: Path, set_back: bool, hashed: bool) -> None:
    source = FileSource([root])
    source.read_at(0, TOTAL if hashed else 10_000)
    rewrite(root / "5", set_back=set_back)
    source.begin()
    source.read_at(5000, TOTAL)
    finish(source)
    assert {index: gone.why for index, gone in source.withdrawn.items()} == {5: Why.CHANGED}
    assert isinstance(source.withdrawn[5].error, SourceChanged)
    assert_digests(source, but={5})


@pytest.mark.parametrize("hashed", [False, True])
def test_a_file_gone_between_attempts_is_withdrawn_and_zeros(root: Path, hashed: bool) -> None:
    source = FileSource([root])
    source.read_at(0, TOTAL if hashed else 3)
    source.settle(0, 0)
    (root / "5").unlink()
    source.begin()
    assert source.read_at(3008, 100) == bytes(100)
    finish(source)
    assert {index: gone.why for index, gone in source.withdrawn.items()} == {5: Why.VANISHED}
    assert_digests(source, but={5})


def test_another_file_in_its_place_between_attempts_is_withdrawn(root: Path) -> None:
    source = FileSource([root])
    source.read_at(0, TOTAL)
    (root / "new").write_bytes(bytes(3000))
    (root / "new").replace(root / "2")
    source.begin()
    finish(source)
    assert list(source.withdrawn) == [2]
    assert "took its place" in source.withdrawn[2].error.sentence


def test_a_file_that_grew_between_attempts_is_sent_as_it_was_offered(root: Path) -> None:
    source = FileSource([root])
    source.read_at(0, 10_000)
    with open(root / "5", "ab") as log:
        log.write(b"more")
    source.begin()
    assert source.read_at(10_000, TOTAL) == CONTENT[10_000:]
    finish(source)
    assert_digests(source)
    assert source.withdrawn == {}
    assert any("has grown" in notice for notice in source.notices)


def test_permissions_and_links_are_no_reason_to_read_a_large_file_twice(root: Path) -> None:
    source = FileSource([root], large_file_bytes=1)
    source.read_at(0, 10_000)
    (root / "5").chmod(0o600)
    os.link(root / "5", root.parent / "other")
    source.read_at(10_000, TOTAL)
    assert source.files_read == len(SIZES)
    assert source.withdrawn == {}


@pytest.mark.parametrize("same", [True, False])
def test_a_large_file_whose_time_was_set_back_is_read_once_more_a_little_at_a_time(
    root: Path, same: bool
) -> None:
    source = FileSource([root], large_file_bytes=1)
    source.read_at(0, 10_000)
    rewrite(root / "5", set_back=True)
    if same:
        rewrite(root / "5", set_back=True)
    source.read_at(10_000, TOTAL)
    assert source.files_read == 5, "it is not known yet"
    assert source.read_at(TOTAL - 50, 50) == CONTENT[TOTAL - 50 :], "what lies behind it does not wait"
    finish(source)
    assert list(source.withdrawn) == ([] if same else [5])
    assert_digests(source, but=set(source.withdrawn))


def test_what_was_read_ahead_of_the_hashing_must_not_be_written_to_before_it_is_hashed(root: Path) -> None:
    source = FileSource([root])
    source.begin(pieces=[(3008, 10_000)])
    source.read_at(10_000, 13_008)
    rewrite(root / "5")
    source.read_at(0, 3008)
    finish(source)
    assert list(source.withdrawn) == [5]


def test_a_file_whose_digest_is_given_and_which_changed_is_withdrawn(root: Path) -> None:
    source = FileSource([root])
    source.begin(pieces=[(7, 3007)])
    source.read_at(0, 7)
    finish(source)
    assert source.files_read > 2
    os.utime(root / "2", ns=(7, 7))
    assert source.read_at(7, 3000) == CONTENT[7:3007], "its time alone says nothing"
    rewrite(root / "2", set_back=True)
    source.read_at(7, 3000)
    assert isinstance(source.withdrawn[2].error, SourceChanged)
    (root / "3").unlink()
    source.read_at(3007, 1)
    assert isinstance(source.withdrawn[3].error, SourceMissing)
    assert list(source.withdrawn) == [2, 3], "in the order in which it was seen"
    with pytest.raises(ValueError, match="file 2"):
        source.digest(2)


def test_files_kept_no_more_are_hashed_after_all(root: Path) -> None:
    source = FileSource([root])
    source.begin(RangeSet([(0, len(SIZES))]))
    assert source.settle(TOTAL, 1) is False
    assert source.files_read == len(SIZES)
    source.begin(RangeSet([(2, 3)]))
    assert source.files_read == 0
    finish(source)
    assert_digests(source, but={2})


def test_pieces_are_asked_for_anew_in_each_attempt(root: Path) -> None:
    source = FileSource([root])
    source.begin(pieces=[(0, 7), (7, 3007)])
    assert finish(source) == [blake3(CONTENT[:7]).digest(), blake3(CONTENT[7:3007]).digest()]
    source.begin(pieces=[(100, 200)])
    assert finish(source) == [blake3(CONTENT[100:200]).digest()]


def test_a_shortage_of_our_own_between_attempts_is_no_reason_to_give_a_file_up(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FileSource([root])
    source.read_at(0, TOTAL)
    source.begin()

    def none_left(*_: object, **__: object) -> int:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(source._tree, "open_file", none_left)
    with pytest.raises(SourceUnreadable, match="too many files are open"):
        source.settle(0, 1)
    assert source.withdrawn == {}
