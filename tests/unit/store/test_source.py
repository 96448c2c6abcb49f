from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.errors import BadOption, SourceUnreadable, Unsendable
from tallow_cli.offer.manifest import MAX_TEXT_BYTES, decode_manifest_untrusted, encode_manifest
from tallow_cli.offer.name_rules import POSIX, WINDOWS
from tallow_cli.ranges import RangeSet
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.memory_source import RandomSource, TextSource
from tallow_cli.store.source import Source
from tallow_cli.store.stream_source import StreamSource
from tests.support.disk import open_descriptors, read_all

# Standard input


def test_a_stream_has_no_length_until_it_ends() -> None:
    read_end, write_end = os.pipe()
    source = StreamSource(read_end)
    assert source.manifest.kind == "stream"
    assert source.manifest.total_bytes is None
    os.write(write_end, b"hello ")
    assert source.read_at(0, 100) == b"hello "
    os.write(write_end, b"world")
    assert source.read_at(6, 2) == b"wo"
    assert source.files_read == 0
    with pytest.raises(ValueError, match="not ended"):
        source.digest(0)
    os.close(write_end)
    assert source.read_at(8, 100) == b"rld"
    assert source.read_at(11, 100) == b""
    assert source.files_read == 1
    assert source.digest(0) == blake3(b"hello world").digest()
    assert source.read_at(11, 100) == b""
    source.close()
    os.close(read_end)


def test_an_empty_stream_is_an_empty_file() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    source = StreamSource(read_end)
    assert source.read_at(0, 100) == b""
    assert source.digest(0) == blake3(b"").digest()
    source.close()
    os.close(read_end)


def test_a_stream_fills_whole_chunks_from_what_is_there() -> None:
    read_end, write_end = os.pipe()
    source = StreamSource(read_end)
    for _ in range(16):
        os.write(write_end, b"x" * 4096)
    assert len(source.read_at(0, 1 << 20)) == 65_536
    source.close()
    os.close(write_end)
    os.close(read_end)


def test_standard_input_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 100_000)
    with open(tmp_path / "in", "rb") as stdin:
        source = StreamSource(stdin.fileno())
        assert read_all(source, 65_536) == b"x" * 100_000
        source.close()


def test_closing_wakes_a_read_that_waits_and_the_stream_is_not_taken_for_ended() -> None:
    read_end, write_end = os.pipe()
    before = open_descriptors()
    source = StreamSource(read_end)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(source.read_at(0, 100)))
    reader.start()
    source.close()
    reader.join(10)
    assert got == [b""]
    assert source.files_read == 0
    source.close()
    assert source.read_at(0, 100) == b""  # one that was waiting for its thread
    assert open_descriptors() == before
    os.close(write_end)
    os.close(read_end)


def test_a_stream_that_cannot_be_read_is_unreadable(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)  # a directory
    source = StreamSource(fd)
    with pytest.raises(SourceUnreadable, match="stdin"):
        source.read_at(0, 10)
    source.close()
    os.close(fd)


def test_a_stream_is_judged_by_its_name_too() -> None:
    read_end, write_end = os.pipe()
    source = StreamSource(read_end, "12:30.log")
    source.prepare(POSIX)
    with pytest.raises(Unsendable, match=r"12:30\.log"):
        source.prepare(WINDOWS)
    source.close()
    os.close(read_end)
    os.close(write_end)


def test_a_stream_gives_again_what_was_not_released_and_without_copying_it() -> None:
    read_end, write_end = os.pipe()
    source = StreamSource(read_end)
    os.write(write_end, b"0123456789")
    first, second = source.read_at(0, 4), source.read_at(4, 100)
    assert source.read_at(0, 100) is first
    assert source.read_at(4, 100) is second
    assert source.read_at(2, 1) == b"2"
    source.release(6)
    assert source.read_at(4, 100) is second, "a chunk is kept as long as any of it is wanted"
    with pytest.raises(SourceUnreadable, match="cannot be read again"):
        source.read_at(3, 1)
    with pytest.raises(ValueError, match="read to 10"):
        source.read_at(11, 1)
    source.release(10)
    os.write(write_end, b"more")
    os.close(write_end)
    assert source.read_at(10, 100) == b"more"
    assert source.read_at(14, 100) == b""
    assert source.digest(0) == blake3(b"0123456789more").digest()
    source.close()
    os.close(read_end)


def test_a_stream_has_no_pieces() -> None:
    read_end, write_end = os.pipe()
    source = StreamSource(read_end)
    source.begin()
    assert source.settle(0, 100) is False
    assert source.piece_digests() == (0, [])
    with pytest.raises(ValueError, match="no pieces"):
        source.begin(pieces=[(0, 1)])
    source.close()
    os.close(read_end)
    os.close(write_end)


# Text and random bytes


def test_a_text_is_one_small_file_in_utf_8() -> None:
    source = TextSource("grüße")
    assert source.manifest.kind == "text"
    assert read_all(source, 3) == "grüße".encode()
    assert source.digest(0) == blake3("grüße".encode()).digest()
    assert decode_manifest_untrusted(encode_manifest(source.manifest)) == source.manifest
    source.close()


def test_a_digest_of_a_text_waits_for_its_end() -> None:
    source = TextSource("abc")
    source.read_at(0, 2)
    with pytest.raises(ValueError, match="not been read"):
        source.digest(0)


def test_an_empty_text_is_a_text() -> None:
    source = TextSource("")
    assert source.files_read == 1
    assert source.read_at(0, 10) == b""


def test_a_text_too_long_is_a_bad_option() -> None:
    TextSource("x" * MAX_TEXT_BYTES)
    with pytest.raises(BadOption):
        TextSource("x" * (MAX_TEXT_BYTES + 1))


@pytest.mark.parametrize("chunk", [1_000_003, 4 * 1024 * 1024, 4 * 1024 * 1024 + 5, 1 << 24])
def test_random_bytes_do_not_depend_on_how_they_are_read(chunk: int) -> None:
    size = 9_000_001
    source = RandomSource(size, seed=3)
    data = read_all(source, chunk)
    assert len(data) == size
    assert source.digest(0) == blake3(data).digest()
    assert data == read_all(RandomSource(size, seed=3), 2_999_999)
    assert data != read_all(RandomSource(size, seed=4), chunk)
    assert data[: 1 << 20] != data[1 << 22 : (1 << 22) + (1 << 20)]


def test_reads_of_a_few_bytes_around_the_counter_are_right() -> None:
    whole = read_all(RandomSource((1 << 22) + 20), 1 << 23)
    source = RandomSource((1 << 22) + 20)
    assert source.read_at(0, (1 << 22) - 3) == whole[: (1 << 22) - 3]
    for offset in range((1 << 22) - 3, len(whole)):
        assert source.read_at(offset, 1) == whole[offset : offset + 1]


def test_random_bytes_in_many_files() -> None:
    source = RandomSource(10, files=4)
    data = read_all(source, 3)
    assert [span.size for span in source.manifest.file_spans] == [3, 3, 2, 2]
    assert source.files_read == 4
    for index, span in enumerate(source.manifest.file_spans):
        assert source.digest(index) == blake3(data[span.start : span.end]).digest()
    source.close()


def test_what_nobody_reads_is_hashed_a_little_at_a_time_and_pieces_with_it() -> None:
    size = 9_000_001
    data = RandomSource(size, files=3).read_at(0, size)
    source = RandomSource(size, files=3)
    spans = source.manifest.file_spans
    pieces = [(0, 1_000_000), (1_000_000, 3_000_001), (8_000_000, 9_000_001)]
    source.begin(RangeSet([(1, 2)]), pieces)
    assert source.read_at(spans[2].start, 1000) == data[spans[2].start : spans[2].start + 1000]
    found: list[bytes] = []
    while source.settle(size, 300_000):
        first, digests = source.piece_digests()
        assert first == len(found)
        found += digests
    found += source.piece_digests()[1]
    assert found == [blake3(data[start:end]).digest() for start, end in pieces]
    assert source.files_read == 3
    for span in (spans[0], spans[2]):
        assert source.digest(span.index) == blake3(data[span.start : span.end]).digest()
    with pytest.raises(ValueError, match="file 1"):
        source.digest(1)


def test_nothing_is_hashed_beyond_where_it_is_read_but_pieces() -> None:
    source = RandomSource(10_000)
    source.begin(pieces=[(9_000, 10_000)])
    assert source.settle(0, 1 << 20) is False
    assert source.piece_digests() == (0, [blake3(source.read_at(9_000, 1_000)).digest()])
    assert source.files_read == 0


def test_random_sources_of_nothing_have_empty_files() -> None:
    source = RandomSource(0, files=2)
    assert source.files_read == 2
    assert source.read_at(0, 1) == b""


def test_every_source_keeps_the_protocol(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    read_end, write_end = os.pipe()
    sources = [FileSource([file]), TextSource("x"), RandomSource(1), StreamSource(read_end)]
    for source in sources:
        assert isinstance(source, Source)
        source.prepare(POSIX)
        assert source.notices == ()
        assert source.left_out == ()
        assert source.withdrawn == {}
        source.close()
    os.close(read_end)
    os.close(write_end)
    assert stat.S_ISREG(file.stat().st_mode)
