"""The format of a receiver's journal, and what becomes of one that is torn, foreign or hostile."""

from __future__ import annotations

import random
import struct
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallow_cli.ranges import RangeSet
from tallow_cli.store import journal
from tallow_cli.store.journal import (
    HEADER,
    Contents,
    Dropped,
    JournalReader,
    Made,
    Named,
    Opened,
    Record,
    Renamed,
    UnusableJournal,
    Wrote,
    encode,
)

FILE = Opened(0, b"site/a", 10_000, 1_700_000_000, b"", b"8 bytes.", 66, 77, ((0, 100),))


def read(data: bytes, step: int = 1 << 30) -> Contents:
    reader = JournalReader()
    for start in range(0, len(data), step):
        if not reader.feed_untrusted(data[start : start + step]):
            break
    return reader.contents


def written(*records: Record) -> bytes:
    return HEADER + b"".join(map(encode, records))


def framed(payload: bytes) -> bytes:
    return struct.pack(">II", len(payload), zlib.crc32(payload)) + payload


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_is_written_is_read_in_pieces_of_any_size(step: int) -> None:
    data = written(
        FILE,
        Wrote(0, ((100, 200), (5_000, 6_000))),
        Opened(1, b"gone", 5, -3, b"", b"87654321", 1, 2**64 - 1),
        Dropped(1),
        Renamed(b"site", b"site (1)"),
        Made(b"site/deep"),
        Named(0, b"site/a (1)"),
    )
    contents = read(data, step)
    assert list(contents.files) == [0]
    assert contents.files[0].opened == FILE
    assert contents.files[0].ranges() == RangeSet([(0, 200), (5_000, 6_000)])
    assert contents.files[0].named == b"site/a (1)"
    assert contents.renamed == {b"site": b"site (1)"}
    assert contents.made == {b"site/deep"}
    assert contents.valid_bytes == len(data)
    assert contents.next_number == 1


def test_the_end_may_be_torn_anywhere() -> None:
    whole = written(FILE)
    data = whole + encode(Wrote(0, ((100, 200),)))
    for length in range(len(HEADER), len(data)):
        contents = read(data[:length])
        assert contents.valid_bytes == (len(whole) if length >= len(whole) else len(HEADER))
        assert len(contents.files) == (length >= len(whole))


@pytest.mark.parametrize(
    "data", [b"x", b"tallow-journal\n\x02", HEADER[:-1] + b"\0" + encode(FILE), b"\0" * 99]
)
def test_what_is_no_journal_of_this_version_is_not_used(data: bytes) -> None:
    with pytest.raises(UnusableJournal):
        read(data)


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xff\xff\xff\0\0\0\0",
        framed(b""),
        framed(b"\x93\x01\x02\x03"),
        framed(msgspec.msgpack.encode([9, 0])),
        framed(msgspec.msgpack.encode([2, 0, [[5, 5]]])),
        framed(msgspec.msgpack.encode([2, 0, [[5, 4]]])),
        framed(msgspec.msgpack.encode([2, 0, [[0, 10_001]]])),
        framed(msgspec.msgpack.encode([2, 0, [[-1, 5]]])),
        framed(msgspec.msgpack.encode([2, 5, [[0, 5]]])),
        framed(msgspec.msgpack.encode([2, 0, [[0, 5]] * 1000])),
        framed(msgspec.msgpack.encode([3, 0, b""])),
        framed(msgspec.msgpack.encode([4, 7])),
        framed(b"\x91" * 100_000),
        encode(FILE),
        encode(Wrote(0, ((0, 5),)))[:-1] + b"?",
    ],
)
def test_nothing_counts_from_the_first_record_of_no_sense_on(bad: bytes) -> None:
    contents = read(written(FILE) + bad + encode(Wrote(0, ((200, 300),))))
    assert contents.files[0].ranges() == RangeSet([(0, 100)])
    assert contents.valid_bytes == len(written(FILE))


def test_a_number_is_one_files_for_good() -> None:
    contents = read(written(FILE, Dropped(0), FILE))
    assert contents.files == {}


def test_ranges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_RANGES", 10)
    contents = read(written(FILE, *(Wrote(0, ((1000 + 2 * n, 1001 + 2 * n),)) for n in range(50))))
    assert len(contents.files[0].ranges()) <= 12


@given(st.binary(max_size=300))
def test_any_bytes_behind_the_header_are_read_without_harm(data: bytes) -> None:
    contents = read(HEADER + data)
    assert len(HEADER) <= contents.valid_bytes <= len(HEADER) + len(data)


@given(st.integers(0, 2**32))
def test_a_journal_with_wrong_bytes_says_a_part_of_what_it_said(seed: int) -> None:
    rng = random.Random(seed)
    records: list[Record] = [FILE, *(Wrote(0, ((n * 100, n * 100 + 50),)) for n in range(1, 40))]
    data = bytearray(written(*records))
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(HEADER), len(data))] = rng.randrange(256)
    contents = read(bytes(data))
    true = read(written(*records)).files[0].ranges()
    for file in contents.files.values():
        for start, end in file.ranges():
            assert true.covers(start, end)
