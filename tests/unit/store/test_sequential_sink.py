from __future__ import annotations

import itertools
import os
import random
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.errors import (
    BadOption,
    DigestMismatch,
    DiskFull,
    ExitCode,
    PeerProtocolError,
    ReaderGone,
    TargetNotDirectory,
    TargetUnwritable,
)
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest, pack_holes
from tallow_cli.ranges import RangeSet
from tallow_cli.store.destination import sink_for
from tallow_cli.store.directory_sink import DirectorySink, FileSink
from tallow_cli.store.memory_source import RandomSource, TextSource
from tallow_cli.store.ordering import InOrder
from tallow_cli.store.sequential_sink import NullSink, SequentialSink, StdoutSink, TextSink
from tallow_cli.store.sink import Holding, OnConflict, Published, Sink, Suspended
from tests.support.disk import directory_entry, file_entry, files, move


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


class Pipe:
    """A pipe with a thread that reads it to its end."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self._data = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while data := os.read(self.read_end, 65_536):
            self._data += data

    def contents(self) -> bytes:
        os.close(self.write_end)
        self._reader.join(10)
        os.close(self.read_end)
        return bytes(self._data)


# Order


def test_pieces_come_out_in_order_whatever_order_they_came_in() -> None:
    rng = random.Random(3)
    for _ in range(50):
        data = rng.randbytes(200)
        cuts = sorted({0, 200, *(rng.randrange(200) for _ in range(12))})
        pieces = [(start, data[start:stop]) for start, stop in itertools.pairwise(cuts)]
        rng.shuffle(pieces)
        order = InOrder()
        out = b"".join(bytes(piece) for offset, part in pieces for piece in order.push(offset, part))
        assert out == data
        assert order.held == 0


def test_what_came_out_of_order_is_held_for_the_next_connection() -> None:
    sink = NullSink()
    sink.open(files(file_entry("a", 6), file_entry("b", 9)))
    sink.write(9, b"345")
    sink.write(0, b"abcdef")
    assert sink.finish(0, blake3(b"abcdef").digest()) == ()
    assert sink.holding() == Holding(held=RangeSet([(0, 6), (9, 12)]))
    assert sink.finish(0, blake3(b"abcdef").digest()) == ()
    assert sink.files_verified == 1
    assert sink.suspend() == Suspended(), "nothing of it can be gone on with"


def test_what_waits_is_counted() -> None:
    order = InOrder()
    assert list(order.push(4, b"efg")) == []
    assert order.held == 3
    assert list(order.push(2, b"cd")) == []
    assert order.held == 5
    assert list(order.push(0, b"ab")) == [b"ab", b"cd", b"efg"]
    assert (order.held, order.position) == (0, 7)


@pytest.mark.parametrize("again", [0, 1, 5])
def test_a_byte_seen_before_is_a_mistake(again: int) -> None:
    order = InOrder()
    list(order.push(0, b"ab"))
    list(order.push(5, b"f"))
    with pytest.raises(ValueError, match="twice"):
        list(order.push(again, b"x"))


# Standard output


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_standard_output_gets_the_bytes_in_order(seed: int | None) -> None:
    pipe = Pipe()
    source = RandomSource(1_000_003)
    sink = StdoutSink(pipe.write_end)
    published = move(
        source, sink, chunk=65_536, piece=5_000, rng=None if seed is None else random.Random(seed)
    )
    sink.close()
    again = RandomSource(1_000_003)
    assert pipe.contents() == again.read_at(0, 1_000_003)
    assert published == [Published(0, "random-0.bin", 1_000_003, None)]


def test_only_bytes_whose_turn_has_come_are_reported_written() -> None:
    pipe = Pipe()
    sink = StdoutSink(pipe.write_end)
    sink.open(files(file_entry("a", 6)))
    assert sink.write(4, b"ef") == 0
    assert sink.write(2, b"cd") == 0
    assert sink.write(0, b"ab") == 6
    sink.finish(0, digest(b"abcdef"))
    sink.complete()
    sink.close()
    assert pipe.contents() == b"abcdef"


def test_standard_output_may_be_a_file(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        sink = StdoutSink(out.fileno())
        move(RandomSource(300_000), sink)
        sink.close()
    assert (tmp_path / "out").read_bytes() == RandomSource(300_000).read_at(0, 300_000)


def test_a_wrong_digest_on_standard_output_ends_with_the_integrity_code() -> None:
    pipe = Pipe()
    sink = StdoutSink(pipe.write_end)
    sink.open(Manifest("stream", (file_entry("stdin"),)))
    sink.write(0, b"abc")
    with pytest.raises(DigestMismatch) as raised:
        sink.finish(0, digest(b"abd"))
    assert raised.value.exit_code is ExitCode.INTEGRITY
    sink.abort()
    sink.close()
    assert pipe.contents() == b"abc"


def test_standard_output_takes_one_file_only() -> None:
    sink = StdoutSink(1)
    for manifest in (files(file_entry("a"), file_entry("b")), files(directory_entry("d"))):
        with pytest.raises(BadOption, match="one file"):
            sink.open(manifest)
    sink.close()


def test_a_reader_that_went_away_is_named() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    sink = StdoutSink(write_end)
    sink.open(files(file_entry("a", 3)))
    with pytest.raises(ReaderGone, match="cannot be resumed"):
        sink.write(0, b"abc")
    sink.close()
    os.close(write_end)


def test_a_full_device_is_a_full_disk() -> None:
    with open("/dev/full", "wb") as full:
        sink = StdoutSink(full.fileno())
        sink.open(files(file_entry("a", 3)))
        with pytest.raises(DiskFull, match="standard output"):
            sink.write(0, b"abc")
        sink.close()


def test_closing_wakes_a_write_that_waits_for_its_reader() -> None:
    read_end, write_end = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    sink = StdoutSink(write_end)
    sink.open(files(file_entry("a", 1 << 20)))
    failures: list[Exception] = []

    def fill() -> None:
        try:
            sink.write(0, b"x" * (1 << 20))
        except TargetUnwritable as failure:
            failures.append(failure)

    writer = threading.Thread(target=fill, daemon=True)
    writer.start()
    os.read(read_end, 10)  # it is writing
    sink.close()
    writer.join(10)
    sink.close()
    assert len(failures) == 1
    with pytest.raises(TargetUnwritable, match="it was closed"):  # one that was waiting for its thread
        sink.take(memoryview(b"x"))
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(read_end)
    os.close(write_end)


def test_a_non_blocking_output_is_waited_for() -> None:
    pipe = Pipe()
    os.set_blocking(pipe.write_end, False)
    sink = StdoutSink(pipe.write_end)
    move(RandomSource(500_000), sink)
    sink.close()
    assert pipe.contents() == RandomSource(500_000).read_at(0, 500_000)


# Text


def test_a_text_arrives() -> None:
    for text in ("grüße 😀", ""):
        sink = TextSink()
        (published,) = move(TextSource(text), sink)
        assert sink.text == text
        assert published.size == len(text.encode())
        assert published.saved_as is None


def test_a_text_that_is_no_utf_8_breaks_the_protocol() -> None:
    sink = TextSink()
    sink.open(Manifest("text", (file_entry("t", 2),)))
    sink.write(0, b"\xff\xfe")
    sink.finish(0, digest(b"\xff\xfe"))
    with pytest.raises(PeerProtocolError, match="UTF-8"):
        sink.complete()


def test_files_are_no_text() -> None:
    with pytest.raises(PeerProtocolError):
        TextSink().open(files(file_entry("a", 1)))


# Nowhere


@pytest.mark.parametrize("seed", [None, 1])
def test_nothing_is_kept_but_digests_are_verified_and_bytes_counted(seed: int | None) -> None:
    sink = NullSink()
    source = RandomSource(1_000_003, files=7)
    published = move(
        source, sink, chunk=50_000, piece=3_000, rng=None if seed is None else random.Random(seed)
    )
    assert (sink.bytes_received, sink.files_verified) == (1_000_003, 7)
    assert len(published) == 7


def test_empty_files_among_others_are_verified_too() -> None:
    sink = NullSink()
    sink.open(
        files(file_entry("a"), file_entry("b", 2), file_entry("c"), file_entry("d", 1), file_entry("e"))
    )
    sink.finish(0, digest(b""))
    with pytest.raises(ValueError, match="not whole"):
        sink.finish(2, digest(b""))
    sink.write(0, b"bbd")
    for index, data in ((1, b"bb"), (2, b""), (3, b"d"), (4, b"")):
        sink.finish(index, digest(data))
    assert len(sink.complete()) == 5


def test_damage_is_noticed_nowhere_too() -> None:
    sink = NullSink()
    sink.open(files(file_entry("a", 3), file_entry("b", 1)))
    sink.write(0, b"abXd")
    with pytest.raises(DigestMismatch):
        sink.finish(0, digest(b"abc"))
    with pytest.raises(ValueError, match="2 files"):
        sink.complete()
    sink.abort()
    sink.close()


def test_bytes_beyond_the_end_are_a_mistake() -> None:
    sink = NullSink()
    sink.open(files(file_entry("a", 3)))
    with pytest.raises(ValueError, match="beyond"):
        sink.write(0, b"abcd")


def test_a_stream_with_bytes_missing_is_not_finished() -> None:
    sink = NullSink()
    sink.open(Manifest("stream", (file_entry("s"),)))
    sink.write(1, b"b")
    with pytest.raises(ValueError, match="not whole"):
        sink.finish(0, digest(b"ab"))
    sink.write(0, b"a")
    sink.finish(0, digest(b"ab"))
    assert sink.complete()[0].size == 2


def test_hostile_names_are_refused_even_where_nothing_is_kept() -> None:
    with pytest.raises(PeerProtocolError):
        NullSink().open(files(file_entry("../a")))


def test_offsets_beyond_four_gib_are_counted_right() -> None:
    sink = NullSink()
    sink.open(files(file_entry("big", 2**33)))
    sink._order.position = sink.bytes_received = 2**33 - 5
    assert sink.write(2**33 - 5, b"12345") == 5
    assert sink.bytes_received == 2**33


def test_every_sequential_sink_keeps_the_protocol() -> None:
    stdout = StdoutSink(1)
    for sink in (NullSink(), TextSink(), stdout):
        assert isinstance(sink, Sink)
        assert isinstance(sink, SequentialSink)
        assert sink.notices == ()
        assert sink.conflicts(files(file_entry("a"))) == []
    stdout.close()
    with pytest.raises(NotImplementedError):
        SequentialSink().take(memoryview(b""))


# Which sink an --output means


def test_the_output_option_chooses_the_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = files(file_entry("a")), files(file_entry("a"), file_entry("b"))
    text = TextSource("x").manifest
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_bytes(b"")
    assert isinstance(sink_for(None, text), TextSink)
    assert isinstance(sink_for("note.txt", text), FileSink)
    assert type(sink_for(None, one)) is DirectorySink
    assert type(sink_for("dir", one)) is DirectorySink
    assert type(sink_for("new/", one)) is DirectorySink
    assert type(sink_for("new", one)) is FileSink
    assert type(sink_for("new", two)) is DirectorySink
    stdout = sink_for("-", one, stdout_fd=1)
    assert isinstance(stdout, StdoutSink)
    stdout.close()
    with pytest.raises(TargetNotDirectory):
        sink_for("file", two).conflicts(two)
    chosen = sink_for("dir", one, OnConflict.RENAME)
    assert isinstance(chosen, DirectorySink)
    assert chosen.on_conflict is OnConflict.RENAME


# What does not come, and what is not sent


def test_order_goes_on_behind_what_does_not_come() -> None:
    order = InOrder()
    assert list(order.push(8, b"ij")) == []
    assert list(order.push(0, b"abc")) == [b"abc"]
    assert list(order.jump(8)) == [b"ij"]
    assert (order.held, order.position) == (0, 10)


def test_a_skipped_file_is_passed_over() -> None:
    sink = NullSink()
    sink.open(files(file_entry("a", 4), file_entry("b", 4), file_entry("c", 4)))
    assert sink.write(8, b"cccc") == 0
    assert sink.write(0, b"aaaabb") == 6
    assert sink.skip(1) == 6, "the rest of b, and c that waited"
    sink.finish(0, digest(b"aaaa"))
    sink.finish(2, digest(b"cccc"))
    assert [file.path for file in sink.complete()] == ["a", "c"]


def test_a_skipped_file_that_came_whole_moves_nothing() -> None:
    sink = NullSink()
    sink.open(files(file_entry("a", 4), file_entry("b", 0)))
    sink.write(0, b"aaaa")
    assert sink.skip(0) == 0
    assert sink.skip(1) == 0
    assert sink.complete() == ()


def test_a_reader_of_a_pipe_gets_holes_as_zeros() -> None:
    pipe = Pipe()
    sink = StdoutSink(pipe.write_end)
    entry = Entry(
        "s",
        EntryKind.FILE,
        3_000_020,
        packed_holes=pack_holes([(0, 5), (10, 2_000_010), (2_000_015, 3_000_020)]),
    )
    sink.open(Manifest("files", (entry,)))
    sink.write(0, b"01234abc")
    sink.write(8, b"de")
    sink.finish(0, digest(b"01234abcde"))
    (published,) = sink.complete()
    sink.close()
    assert published.size == 3_000_020
    assert pipe.contents() == bytes(5) + b"01234" + bytes(2_000_000) + b"abcde" + bytes(1_000_005)
