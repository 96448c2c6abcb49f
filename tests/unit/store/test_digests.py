"""store.digests: one pass over the stream gives every digest; pieces are fed by whatever comes by."""

from __future__ import annotations

import random

import pytest
from blake3 import blake3

from tallow_cli.offer.manifest import Entry, EntryKind, Manifest
from tallow_cli.ranges import RangeSet
from tallow_cli.store.digests import DigestPass, PieceDigests
from tallow_cli.store.source import EMPTY_DIGEST

DATA = random.Random(8).randbytes(100)


def a_pass(*sizes: int, given_up: set[int] | None = None) -> DigestPass:
    entries = (Entry(f"{number}", EntryKind.FILE, size, 0o644, 0) for number, size in enumerate(sizes))
    return DigestPass(Manifest("files", tuple(entries)).file_spans, given_up=given_up or set())


def digest(start: int, end: int) -> bytes:
    return blake3(DATA[start:end]).digest()


def go_over(digests: DigestPass, step: int) -> None:
    while digests.left_bytes or digests.at_end:
        if digests.at_end:
            digests.settle()
        else:
            size = min(step, digests.left_bytes)
            digests.pass_over(memoryview(DATA)[digests.position : digests.position + size])


@pytest.mark.parametrize("step", [1, 7, 10, 100])
def test_every_file_gets_its_digest_however_it_is_read(step: int) -> None:
    digests = a_pass(10, 0, 30, 0, 60, 0)
    go_over(digests, step)
    assert digests.index == 6
    assert digests.position == 100
    expected = [
        digest(0, 10),
        EMPTY_DIGEST,
        digest(10, 40),
        EMPTY_DIGEST,
        digest(40, 100),
        EMPTY_DIGEST,
    ]
    assert [digests.digest(index) for index in range(6)] == expected


def test_kept_and_given_up_files_are_passed_by() -> None:
    given_up = {2}
    digests = a_pass(10, 20, 30, 40, given_up=given_up)
    digests.begin(RangeSet([(0, 1)]))
    assert (digests.index, digests.position) == (1, 10)
    given_up.add(1)
    digests.skip()
    assert (digests.index, digests.position) == (3, 60)
    go_over(digests, 100)
    assert digests.digest(3) == digest(60, 100)
    for index in (0, 1, 2, -1, 4):
        with pytest.raises(ValueError, match="has not been read to its end"):
            digests.digest(index)


def test_a_file_that_is_kept_no_more_gets_its_digest_after_all_and_the_others_keep_theirs() -> None:
    digests = a_pass(10, 20, 70)
    digests.begin(RangeSet([(1, 2)]))
    digests.pass_over(DATA[:10])
    digests.settle()
    digests.pass_over(DATA[30:50])
    digests.begin(RangeSet())
    assert (digests.index, digests.position) == (1, 10)
    go_over(digests, 9)
    assert [digests.digest(index) for index in range(3)] == [digest(0, 10), digest(10, 30), digest(30, 100)]


def test_beginning_again_with_the_same_files_forgets_nothing() -> None:
    digests = a_pass(100)
    digests.pass_over(DATA[:50])
    digests.begin(RangeSet())
    digests.pass_over(DATA[50:])
    assert digests.computed() == digest(0, 100)


def test_pieces_take_what_they_need_of_what_comes_by() -> None:
    pieces = PieceDigests([(5, 10), (10, 20), (50, 60)])
    assert (pieces.position, pieces.end) == (5, 10)
    pieces.feed(0, DATA[:4])
    pieces.feed(0, DATA[:12])
    assert pieces.take() == (0, [digest(5, 10)])
    assert pieces.take() == (1, [])
    pieces.feed(13, DATA[13:20])
    assert pieces.position == 12, "what does not join is not taken"
    pieces.feed(12, DATA[12:100])
    assert pieces.take() == (1, [digest(10, 20), digest(50, 60)])
    assert pieces.position is None
    pieces.feed(0, DATA)
    pieces.give_up()
    assert pieces.take() == (3, [])


def test_a_piece_given_up_is_not_proven_whatever_was_hashed_of_it() -> None:
    pieces = PieceDigests([(0, 10), (10, 20)])
    pieces.feed(0, DATA[:5])
    pieces.give_up()
    pieces.feed(10, DATA[10:20])
    assert pieces.take() == (0, [bytes(32), digest(10, 20)])
