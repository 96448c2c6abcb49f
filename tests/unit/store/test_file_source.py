from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import tracemalloc
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.errors import LocalFileError, SourceMissing, SourceUnreadable, Unsendable, UsageError
from tallow_cli.offer.manifest import (
    EntryKind,
    LeftOut,
    WhyLeftOut,
    decode_manifest_untrusted,
    encode_manifest,
)
from tallow_cli.offer.name_rules import POSIX, WINDOWS
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.page_cache import LARGE_FILE_BYTES
from tallow_cli.store.scan import OfferBound
from tallow_cli.store.source import Source
from tallow_cli.store.source_tree import SourceTree
from tallow_cli.transfer.messages import Why
from tests.support.disk import open_descriptors, read_all


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
    assert links == {
        "tree/inside": "sub/c",
        "tree/sub/up": "../a.txt",
        "tree/dangling": "nothing",
        "tree/absolute": "a.txt",
    }
    (outside,) = source.left_out
    assert outside.why is WhyLeftOut.LINK
    assert outside.path.endswith("tree/outside")
    assert "a symbolic link to ../secret, which is not in" in outside.reason
    assert source.manifest.left_out == (LeftOut(WhyLeftOut.LINK, 1),)


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
    assert [(item.why.value, item.reason) for item in source.left_out] == [
        ("special", "it is a pipe"),
        ("special", "it is a socket"),
    ]


def test_a_special_file_as_an_argument_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceUnreadable, match="it is a pipe"):
        FileSource([tmp_path / "pipe"])


# What cannot be sent


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="nowhere does not exist"):
        FileSource([tmp_path / "nowhere"])
    with pytest.raises(SourceMissing):
        FileSource([tmp_path / "x\0y"])
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(SourceUnreadable, match="it is a link to nothing, which is not there"):
        FileSource([tmp_path / "dangling"])


@pytest.mark.parametrize(
    "name", [b"bad\xff", b"a:b", b"nul.txt", b"back\\slash", b"dot.", b"A.TXT", b" ", b"com1"]
)
def test_a_name_that_only_some_systems_refuse_is_offered_to_the_others(tree: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(tree), name), "wb"):
        pass
    source = FileSource([tree])
    source.prepare(POSIX)
    assert f"tree/{os.fsdecode(name)}" in {path for path, _, _ in listing(source)}
    with pytest.raises(Unsendable) as raised:
        source.prepare(WINDOWS)
    raised.value.sentence.encode()  # can be printed
    assert len(raised.value.items) == 1


def test_a_name_that_a_screen_would_obey_is_refused_everywhere(tree: Path) -> None:
    (tree / "new\nline").write_bytes(b"")
    with pytest.raises(Unsendable, match="control or invisible"):
        FileSource([tree])
    source = FileSource([tree], skip_unsendable=True)
    assert source.manifest.missed == 1


def test_all_offenders_are_listed_at_once_and_a_few_are_shown(tree: Path) -> None:
    for number in range(8):
        (tree / f"{number}:").write_bytes(b"")
    (tree / "a.TXT").write_bytes(b"")
    source = FileSource([tree])
    with pytest.raises(Unsendable) as raised:
        source.prepare(WINDOWS)
    assert len(raised.value.items) == 9
    assert raised.value.sentence.startswith("9 things cannot be sent: ")
    assert "; and 4 more. " in raised.value.sentence
    assert ("no name there may contain :") in raised.value.items[0][1]
    assert "differs from tree/a.TXT only in case" in raised.value.items[-1][1]


def test_the_rest_goes_if_the_user_says_so(tree: Path) -> None:
    (tree / "a:b").mkdir()
    (tree / "a:b" / "lost").write_bytes(b"with its directory")
    source = FileSource([tree], skip_unsendable=True)
    source.prepare(WINDOWS)
    assert source.manifest.left_out == (LeftOut(WhyLeftOut.NAME, 1),)
    assert source.manifest.missed == 1
    assert read_all(source) == b"alpha!bravocharlied"


def test_what_is_excluded_is_not_missed(tree: Path) -> None:
    source = FileSource([tree], excludes=["sub/", "*.txt"])
    assert listing(source) == [
        ("tree", "directory", 0),
        ("tree/empty", "file", 0),
        ("tree/void", "directory", 0),
    ]
    assert source.manifest.left_out == (LeftOut(WhyLeftOut.EXCLUDED, 3),)
    assert source.manifest.missed == 0
    with pytest.raises(UsageError, match="everything that was named is excluded"):
        FileSource([tree], excludes=["tree"])


def test_more_than_fits_into_an_offer_is_refused_at_the_scan(tree: Path) -> None:
    with pytest.raises(LocalFileError, match="More than 5 files and directories are too many"):
        FileSource([tree], bound=OfferBound(entries=5))
    with pytest.raises(LocalFileError, match="are too many for one transfer"):
        FileSource([tree], bound=OfferBound(manifest_bytes=1500))


def test_a_deep_tree_is_read_without_recursion_or_many_descriptors(tmp_path: Path) -> None:
    os.makedirs(os.path.join(tmp_path, *"d" * 900))
    top = os.open(tmp_path, os.O_RDONLY)
    for _ in range(900):
        below = os.open("d", os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=top))
    os.close(top)
    before = open_descriptors()
    source = FileSource([tmp_path / "d"])
    assert open_descriptors() == before
    assert len(source.manifest.entries) == 901
    source.settle(0, 1)
    assert source.files_read == 1
    assert open_descriptors() == before


def test_unreadable_files_and_directories_are_named_before_anything_is_offered() -> None:
    program = textwrap.dedent(
        """
        import os, sys
        from tallow_cli.errors import SourceUnreadable
        from tallow_cli.store.file_source import FileSource
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


def test_what_a_file_gives_is_sent_whatever_its_size_claims() -> None:
    """/proc says 0, /sys says a page."""
    for path in ("/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"):
        if not os.path.exists(path):
            continue
        source = FileSource([path])
        source.prepare(POSIX)
        data = read_all(source)
        assert data == Path(path).read_bytes()
        assert source.manifest.total_bytes == len(data) > 0
        assert source.digest(0) == blake3(data).digest()
        source.close()


def test_a_digest_is_there_exactly_when_its_file_was_read(tree: Path) -> None:
    source = FileSource([tree])
    assert source.files_read == 0
    source.read_at(0, 6)
    assert source.files_read == 1
    source.read_at(6, 5)
    assert source.files_read == 3  # the empty one too
    with pytest.raises(ValueError, match="file 3"):
        source.digest(3)
    with pytest.raises(ValueError, match="file -1"):
        source.digest(-1)
    source.close()
    source.close()


def test_an_empty_file_is_opened_before_it_counts_as_read(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"")
    source = FileSource([tmp_path / "e"])
    assert source.files_read == 0
    source.settle(0, 1)
    assert source.files_read == 1
    assert source.digest(0) == blake3(b"").digest()
    assert source.read_at(0, 10) == b""


def test_a_file_that_was_empty_and_filled_meanwhile_is_told(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"")
    source = FileSource([tmp_path / "e"])
    (tmp_path / "e").write_bytes(b"data")
    source.settle(0, 1)
    assert source.digest(0) == blake3(b"").digest()
    assert len(source.notices) == 1
    assert "has grown since it was offered: its first 0 bytes were sent" in source.notices[0]


def test_one_file_is_open_at_a_time(tree: Path) -> None:
    before = open_descriptors()
    source = FileSource([tree])
    for offset in range(19):
        source.read_at(offset, 1)
        assert open_descriptors() <= before + 1 + 3, "the file, and the directories that files were found in"
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


def test_holes_are_neither_read_nor_in_the_digest(tmp_path: Path) -> None:
    size = 5 * 1024**3
    file = tmp_path / "sparse"
    with open(file, "wb") as out:
        out.truncate(size)
        out.seek(size - 4)
        out.write(b"last")
    source = FileSource([file])
    (entry,) = source.manifest.entries
    if not entry.holes:
        pytest.skip("this file system has no holes")
    assert entry.size == size
    assert source.manifest.total_bytes is not None
    assert source.manifest.total_bytes < 1024**2
    data = read_all(source, 1000)
    assert data.endswith(b"last")
    assert source.digest(0) == blake3(data).digest()


def test_a_large_file_is_read_with_flat_memory(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(100 * 1024**2))
    source = FileSource([file])
    tracemalloc.start()
    position = 0
    while data := source.read_at(position, 1 << 22):
        position += len(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert position == 100 * 1024**2
    assert peak < 4 * (1 << 22)


# Files that do not stay as they were


def half_read(file: Path, *, large_file_bytes: int = LARGE_FILE_BYTES) -> FileSource:
    source = FileSource([file], large_file_bytes=large_file_bytes)
    source.read_at(0, 5)
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


def test_a_file_that_vanished_is_withdrawn_and_the_rest_goes_on(tree: Path) -> None:
    source = FileSource([tree])
    (tree / "b.txt").unlink()
    assert read_all(source) == b"alpha!" + bytes(5) + b"charlied"
    assert source.files_read == 5
    assert {index: gone.why for index, gone in source.withdrawn.items()} == {1: Why.VANISHED}
    assert isinstance(source.withdrawn[1].error, SourceMissing)
    with pytest.raises(ValueError, match="file 1"):
        source.digest(1)
    assert source.digest(0) == blake3(b"alpha!").digest()
    assert source.digest(3) == blake3(b"charlie").digest()


def test_a_directory_that_vanished_takes_its_files_along_and_no_others(tree: Path) -> None:
    source = FileSource([tree])
    (tree / "sub").rename(tree / "elsewhere")
    assert read_all(source) == b"alpha!bravo" + bytes(8)
    assert {index: gone.why for index, gone in source.withdrawn.items()} == {3: Why.VANISHED, 4: Why.VANISHED}


def test_what_a_withdrawn_file_lacks_is_zeros_wherever_it_is_read(tree: Path) -> None:
    source = FileSource([tree])
    (tree / "a.txt").unlink()
    assert source.read_at(0, 2) == bytes(2)
    assert source.read_at(6, 100) == b"bravocharlied"
    assert source.read_at(3, 5) == bytes(3) + b"br"
    assert source.read_at(30, 1) == b""


@pytest.mark.parametrize("started", [False, True])
def test_a_file_cut_short_is_withdrawn(file: Path, started: bool) -> None:
    source = half_read(file) if started else FileSource([file])
    keep_time(file, b"0123")
    source.read_at(5 if started else 0, 10)
    assert source.withdrawn[0].why is Why.CHANGED
    assert "it became shorter" in source.withdrawn[0].error.sentence


@pytest.mark.parametrize("started", [False, True])
def test_of_a_file_that_grew_the_offered_part_is_sent_and_the_user_is_told(file: Path, started: bool) -> None:
    source = half_read(file) if started else FileSource([file])
    keep_time(file, b"0123456789more")
    data = source.read_at(5 if started else 0, 10)
    assert data == b"0123456789"[5 if started else 0 :]
    assert source.digest(0) == blake3(b"0123456789").digest()
    assert len(source.notices) == 1
    assert source.notices[0].endswith("file has grown since it was offered: its first 10 bytes were sent.")


def test_a_file_rewritten_and_longer_is_withdrawn(file: Path) -> None:
    source = half_read(file)
    file.write_bytes(b"something else, and longer")
    source.read_at(5, 10)
    assert source.withdrawn[0].why is Why.CHANGED


def test_a_file_rewritten_while_it_is_read_is_withdrawn(file: Path) -> None:
    source = half_read(file)
    file.write_bytes(b"abcdefghij")
    os.utime(file, ns=(5, 5))
    source.read_at(5, 10)
    assert source.withdrawn[0].why is Why.CHANGED
    assert "it was written to" in source.withdrawn[0].error.sentence


def test_a_file_rewritten_before_it_is_read_is_sent_as_it_is(file: Path) -> None:
    source = FileSource([file])
    file.write_bytes(b"abcdefghij")
    os.utime(file, ns=(5, 5))
    assert read_all(source) == b"abcdefghij"
    assert source.digest(0) == blake3(b"abcdefghij").digest()


def test_a_file_that_was_only_touched_is_sent(file: Path) -> None:
    source = half_read(file)
    os.utime(file, ns=(5, 5))
    assert source.read_at(5, 10) == b"56789"
    assert source.withdrawn == {}


def test_a_large_file_of_the_same_size_that_was_written_to_is_withdrawn_unread(file: Path) -> None:
    source = half_read(file, large_file_bytes=10)
    os.utime(file, ns=(5, 5))
    source.read_at(5, 10)
    assert source.withdrawn[0].why is Why.CHANGED


def test_another_file_in_its_place_is_withdrawn(file: Path, tmp_path: Path) -> None:
    source = FileSource([file])
    other = tmp_path / "other"
    other.write_bytes(b"0123456789")
    other.replace(file)
    source.read_at(0, 5)
    assert "took its place" in source.withdrawn[0].error.sentence


def test_a_pipe_in_its_place_does_not_block(file: Path) -> None:
    source = FileSource([file])
    file.unlink()
    os.mkfifo(file)
    source.read_at(0, 5)
    assert "took its place" in source.withdrawn[0].error.sentence


def test_a_link_in_its_place_is_not_followed(file: Path, tmp_path: Path) -> None:
    source = FileSource([file])
    file.rename(tmp_path / "moved")
    file.symlink_to("moved")
    assert source.read_at(0, 5) == bytes(5)
    assert list(source.withdrawn) == [0]


def test_a_shortage_of_our_own_is_no_reason_to_give_a_file_up(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FileSource([file])

    def none_left(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(SourceTree, "open_file", none_left)
    with pytest.raises(SourceUnreadable, match="too many files are open"):
        source.read_at(0, 5)


def test_a_descriptor_is_released_after_a_failure(file: Path) -> None:
    before = open_descriptors()
    source = half_read(file)
    keep_time(file, b"0")
    source.read_at(5, 5)
    assert open_descriptors() == before
    source.close()


def test_a_closed_source_gives_nothing_more_and_opens_nothing(file: Path) -> None:
    before = open_descriptors()
    source = half_read(file)
    source.close()
    source.close()
    assert open_descriptors() == before
    assert source.read_at(5, 5) == b""
    assert source.files_read == 0
    assert open_descriptors() == before


# The second look


def test_what_was_saved_while_the_code_waited_is_sent_as_it_is_then(tree: Path) -> None:
    source = FileSource([tree])
    (tree / "a.txt").write_bytes(b"alpha, revised")
    (tree / "new").write_bytes(b"!")
    source.prepare(POSIX)
    assert read_all(source) == b"alpha, revisedbravo!charlied"
    assert source.notices == ()
    assert source.left_out == ()


def test_what_is_gone_by_then_is_told_once_a_directory(tree: Path) -> None:
    source = FileSource([tree])
    (tree / "b.txt").unlink()
    (tree / "sub").rename(tree.parent / "sub")
    source.prepare(POSIX)
    assert [(item.path, item.why) for item in source.left_out] == [
        ("tree/b.txt", WhyLeftOut.VANISHED),
        ("tree/sub", WhyLeftOut.VANISHED),
    ]
    assert source.manifest.missed == 2
    source.prepare(POSIX)  # another receiver
    assert read_all(source) == b"alpha!"


def test_what_cannot_be_read_any_more_by_then_is_left_out(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FileSource([tree])
    monkeypatch.setattr(SourceTree, "is_readable", lambda _tree, _directory, name: name != "b.txt")
    source.prepare(POSIX)
    assert [(item.path.endswith("b.txt"), item.why) for item in source.left_out] == [
        (True, WhyLeftOut.UNREADABLE)
    ]


def test_an_argument_that_is_gone_by_then_ends_the_transfer(tree: Path) -> None:
    source = FileSource([tree / "a.txt", tree / "b.txt"])
    (tree / "a.txt").unlink()
    with pytest.raises(SourceMissing):
        source.prepare(POSIX)


def test_what_was_read_in_part_is_not_looked_at_again(file: Path) -> None:
    source = half_read(file)
    with pytest.raises(ValueError, match="looked at again"):
        source.prepare(POSIX)
