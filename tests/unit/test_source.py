from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.core.manifest import MAX_TEXT_BYTES, EntryKind, decode_manifest_untrusted, encode_manifest
from tallow_cli.errors import (
    BadOption,
    LocalFileError,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    UsageError,
)
from tallow_cli.store import scan as scan_module
from tallow_cli.store.memory_source import RandomSource, TextSource
from tallow_cli.store.source import FileSource, Source
from tallow_cli.store.stream_source import StreamSource


def read_all(source: Source, chunk: int = 7) -> bytes:
    data = bytearray()
    while piece := source.read(len(data), chunk):
        data += piece
    return bytes(data)


def listing(source: Source) -> list[tuple[str, str, int]]:
    return [(entry.path, entry.kind.value, entry.size) for entry in source.manifest.entries]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "void").mkdir()
    (root / "b.txt").write_bytes(b"bravo")
    (root / "a.txt").write_bytes(b"alpha!")
    (root / "empty").write_bytes(b"")
    (root / "sub" / "c").write_bytes(b"charlie")
    (root / "sub" / "deep" / "d").write_bytes(b"d")
    return root


# What is taken


def test_a_directory_is_offered_whole_parents_first_and_by_name(tree: Path) -> None:
    source = FileSource([tree])
    assert listing(source) == [
        ("tree", "directory", 0),
        ("tree/a.txt", "file", 6),
        ("tree/b.txt", "file", 5),
        ("tree/empty", "file", 0),
        ("tree/sub", "directory", 0),
        ("tree/void", "directory", 0),
        ("tree/sub/c", "file", 7),
        ("tree/sub/deep", "directory", 0),
        ("tree/sub/deep/d", "file", 1),
    ]
    assert decode_manifest_untrusted(encode_manifest(source.manifest)) == source.manifest
    assert source.notices == ()


def test_modes_and_times_are_kept_without_special_bits(tmp_path: Path) -> None:
    file = tmp_path / "tool"
    file.write_bytes(b"x")
    os.utime(file, ns=(1, 1_234_567_890_123_456_789))
    file.chmod(0o4755)
    (entry,) = FileSource([file]).manifest.entries
    assert entry.mode == 0o755
    assert entry.mtime_ns == 1_234_567_890_123_456_789


def test_several_files_keep_the_order_of_the_arguments(tree: Path) -> None:
    source = FileSource([tree / "b.txt", str(tree / "a.txt")])
    assert [name for name, _, _ in listing(source)] == ["b.txt", "a.txt"]
    assert read_all(source) == b"bravoalpha!"


def test_a_directory_named_by_dots_or_a_slash_is_sent_under_its_own_name(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree / "sub")
    assert listing(FileSource(["."]))[0][0] == "sub"
    assert listing(FileSource([".."]))[0][0] == "tree"
    assert listing(FileSource(["deep/"]))[0][0] == "deep"


def test_the_root_directory_has_no_name() -> None:
    with pytest.raises(UsageError, match="no name"):
        FileSource(["/"])


def test_nothing_to_send_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        FileSource([])


def test_links_inside_are_kept_links_outside_are_left_out_and_told(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tree / "inside").symlink_to("sub/c")
    (tree / "sub" / "up").symlink_to("../a.txt")
    (tree / "dangling").symlink_to("nothing")
    (tree / "outside").symlink_to("../secret")
    (tree / "absolute").symlink_to(tree / "a.txt")
    source = FileSource([tree])
    links = {e.path: e.target for e in source.manifest.entries if e.kind is EntryKind.SYMLINK}
    assert links == {"tree/inside": "sub/c", "tree/sub/up": "../a.txt", "tree/dangling": "nothing"}
    assert len(source.notices) == 2
    assert all("left out" in notice for notice in source.notices)


def test_a_link_given_as_an_argument_is_followed_under_its_own_name(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree / "a.txt")
    (tmp_path / "dirlink").symlink_to(tree / "sub")
    source = FileSource([tmp_path / "link", tmp_path / "dirlink"])
    assert listing(source)[:2] == [("link", "file", 6), ("dirlink", "directory", 0)]
    assert read_all(source) == b"alpha!charlied"


def test_special_files_are_left_out_and_told_and_never_opened(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tree / "socket"))
        source = FileSource([tree])
    assert not {"tree/pipe", "tree/socket"} & {name for name, _, _ in listing(source)}
    assert sorted(notice.rpartition(" ")[2] for notice in source.notices) == ["pipe", "socket"]


def test_a_special_file_as_an_argument_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceUnreadable, match="it is a pipe"):
        FileSource([tmp_path / "pipe"])


def test_a_file_that_vanishes_during_the_scan_is_left_out_and_told(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lstat = os.lstat

    def vanish(path: str) -> os.stat_result:
        if os.fspath(path).endswith("a.txt"):
            raise FileNotFoundError(2, "gone")
        return lstat(path)

    monkeypatch.setattr(os, "lstat", vanish)
    source = FileSource([tree])
    assert "tree/a.txt" not in {name for name, _, _ in listing(source)}
    assert len(source.notices) == 1
    assert source.notices[0].endswith("it vanished")


# What cannot be sent


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="nowhere does not exist"):
        FileSource([tmp_path / "nowhere"])
    with pytest.raises(SourceMissing):
        FileSource([tmp_path / "x\0y"])
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(SourceMissing):
        FileSource([tmp_path / "dangling"])


def test_two_arguments_of_one_name_are_a_usage_error(tmp_path: Path) -> None:
    for directory in ("one", "two", "three"):
        (tmp_path / directory).mkdir()
    (tmp_path / "one" / "x").write_bytes(b"1")
    (tmp_path / "two" / "x").write_bytes(b"2")
    (tmp_path / "three" / "X").write_bytes(b"3")
    for other in (tmp_path / "two" / "x", tmp_path / "three" / "X", tmp_path / "one" / "x"):
        with pytest.raises(UsageError, match="same name"):
            FileSource([tmp_path / "one" / "x", other])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"bad\xff", "not valid UTF-8"),
        (b"a:b", "colon"),
        (b"new\nline", "control"),
        (b"nul.txt", "device"),
        (b"back\\slash", "backslash"),
        (b"dot.", "dot or a space"),
    ],
)
def test_a_name_that_no_receiver_would_accept_is_refused_in_one_sentence(
    tree: Path, name: bytes, why: str
) -> None:
    path = os.path.join(os.fsencode(tree), name)
    with open(path, "wb"):
        pass
    for argument in (os.fsdecode(path), tree):
        with pytest.raises(LocalFileError, match=why) as raised:
            FileSource([argument])
        raised.value.sentence.encode()  # can be printed


def test_names_that_differ_in_case_only_are_refused_inside_a_directory(tree: Path) -> None:
    (tree / "A.TXT").write_bytes(b"")
    with pytest.raises(LocalFileError, match="differs from it only in case"):
        FileSource([tree])


def test_a_tree_too_deep_or_too_large_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "MAX_ENTRIES", 5)
    with pytest.raises(LocalFileError, match="too many"):
        FileSource([tree])
    deep = tree / "/".join("d" * 40)
    deep.mkdir(parents=True)
    monkeypatch.undo()
    with pytest.raises(LocalFileError, match="directories deep"):
        FileSource([tree])


def test_unreadable_files_and_directories_are_named_before_anything_is_offered() -> None:
    program = textwrap.dedent(
        """
        import os, sys
        from tallow_cli.errors import SourceUnreadable
        from tallow_cli.store.source import FileSource
        if os.geteuid() == 0:
            os.setuid(65534)
        for path in sys.argv[1:]:
            try:
                FileSource([path])
            except SourceUnreadable as error:
                print(error)
        """
    )
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "u" / "closed").mkdir(parents=True)
        (root / "t").mkdir()
        (root / "t" / "file").write_bytes(b"x")
        (root / "t" / "file").chmod(0)
        (root / "u" / "closed").chmod(0)
        root.chmod(0o755)
        result = subprocess.run(
            [sys.executable, "-c", program, root / "t" / "file", root / "u", root / "u" / "closed"],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        (root / "u" / "closed").chmod(0o700)
    lines = result.stdout.splitlines()
    assert len(lines) == 3, result
    assert all("cannot be read (no permission)" in line for line in lines)


# Reading


@pytest.mark.parametrize("chunk", [1, 2, 5, 6, 11, 1000])
def test_reads_cross_file_boundaries_and_digests_come_as_files_end(tree: Path, chunk: int) -> None:
    source = FileSource([tree])
    assert read_all(source, chunk) == b"alpha!bravocharlied"
    contents = [b"alpha!", b"bravo", b"", b"charlie", b"d"]
    assert source.files_read == 5
    assert [source.digest(i) for i in range(5)] == [blake3(data).digest() for data in contents]


def test_a_digest_is_there_exactly_when_its_file_was_read(tree: Path) -> None:
    source = FileSource([tree])
    assert source.files_read == 0
    source.read(0, 6)
    assert source.files_read == 1
    source.read(6, 5)
    assert source.files_read == 3  # the empty one too
    with pytest.raises(ValueError, match="file 3"):
        source.digest(3)
    with pytest.raises(ValueError, match="file -1"):
        source.digest(-1)
    source.close()
    source.close()


def test_only_empty_files_are_read_before_the_first_read(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"")
    source = FileSource([tmp_path / "e"])
    assert source.files_read == 1
    assert source.digest(0) == blake3(b"").digest()
    assert source.read(0, 10) == b""


def test_a_read_out_of_order_is_a_mistake_of_the_caller(tree: Path) -> None:
    for source in (FileSource([tree]), TextSource("abc"), RandomSource(10)):
        with pytest.raises(ValueError, match="last read ended at 0"):
            source.read(1, 1)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_one_descriptor_is_open_at_a_time(tree: Path) -> None:
    before = open_descriptors()
    source = FileSource([tree])
    for offset in range(19):
        source.read(offset, 1)
        assert open_descriptors() <= before + 1
    assert open_descriptors() == before


def test_ten_thousand_small_files_are_read_in_a_moment(tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    for number in range(10_000):
        (root / f"{number}").write_bytes(b"%d" % number)
    started = time.perf_counter()
    source = FileSource([root])
    read_all(source, 1 << 20)
    assert source.files_read == 10_000
    assert time.perf_counter() - started < 10  # 0.4 s on an idle machine


def test_a_sparse_file_beyond_four_gib_is_read_with_flat_memory(tmp_path: Path) -> None:
    size = 5 * 1024**3
    file = tmp_path / "sparse"
    with open(file, "wb") as out:
        out.truncate(size)
        out.seek(size - 4)
        out.write(b"last")
    source = FileSource([file])
    assert source.manifest.total_bytes == size
    source._position = source._offset = (
        size - 4 * 1024**2
    )  # the part beyond 4 GiB; the digest is of that part
    tracemalloc.start()
    data = source.read(size - 4 * 1024**2, 1 << 22)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data[-4:] == b"last"
    assert source.files_read == 1
    assert peak < 3 * (1 << 22)


# Files that do not stay as they were


def half_read(file: Path) -> FileSource:
    source = FileSource([file])
    source.read(0, 5)
    return source


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    return file


def keep_time(file: Path, write: bytes) -> None:
    status = file.stat()
    file.write_bytes(write)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_file_that_vanished_is_missing(file: Path) -> None:
    source = FileSource([file])
    file.unlink()
    with pytest.raises(SourceMissing):
        source.read(0, 5)


@pytest.mark.parametrize(("contents", "how"), [(b"0123", "shorter"), (b"01234567890", "longer")])
@pytest.mark.parametrize("started", [False, True])
def test_a_file_that_shrank_or_grew_is_changed(file: Path, contents: bytes, how: str, started: bool) -> None:
    source = half_read(file) if started else FileSource([file])
    keep_time(file, contents)
    with pytest.raises(SourceChanged, match=how):
        source.read(5 if started else 0, 10)


@pytest.mark.parametrize("started", [False, True])
def test_a_file_rewritten_at_the_same_size_is_changed(file: Path, started: bool) -> None:
    source = half_read(file) if started else FileSource([file])
    file.write_bytes(b"abcdefghij")
    os.utime(file, ns=(5, 5))
    with pytest.raises(SourceChanged, match="written to"):
        source.read(5 if started else 0, 10)


def test_another_file_in_its_place_is_changed(file: Path, tmp_path: Path) -> None:
    source = FileSource([file])
    other = tmp_path / "other"
    other.write_bytes(b"0123456789")
    status = file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    with pytest.raises(SourceChanged, match="took its place"):
        source.read(0, 5)


def test_a_pipe_in_its_place_does_not_block(file: Path) -> None:
    source = FileSource([file])
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(SourceChanged, match="took its place"):
        source.read(0, 5)


def test_a_link_in_its_place_is_not_followed(file: Path, tmp_path: Path) -> None:
    source = FileSource([file])
    file.rename(tmp_path / "moved")
    file.symlink_to("moved")
    with pytest.raises(LocalFileError):
        source.read(0, 5)


def test_a_descriptor_is_released_after_a_failure(file: Path) -> None:
    before = open_descriptors()
    source = half_read(file)
    keep_time(file, b"0")
    with pytest.raises(SourceChanged):
        source.read(5, 5)
    source.close()
    assert open_descriptors() == before


def test_a_closed_source_gives_nothing_more_and_opens_nothing(file: Path) -> None:
    before = open_descriptors()
    source = half_read(file)
    source.close()
    source.close()
    assert open_descriptors() == before
    assert source.read(5, 5) == b""
    assert source.files_read == 0
    assert open_descriptors() == before


# Standard input


def test_a_stream_has_no_length_until_it_ends() -> None:
    read_end, write_end = os.pipe()
    source = StreamSource(read_end)
    assert source.manifest.kind == "stream"
    assert source.manifest.total_bytes is None
    os.write(write_end, b"hello ")
    assert source.read(0, 100) == b"hello "
    os.write(write_end, b"world")
    assert source.read(6, 2) == b"wo"
    assert source.files_read == 0
    with pytest.raises(ValueError, match="not ended"):
        source.digest(0)
    os.close(write_end)
    assert source.read(8, 100) == b"rld"
    assert source.read(11, 100) == b""
    assert source.files_read == 1
    assert source.digest(0) == blake3(b"hello world").digest()
    assert source.read(11, 100) == b""
    source.close()
    os.close(read_end)


def test_an_empty_stream_is_an_empty_file() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    source = StreamSource(read_end)
    assert source.read(0, 100) == b""
    assert source.digest(0) == blake3(b"").digest()
    source.close()
    os.close(read_end)


def test_a_stream_fills_whole_chunks_from_what_is_there() -> None:
    read_end, write_end = os.pipe()
    source = StreamSource(read_end)
    for _ in range(16):
        os.write(write_end, b"x" * 4096)
    assert len(source.read(0, 1 << 20)) == 65_536
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
    reader = threading.Thread(target=lambda: got.append(source.read(0, 100)))
    reader.start()
    source.close()
    reader.join(10)
    assert got == [b""]
    assert source.files_read == 0
    source.close()
    assert source.read(0, 100) == b""  # one that was waiting for its thread
    assert open_descriptors() == before
    os.close(write_end)
    os.close(read_end)


def test_a_stream_that_cannot_be_read_is_unreadable(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)  # a directory
    source = StreamSource(fd)
    with pytest.raises(SourceUnreadable, match="stdin"):
        source.read(0, 10)
    source.close()
    os.close(fd)


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
    source.read(0, 2)
    with pytest.raises(ValueError, match="not been read"):
        source.digest(0)


def test_an_empty_text_is_a_text() -> None:
    source = TextSource("")
    assert source.files_read == 1
    assert source.read(0, 10) == b""


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
    assert source.read(0, (1 << 22) - 3) == whole[: (1 << 22) - 3]
    for offset in range((1 << 22) - 3, len(whole)):
        assert source.read(offset, 1) == whole[offset : offset + 1]


def test_random_bytes_in_many_files() -> None:
    source = RandomSource(10, files=4)
    data = read_all(source, 3)
    assert [span.size for span in source.manifest.file_spans] == [3, 3, 2, 2]
    assert source.files_read == 4
    for index, span in enumerate(source.manifest.file_spans):
        assert source.digest(index) == blake3(data[span.start : span.end]).digest()
    source.close()


def test_random_sources_of_nothing_have_empty_files() -> None:
    source = RandomSource(0, files=2)
    assert source.files_read == 2
    assert source.read(0, 1) == b""


def test_every_source_keeps_the_protocol(file: Path) -> None:
    read_end, write_end = os.pipe()
    sources = [FileSource([file]), TextSource("x"), RandomSource(1), StreamSource(read_end)]
    for source in sources:
        assert isinstance(source, Source)
        assert source.notices == ()
        source.close()
    os.close(read_end)
    os.close(write_end)
    assert stat.S_ISREG(file.stat().st_mode)
