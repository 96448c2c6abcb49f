from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
import tracemalloc
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.errors import (
    BadOption,
    DigestMismatch,
    DiskFull,
    LocalFileError,
    PeerProtocolError,
    TargetNotDirectory,
    TargetUnwritable,
)
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest, pack_holes
from tallow_cli.ranges import RangeSet
from tallow_cli.store import publishing
from tallow_cli.store.directory_sink import DirectorySink, FileSink
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.filesystem import Directory, DirFdFilesystem, Filesystem, PathFilesystem
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.memory_source import RandomSource
from tallow_cli.store.sink import Holding, OnConflict, Published, Sink
from tests.support.disk import (
    CHANGING,
    FailingFilesystem,
    FullDisk,
    NoHardLinks,
    ShortWriteFilesystem,
    TraceFilesystem,
    directory_entry,
    file_entry,
    files,
    link_entry,
    move,
    temporaries,
    tree,
)

FILESYSTEMS: list[type[Filesystem]] = [DirFdFilesystem, PathFilesystem, NoHardLinks]


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    target = tmp_path / "target"
    target.mkdir()
    return target


def receive(sink: Sink, manifest: Manifest, data: bytes = b"") -> list[Published]:
    """All bytes in one write, every file finished with its right digest."""
    sink.open(manifest)
    published = []
    if data:
        sink.write(0, data)
    for span in manifest.file_spans:
        published += sink.finish(span.index, digest(data[span.start : span.end]))
    published += sink.complete()
    sink.close()
    return published


# A whole tree


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_tree_arrives_as_it_was_sent(
    tmp_path: Path, target: Path, filesystem: type[Filesystem], seed: int | None
) -> None:
    source_root = tmp_path / "site"
    (source_root / "css" / "deep").mkdir(parents=True)
    (source_root / "void").mkdir(mode=0o750)
    rng = random.Random(7)
    for name, size in (
        ("index", 100_000),
        ("css/a", 1),
        ("css/deep/b", 70_000),
        ("empty", 0),
        ("css/c", 65_536),
    ):
        (source_root / name).write_bytes(rng.randbytes(size))
    (source_root / "index").chmod(0o640)
    (source_root / "css" / "a").chmod(0o755)
    (source_root / "link").symlink_to("css/a")
    (source_root / "css" / "deep" / "up").symlink_to("../a")
    for path in [*source_root.rglob("*"), source_root]:
        os.utime(path, ns=(1, rng.randrange(10**18)), follow_symlinks=False)

    sink = DirectorySink(target, filesystem=filesystem())
    order = None if seed is None else random.Random(seed)
    published = move(FileSource([source_root]), sink, chunk=30_000, piece=4_000, rng=order)
    sink.close()

    assert tree(target / "site") == tree(source_root)
    for path in source_root.rglob("*"):
        if not path.is_symlink():
            arrived = target / "site" / path.relative_to(source_root)
            assert arrived.stat().st_mtime_ns == path.stat().st_mtime_ns, path
            assert stat.S_IMODE(arrived.stat().st_mode) == stat.S_IMODE(path.stat().st_mode), path
    assert temporaries(target) == []
    assert sorted(item.file_index for item in published) == list(range(5))
    assert {item.saved_as for item in published} == {
        os.fspath(target / "site" / name) for name in ("index", "css/a", "css/deep/b", "empty", "css/c")
    }


def test_nothing_is_under_a_final_name_before_it_is_verified(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("a", 3), file_entry("b", 3)))
    sink.write(0, b"aaabbb")
    assert [name for name in os.listdir(target) if not name.startswith(".tallow-")] == []
    assert len(temporaries(target)) == 2
    sink.finish(0, digest(b"aaa"))
    sink.finish(1, digest(b"bbb"))
    assert {item.path for item in sink.complete()} == {"a", "b"}
    assert tree(target) == {"a": b"aaa", "b": b"bbb"}


def test_temporaries_are_private_hidden_and_beside_their_final_names(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("d/a", 10, mode=0o666)))
    sink.write(0, b"half")
    (name,) = os.listdir(target / "d")
    assert name.startswith(".tallow-")
    assert stat.S_IMODE((target / "d" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o700
    sink.close()


def test_a_wrong_digest_leaves_nothing_and_the_others_stay(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("good", 4), file_entry("bad", 3)))
    sink.write(0, b"goodbad")
    sink.finish(0, digest(b"good"))
    with pytest.raises(DigestMismatch) as raised:
        sink.finish(1, digest(b"bat"))
    assert raised.value.path == "bad"
    assert len(temporaries(target)) == 1  # that of `good`
    (kept,) = sink.abort()
    assert kept == Published(0, "good", 4, os.fspath(target / "good"))
    assert tree(target) == {"good": b"good"}
    sink.close()


def test_a_file_cannot_be_finished_before_it_is_whole(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("a", 3)))
    sink.write(1, b"bc")
    with pytest.raises(ValueError, match="not whole"):
        sink.finish(0, digest(b"abc"))
    sink.write(0, b"a")
    sink.finish(0, digest(b"abc"))
    assert sink.finish(0, digest(b"abc")) == (), "its digest came again, over another connection"
    with pytest.raises(IndexError):
        sink.finish(1, digest(b""))
    assert len(sink.complete()) == 1
    sink.close()


def test_it_says_what_it_has_for_the_next_connection(target: Path) -> None:
    now = 0.0
    sink = DirectorySink(target, clock=lambda: now)
    manifest = files(file_entry("a", 4), file_entry("gone", 2), file_entry("b", 10), file_entry("c", 1))
    assert sink.open(manifest) == Holding()
    assert sink.holding() == Holding()
    sink.write(0, b"aaaa")
    sink.write(8, b"bb")
    sink.write(12, b"bb")
    assert sink.holding().held == RangeSet([(0, 4), (8, 10), (12, 14)])
    assert sink.finish(0, digest(b"aaaa")) == ()
    assert sink.holding().kept == RangeSet(), "it is verified, but nobody was told yet"
    sink.skip(1)
    sink.skip(1)
    now += publishing.PUBLISH_AFTER_S
    assert [file.file_index for file in sink.finish(0, digest(b"aaaa"))] == [0]
    assert sink.holding() == Holding(held=RangeSet([(8, 10), (12, 14)]), kept=RangeSet([(0, 1)]))
    sink.close()


def test_completion_before_all_files_are_finished_is_a_mistake(target: Path) -> None:
    sink = DirectorySink(target)
    with pytest.raises(ValueError, match="not opened"):
        sink.complete()
    sink.open(files(file_entry("a"), file_entry("b")))
    sink.finish(0, digest(b""))
    with pytest.raises(ValueError, match="1 files are not finished"):
        sink.complete()
    sink.close()


@pytest.mark.parametrize(
    "writes",
    [
        [(0, b"abcd"), (0, b"a")],
        [(0, b"ab"), (1, b"bc")],
        [(4, b"ef"), (5, b"f")],
        [(4, b"ef"), (0, b"abcde")],
        [(8, b"ijk")],
        [(10, b"k")],
    ],
)
def test_a_byte_written_twice_or_beyond_the_end_is_a_mistake(
    target: Path, writes: list[tuple[int, bytes]]
) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("a", 10)))
    *good, bad = writes
    for offset, data in good:
        sink.write(offset, data)
    with pytest.raises(ValueError, match=r"overlap|beyond"):
        sink.write(*bad)
    sink.close()


def test_a_small_file_in_one_piece_is_not_written_again(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("a", 3), file_entry("b", 3)))
    sink.write(0, b"abc")
    with pytest.raises(ValueError, match="overlap"):
        sink.write(0, b"abc")
    sink.close()


def test_write_takes_any_kind_of_buffer_and_reports_what_it_wrote(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("a", 6)))
    assert sink.write(0, b"ab") == 2
    assert sink.write(2, bytearray(b"cd")) == 2
    assert sink.write(4, memoryview(b"xefx")[1:3]) == 2
    sink.finish(0, digest(b"abcdef"))
    sink.complete()
    sink.close()
    assert tree(target) == {"a": b"abcdef"}


def test_a_stream_of_unknown_length_ends_where_its_digest_says(target: Path) -> None:
    for name, data in (("some", b"hello world"), ("none", b"")):
        sink = DirectorySink(target)
        sink.open(Manifest("stream", (file_entry(name),)))
        if data:
            sink.write(6, data[6:])
            sink.write(0, data[:6])
        sink.finish(0, digest(data))
        (published,) = sink.complete()
        assert published.size == len(data)
        sink.close()
    assert tree(target) == {"some": b"hello world", "none": b""}


def test_a_stream_with_a_hole_or_a_missing_end_is_not_published(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(Manifest("stream", (file_entry("s"),)))
    sink.write(1, b"b")
    with pytest.raises(ValueError, match="not whole"):
        sink.finish(0, digest(b"ab"))
    sink.write(0, b"a")
    with pytest.raises(DigestMismatch):
        sink.finish(0, digest(b"abc"))
    sink.close()
    assert tree(target) == {}


def test_modes_are_masked_and_the_owner_is_not_locked_out(target: Path) -> None:
    receive(
        DirectorySink(target),
        files(
            Entry("d", EntryKind.DIRECTORY, 0, 0o7000),
            Entry("d/suid", EntryKind.FILE, 0, 0o6777),
            Entry("d/nothing", EntryKind.FILE, 0, 0),
        ),
    )
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o700
    assert stat.S_IMODE((target / "d" / "suid").stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((target / "d" / "nothing").stat().st_mode) == 0o400


def test_times_of_directories_survive_what_is_made_in_them(target: Path) -> None:
    receive(
        DirectorySink(target),
        files(
            file_entry("d/e/x", 1),
            directory_entry("d/e", mtime_ns=10**18 + 1),
            directory_entry("d", mtime_ns=10**18),
            link_entry("d/e/l", "x"),
        ),
        b"x",
    )
    assert (target / "d").stat().st_mtime_ns == 10**18
    assert (target / "d" / "e").stat().st_mtime_ns == 10**18 + 1


def test_offsets_beyond_four_gib_are_written_where_they_belong(target: Path) -> None:
    size = 5 * 1024**3
    sink = DirectorySink(target)
    sink.open(Manifest("stream", (file_entry("big"),)))  # no size: nothing is reserved
    sink.write(size - 4, b"last")
    (name,) = temporaries(target)
    assert (target / name).stat().st_size == size
    with open(target / name, "rb") as written:
        written.seek(size - 4)
        assert written.read() == b"last"
    sink.close()


def test_memory_stays_flat_whatever_the_size(target: Path) -> None:
    source, sink = RandomSource(64 << 20), DirectorySink(target)
    tracemalloc.start()
    move(source, sink, chunk=1 << 20, piece=1 << 16, rng=random.Random(1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sink.close()
    assert peak < 24 << 20


def test_no_more_files_are_open_than_the_bound(target: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sink = DirectorySink(target, limits=ReceiveLimits(open_files=4))
    manifest = files(*(file_entry(f"f{i}", 4) for i in range(40)))
    sink.open(manifest)
    for index in range(4):  # a byte of each file in turn: none is whole until the last round
        for span in manifest.file_spans:
            sink.write(span.start + index, b"%d" % index)
            assert len(os.listdir("/proc/self/fd")) <= before + 7
    for span in manifest.file_spans:
        sink.finish(span.index, digest(b"0123"))
    sink.complete()
    sink.close()
    assert set(tree(target).values()) == {b"0123"}
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_exchanged_temporary_is_not_written_to(target: Path) -> None:
    victim = target / "victim"
    victim.write_bytes(b"precious")
    sink = DirectorySink(target, limits=ReceiveLimits(open_files=1))
    sink.open(files(file_entry("a", 4), file_entry("b", 4)))
    sink.write(0, b"aa")
    (name,) = temporaries(target)
    sink.write(4, b"bb")  # closes the first
    (target / name).unlink()
    os.link(victim, target / name)
    with pytest.raises(LocalFileError):
        sink.write(2, b"aa")
    assert victim.read_bytes() == b"precious"
    sink.close()


# Batches and durability


def test_small_files_are_published_in_batches_and_the_last_waits_for_completion(target: Path) -> None:
    sink = DirectorySink(target, limits=ReceiveLimits(batch_files=3))
    manifest = files(*(file_entry(f"f{i}", 1) for i in range(6)))
    sink.open(manifest)
    sink.write(0, b"x" * 6)
    counts = [len(sink.finish(i, digest(b"x"))) for i in range(6)]
    assert counts == [0, 0, 3, 0, 0, 0]
    assert len(sink.complete()) == 3
    sink.close()


def test_a_large_file_is_published_without_waiting_for_others(target: Path) -> None:
    sink = DirectorySink(target, limits=ReceiveLimits(batch_bytes=100))
    sink.open(files(file_entry("a", 100), file_entry("b", 1)))
    sink.write(0, b"x" * 101)
    (published,) = sink.finish(0, digest(b"x" * 100))
    assert published == Published(0, "a", 100, os.fspath(target / "a"))
    assert (target / "a").exists()
    sink.finish(1, digest(b"x"))
    sink.complete()
    sink.close()


@pytest.mark.parametrize("count", [1, 5, 40])
def test_data_is_synced_before_names_and_names_before_completion(target: Path, count: int) -> None:
    done: list[str] = []
    sink = DirectorySink(target, filesystem=TraceFilesystem(lambda _: None, done.append))
    manifest = files(directory_entry("d"), *(file_entry(f"d/f{i}", 2) for i in range(count)))
    receive(sink, manifest, b"x" * 2 * count)
    first_name = done.index("rename_exclusively")
    last_name = len(done) - 1 - done[::-1].index("rename_exclusively")
    if count > 16:
        assert "sync_all" in done[:first_name]
        assert "sync_file" not in done
    else:
        assert done[:first_name].count("sync_file") == count
    last_data = max(i for i, operation in enumerate(done) if operation in ("write", "set_file_attributes"))
    first_sync = min(i for i, operation in enumerate(done) if operation in ("sync_file", "sync_all"))
    assert last_data < first_sync < first_name
    after = done[last_name + 1 :]
    assert after.count("sync_directory") == 2  # d and the root
    assert after.index("set_directory_attributes") < after.index("sync_directory")


def test_many_files_are_synced_on_threads_where_there_is_no_syncfs(target: Path) -> None:
    class NoSyncfs(TraceFilesystem):
        def sync_all(self, directory: object) -> bool:
            return False

    done: list[str] = []
    receive(
        DirectorySink(target, filesystem=NoSyncfs(lambda _: None, done.append)),
        files(*(file_entry(f"d{i}/f", 2) for i in range(40))),
        b"x" * 80,
    )
    assert done.count("sync_file") == 40
    assert done.count("sync_directory") == 41
    assert max(i for i, name in enumerate(done) if name == "sync_file") < done.index("rename_exclusively")
    assert len(tree(target)) == 80


# Failing disks


@pytest.mark.parametrize("operation", [*CHANGING, "open_root", "open_directory", "close"])
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
def test_every_operation_may_fail_and_ends_in_one_sentence_with_nothing_half_written(
    target: Path, operation: str, after: int, code: int
) -> None:
    data = b"a" * 300_000 + b"bb" + b"c"
    manifest = files(
        directory_entry("d"),
        file_entry("d/a", 300_000),
        directory_entry("d/e"),
        file_entry("d/e/b", 2),
        link_entry("d/l", "a"),
        file_entry("d/c", 1),
    )
    filesystem = FailingFilesystem(code, operation, after=after)
    sink = DirectorySink(target, filesystem=filesystem)
    allowed = DiskFull if code == errno.ENOSPC else TargetUnwritable
    with contextlib.suppress(
        allowed
    ):  # it may also succeed: the operation was not needed, or its failure is told
        receive(sink, manifest, data)
    sink.abort()
    filesystem.operations = ()
    sink.abort()
    sink.close()
    complete = {"a": b"a" * 300_000, "b": b"bb", "c": b"c", "l": "a", "d": None, "e": None}
    for name, contents in tree(target).items():
        if ".tallow-" not in name:
            assert contents == complete[name.rpartition("/")[2]], name


@pytest.mark.parametrize("most", [1, 7, 65_536])
def test_short_writes_are_continued(target: Path, most: int) -> None:
    data = random.Random(most).randbytes(3_000 if most < 100 else 300_000)
    sink = DirectorySink(target, filesystem=ShortWriteFilesystem(most))
    receive(sink, files(file_entry("a", len(data))), data)
    assert tree(target) == {"a": data}


def test_a_disk_that_takes_nothing_and_says_nothing_is_an_error_not_a_loop(target: Path) -> None:
    sink = DirectorySink(target, filesystem=ShortWriteFilesystem(0))
    sink.open(files(file_entry("a", 3)))
    with pytest.raises(TargetUnwritable):
        sink.write(0, b"abc")
    sink.close()
    assert tree(target) == {}


def test_too_little_room_is_known_before_the_transfer(target: Path) -> None:
    sink = DirectorySink(target, filesystem=FullDisk(2_000_000))
    with pytest.raises(DiskFull) as raised:
        sink.open(files(file_entry("a", 1_500_000)))
    assert raised.value.needed is not None
    assert raised.value.needed > 500_000
    sink.close()
    assert tree(target) == {}


def test_ten_thousand_tiny_files_are_known_to_take_whole_blocks(target: Path) -> None:
    sink = DirectorySink(target, filesystem=FullDisk(10_000_000))
    with pytest.raises(DiskFull):
        sink.open(files(*(file_entry(f"f{i}", 10) for i in range(10_000))))
    sink.close()


def test_room_that_goes_is_noticed_when_it_is_reserved_or_written(target: Path) -> None:
    for reserves in (True, False):
        sink = DirectorySink(target, filesystem=FullDisk(300_000, tells=False, reserves=reserves))
        sink.open(files(file_entry("a", 400_000)))
        with pytest.raises(DiskFull):
            sink.write(0, b"x" * 400_000)
        sink.abort()
        sink.close()
        assert tree(target) == {}


def test_a_disk_that_will_not_hold_the_offer_whatever_it_says(target: Path) -> None:
    sink = DirectorySink(target)
    with pytest.raises(DiskFull):
        sink.open(files(file_entry("a", 2**61)))
    sink.close()


def test_a_temporary_cut_short_by_somebody_is_not_hashed_as_if_it_were_whole(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("a", 6)))
    sink.write(3, b"def")
    (name,) = temporaries(target)
    os.truncate(target / name, 0)
    os.truncate(target / name, 3)
    with pytest.raises(TargetUnwritable, match="cut short"):
        sink.write(0, b"abc")
    sink.close()


# Where it goes


def test_a_target_that_is_missing_or_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "nowhere"):
        for attempt in (DirectorySink.conflicts, DirectorySink.open):
            with pytest.raises(TargetNotDirectory, match=name):
                attempt(DirectorySink(tmp_path / name), files(file_entry("a")))


def test_a_missing_target_is_made_when_asked_and_removed_when_nothing_came(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path / "new", make=True)
    assert sink.conflicts(files(file_entry("a"))) == []
    assert not (tmp_path / "new").exists()
    sink.open(files(file_entry("a", 1)))
    sink.write(0, b"x")
    sink.abort()
    sink.close()
    assert not (tmp_path / "new").exists()
    receive(DirectorySink(tmp_path / "new", make=True), files(file_entry("a", 1)), b"x")
    assert tree(tmp_path / "new") == {"a": b"x"}


def test_a_target_is_made_with_what_is_missing_above_it_and_goes_with_it_when_nothing_came(
    tmp_path: Path,
) -> None:
    path = tmp_path / "no" / "such" / "new"
    receive(DirectorySink(f"{path}/", make=True), files(file_entry("a", 1)), b"x")
    assert tree(path) == {"a": b"x"}
    given_up = DirectorySink(tmp_path / "other" / "new", make=True)
    given_up.open(files(file_entry("a", 1)))
    given_up.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["no"]


def test_the_target_itself_may_be_a_link_to_a_directory(tmp_path: Path, target: Path) -> None:
    (tmp_path / "link").symlink_to(target)
    receive(DirectorySink(tmp_path / "link"), files(file_entry("a", 1)), b"x")
    assert tree(target) == {"a": b"x"}


def test_names_are_checked_again_by_the_sink(target: Path) -> None:
    with pytest.raises(PeerProtocolError):
        DirectorySink(target).open(files(file_entry("../a")))
    assert tree(target) == {}


def test_a_file_sink_takes_one_file_under_the_users_name(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = FileSink(target / "mine")
    with pytest.raises(BadOption, match="more is offered"):
        sink.open(files(file_entry("a"), file_entry("b")))
    with pytest.raises(BadOption):
        FileSink(target / "mine").conflicts(files(directory_entry("a")))
    (published,) = receive(FileSink(target / "mine"), files(file_entry(".bashrc", 1)), b"x")
    assert published.saved_as == os.fspath(target / "mine")
    monkeypatch.chdir(target)
    receive(FileSink("here"), files(file_entry("deep/down/a", 1)), b"y")
    assert tree(target) == {"mine": b"x", "here": b"y"}


@pytest.mark.parametrize("name", ["", ".", "..", "/", "d/"])
def test_a_file_sink_needs_a_file_name(target: Path, name: str) -> None:
    with pytest.raises(BadOption):
        FileSink(os.path.join(target, name) if name else name)


# File systems that are not like ours


def test_names_that_the_file_system_does_not_take_are_known_before_the_transfer(target: Path) -> None:
    class Fat(NoHardLinks):
        def create(self, directory: Directory, name: str, mode: int = 0o600) -> int:
            if set(name) & set('<>"|?*'):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return super().create(directory, name, mode)

    sink = DirectorySink(target, filesystem=Fat())
    with pytest.raises(TargetUnwritable, match=r"does not take all of \* \?"):
        sink.open(files(file_entry("d/what?", 1), file_entry("d/*", 1)))
    sink.close()
    assert tree(target) == {}
    receive(DirectorySink(target, filesystem=Fat()), files(file_entry("plain", 1)), b"x")
    receive(DirectorySink(target), files(file_entry("d/what?", 1)), b"x")
    assert tree(target) == {"plain": b"x", "d": None, "d/what?": b"x"}


def test_names_longer_than_the_file_system_takes_are_known_before_the_transfer(target: Path) -> None:
    class Ecryptfs(DirFdFilesystem):
        def longest_name(self, directory: Directory) -> int | None:
            return 143

    manifest = files(file_entry("d/" + "é" * 80, 1))
    sink = DirectorySink(target, filesystem=Ecryptfs())
    with pytest.raises(TargetUnwritable, match="143 bytes"):
        sink.open(manifest)
    sink.close()
    receive(DirectorySink(target, filesystem=Ecryptfs()), files(file_entry("x" * 143, 1)), b"x")


def test_modes_and_times_that_are_not_kept_are_told_and_the_files_arrive(target: Path) -> None:
    for operation in ("set_file_attributes", "set_directory_attributes"):
        sink = DirectorySink(target, OnConflict.RENAME, filesystem=FailingFilesystem(errno.EPERM, operation))
        receive(sink, files(directory_entry("d"), file_entry("d/x", 1), file_entry("d/y", 1)), b"xy")
        assert len(sink.notices) == 1
        assert "does not keep modes and times" in sink.notices[0]
    assert len(tree(target)) == 6


# Giving up


def test_abort_removes_what_we_made_and_nothing_else(target: Path) -> None:
    (target / "other").write_bytes(b"other")
    sink = DirectorySink(target, limits=ReceiveLimits(batch_files=1))
    sink.open(
        files(
            directory_entry("d"),
            file_entry("d/done", 1),
            directory_entry("d/void"),
            file_entry("d/e/half", 9),
        )
    )
    sink.write(0, b"xhalf")
    (published,) = sink.finish(0, digest(b"x"))
    assert published.path == "d/done"
    sink.abort()
    sink.abort()
    assert tree(target) == {"other": b"other", "d": None, "d/done": b"x"}
    sink.close()
    sink.close()


def test_abort_after_completion_does_nothing(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("a", 1)))
    sink.write(0, b"x")
    sink.finish(0, digest(b"x"))
    sink.complete()
    sink.abort()
    sink.close()
    assert tree(target) == {"a": b"x"}


def test_closing_without_completion_aborts(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(file_entry("d/a", 2)))
    sink.write(0, b"x")
    sink.close()
    assert tree(target) == {}


def test_a_sink_that_was_never_opened_closes_quietly(target: Path) -> None:
    sink = DirectorySink(target)
    sink.abort()
    sink.close()
    assert sink.notices == ()


def test_links_that_cannot_be_made_are_told_and_the_rest_arrives(target: Path) -> None:
    sink = DirectorySink(target, filesystem=FailingFilesystem(errno.EPERM, "symlink"))
    receive(sink, files(directory_entry("d"), link_entry("d/l", "x"), file_entry("d/x", 1)), b"x")
    assert tree(target) == {"d": None, "d/x": b"x"}
    assert len(sink.notices) == 1
    assert "d/l was not made" in sink.notices[0]


def test_every_sink_for_a_directory_keeps_the_protocol(target: Path) -> None:
    assert isinstance(DirectorySink(target), Sink)
    assert isinstance(FileSink(target / "x", OnConflict.RENAME), Sink)


# What does not come, and what is not sent


def test_a_skipped_file_leaves_nothing_behind_and_the_others_are_kept(target: Path) -> None:
    sink = DirectorySink(target)
    sink.open(files(directory_entry("d"), file_entry("d/a", 4), file_entry("d/b", 4), file_entry("d/c", 0)))
    sink.write(0, b"aaaabb")
    sink.finish(0, digest(b"aaaa"))
    assert sink.skip(1) == 0
    assert sink.skip(2) == 0
    with pytest.raises(ValueError, match="finished already"):
        sink.skip(0)
    assert [file.path for file in sink.complete()] == ["d/a"]
    sink.close()
    assert tree(target) == {"d": None, "d/a": b"aaaa"}


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_a_sparse_file_is_written_where_its_data_belongs(target: Path, filesystem: type[Filesystem]) -> None:
    size = 50_000_000
    entry = Entry(
        "s", EntryKind.FILE, size, 0o644, 0, packed_holes=pack_holes(((0, 1_000_000), (1_000_010, size - 10)))
    )
    nothing = Entry("n", EntryKind.FILE, size, 0o644, 0, packed_holes=pack_holes(((0, size),)))
    sink = DirectorySink(target, filesystem=filesystem())
    sink.open(files(entry, nothing))
    data = b"0123456789abcdefghij"
    sink.write(15, data[15:])
    sink.write(0, data[:5])
    sink.write(5, data[5:15])
    sink.finish(0, digest(data))
    sink.finish(1, digest(b""))
    assert [file.size for file in sink.complete()] == [size, size]
    sink.close()
    expected = bytes(1_000_000) + data[:10] + bytes(size - 1_000_020) + data[10:]
    assert (target / "s").read_bytes() == expected
    assert (target / "n").stat().st_size == size
    assert (target / "n").stat().st_blocks == 0


def test_only_data_counts_where_there_is_little_room(target: Path) -> None:
    size = 10**12
    entry = Entry("s", EntryKind.FILE, size, 0o644, 0, packed_holes=pack_holes(((0, size),)))
    sink = DirectorySink(target, filesystem=FullDisk(10_000_000))
    sink.open(files(entry))
    sink.finish(0, digest(b""))
    sink.complete()
    sink.close()
    assert (target / "s").stat().st_size == size


def test_a_tree_of_any_depth_is_made_and_left_in_order(target: Path) -> None:
    deep = "/".join("d" * 800)
    manifest = files(*(file_entry(f"{deep}/{number}", 1) for number in range(50)))
    published = receive(DirectorySink(target), manifest, b"x" * 50)
    assert len(published) == 50
