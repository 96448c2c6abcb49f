from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tallow_cli.errors import DiskFull, DiskNearlyFull, TargetExists, TargetNotDirectory, TargetUnwritable
from tallow_cli.offer.names import SafePath, check_manifest_names
from tallow_cli.store import failures, filesystem
from tallow_cli.store.filesystem import DirFdFilesystem, Filesystem, PathFilesystem, default_filesystem
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.receive_root import MOST_RESERVED_BYTES, ReceiveRoot, temporary_name
from tests.support.disk import FailingFilesystem, FullDisk, NoHardLinks, file_entry, files, tree


def safe(path: str) -> SafePath:
    (made,) = check_manifest_names(files(file_entry(path)))
    return made


@pytest.fixture(params=[DirFdFilesystem, PathFilesystem], ids=lambda cls: cls.__name__)
def fs(request: pytest.FixtureRequest) -> Filesystem:
    made = request.param()
    assert isinstance(made, Filesystem)
    return made


def above(path: SafePath) -> list[SafePath]:
    """The directories it lies in, from the top down."""
    return [] if path.directory is None else [*above(path.directory), path.directory]


def make(root: ReceiveRoot, path: str) -> None:
    for directory in [*above(safe(path)), safe(path)]:
        with contextlib.suppress(FileExistsError):
            root.filesystem.make_directory(root.parent(directory), directory.name)


# Walking


def test_a_link_anywhere_on_the_way_is_not_followed(tmp_path: Path, fs: Filesystem) -> None:
    (tmp_path / "outside" / "b").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "outside")
    root = ReceiveRoot(tmp_path / "root", fs)
    for path in ("a/x", "a/b/x"):
        with pytest.raises(OSError) as raised:
            root.parent(safe(path))
        assert raised.value.errno in (errno.ELOOP, errno.ENOTDIR)
    root.close()


def test_a_file_on_the_way_is_no_directory(tmp_path: Path, fs: Filesystem) -> None:
    (tmp_path / "a").write_bytes(b"")
    root = ReceiveRoot(tmp_path, fs)
    with pytest.raises(NotADirectoryError):
        root.parent(safe("a/x"))
    root.close()


def test_a_directory_exchanged_for_another_is_refused(tmp_path: Path, fs: Filesystem) -> None:
    root = ReceiveRoot(tmp_path, fs, ReceiveLimits(open_directories=1))
    make(root, "a")
    make(root, "b")
    root.itself(safe("a"))
    root.itself(safe("b"))  # closes a
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "a").mkdir()
    with pytest.raises(NotADirectoryError, match="another directory took its place"):
        root.itself(safe("a"))
    root.close()


def test_with_open_directories_an_exchange_after_opening_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    root = ReceiveRoot(tmp_path / "root", DirFdFilesystem())
    make(root, "a")
    directory = root.itself(safe("a"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "a").rename(tmp_path / "root" / "moved")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "outside")
    root.filesystem.close(root.filesystem.create(directory, "x"))
    assert os.listdir(tmp_path / "outside") == []
    assert os.listdir(tmp_path / "root" / "moved") == ["x"]
    root.close()


def test_without_them_every_operation_looks_again_and_refuses(tmp_path: Path) -> None:
    fs = PathFilesystem()
    (tmp_path / "root").mkdir()
    root = ReceiveRoot(tmp_path / "root", fs)
    make(root, "a/b")
    directory = root.itself(safe("a/b"))
    fs.close(fs.create(directory, "old"))
    (tmp_path / "outside" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "b" / "old").write_bytes(b"precious")
    (tmp_path / "root" / "a").rename(tmp_path / "root" / "moved")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "outside")
    for attempt in (
        lambda: fs.create(directory, "x"),
        lambda: fs.reopen(directory, "old"),
        lambda: fs.stat(directory, "old"),
        lambda: fs.unlink(directory, "old"),
        lambda: fs.rename(directory, "old", "new"),
        lambda: fs.link(directory, "old", "new"),
        lambda: fs.symlink("x", directory, "new"),
        lambda: fs.make_directory(directory, "x"),
        lambda: fs.remove_directory(directory, "x"),
        lambda: fs.open_directory(directory, "x"),
        lambda: fs.set_directory_attributes(directory, 0o777, 0),
    ):
        with pytest.raises(NotADirectoryError):
            attempt()
    assert tree(tmp_path / "outside") == {"b": None, "b/old": b"precious"}
    root.close()


def test_no_more_directories_are_open_than_the_bound(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    root = ReceiveRoot(tmp_path, DirFdFilesystem(), ReceiveLimits(open_directories=3))
    for number in range(20):
        make(root, f"d{number}/e/f")
        root.itself(safe(f"d{number}/e/f"))
        assert len(os.listdir("/proc/self/fd")) <= before + 4
    root.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_path_deeper_than_the_open_directories_is_walked(tmp_path: Path, fs: Filesystem) -> None:
    root = ReceiveRoot(tmp_path, fs, ReceiveLimits(open_directories=2))
    deep = "/".join(f"d{i}" for i in range(32))
    make(root, deep)
    fs.close(fs.create(root.parent(safe(deep)), "x"))
    assert root.existing_kind(safe(deep.rpartition("/")[0] + "/x")) == "file"
    root.close()


# Looking


def test_what_stands_under_a_name_is_told_without_following_links(tmp_path: Path, fs: Filesystem) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    os.mkfifo(tmp_path / "pipe")
    root = ReceiveRoot(tmp_path, fs)
    kinds = {name: root.existing_kind(safe(name)) for name in ("file", "dir", "link", "pipe", "no", "no/x")}
    assert kinds == {
        "file": "file", "dir": "directory", "link": "symlink", "pipe": "special", "no": None, "no/x": None,
    }  # fmt: skip
    assert root.shown(safe("dir/x")) == os.fspath(tmp_path / "dir" / "x")
    root.close()


# Publishing


@pytest.mark.parametrize("cls", [DirFdFilesystem, PathFilesystem, NoHardLinks])
@pytest.mark.parametrize("existing", ["file", "directory", "link"])
def test_publishing_replaces_nothing(tmp_path: Path, cls: type[Filesystem], existing: str) -> None:
    fs = cls()
    root = ReceiveRoot(tmp_path, fs)
    fs.close(fs.create(root.directory, "temporary"))
    match existing:
        case "file":
            (tmp_path / "x").write_bytes(b"old")
        case "directory":
            (tmp_path / "x").mkdir()
        case "link":
            (tmp_path / "x").symlink_to("nowhere")
    before = os.lstat(tmp_path / "x").st_ino
    with pytest.raises(FileExistsError):
        root.publish(safe("x"), "temporary", None)
    assert os.lstat(tmp_path / "x").st_ino == before
    root.publish(safe("y"), "temporary", None)
    assert "temporary" not in os.listdir(tmp_path)
    assert (tmp_path / "y").read_bytes() == b""
    root.close()


def test_a_failure_to_link_that_is_not_the_file_systems_nature_is_not_worked_around(tmp_path: Path) -> None:
    for operation in ("link", "rename_exclusively"):
        fs = FailingFilesystem(errno.EIO, operation)
        if operation == "link":
            fs.rename_exclusively = lambda *_: False  # type: ignore[method-assign]  # as before Linux 3.15
        root = ReceiveRoot(tmp_path, fs)
        fs.close(fs.create(root.directory, "temporary"))
        with pytest.raises(OSError, match="Input/output"):
            root.publish(safe("x"), "temporary", None)
        assert os.listdir(tmp_path) == ["temporary"]
        (tmp_path / "temporary").unlink()
        root.close()


# Room and permission


def test_a_root_that_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    for code in (errno.EROFS, errno.EACCES):
        root = ReceiveRoot(tmp_path, FailingFilesystem(code, "create"))
        with pytest.raises(OSError) as raised:
            root.check_writable([])
        assert raised.value.errno == code
        root.close()
    assert os.listdir(tmp_path) == []


def test_room_is_checked_where_it_can_be_told(tmp_path: Path) -> None:
    root = ReceiveRoot(tmp_path, FullDisk(10))
    with pytest.raises(DiskFull):
        root.check_room(11)
    root.close()
    blind = ReceiveRoot(tmp_path, FullDisk(10, tells=False))
    blind.check_room(11)
    blind.close()


def test_the_longest_name_is_asked_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PathFilesystem()
    assert plain.longest_name(plain.open_root(os.fspath(tmp_path))) is None
    fs = DirFdFilesystem()
    root = fs.open_root(os.fspath(tmp_path))
    assert fs.longest_name(root) == os.pathconf(tmp_path, "PC_NAME_MAX")

    def unknown(fd: int, name: str) -> int:
        raise OSError

    monkeypatch.setattr(os, "fpathconf", unknown)
    assert fs.longest_name(root) is None
    fs.close_directory(root)


def test_the_root_must_be_a_directory_that_can_be_opened(tmp_path: Path, fs: Filesystem) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "nowhere", "file/x"):
        with pytest.raises(TargetNotDirectory):
            ReceiveRoot(tmp_path / name, fs)
    with pytest.raises(TargetUnwritable, match="no permission"):
        ReceiveRoot(tmp_path, FailingFilesystem(errno.EACCES, "open_root"))


def test_a_disk_that_gives_no_figures_is_no_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = ReceiveRoot(tmp_path, DirFdFilesystem())
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=0, f_bavail=0, f_frsize=4096))
    assert root.filesystem.space(root.directory) == (None, None)
    root.check_room(10**15)
    root.check_reserve()
    root.close()


@pytest.mark.parametrize(
    ("total", "free", "fits"),
    [
        (1_000_000, 50_000, True),
        (1_000_000, 49_999, False),
        (10**13, MOST_RESERVED_BYTES, True),
        (10**13, MOST_RESERVED_BYTES - 1, False),
    ],
)
def test_a_stream_leaves_a_part_of_the_disk_to_others(
    tmp_path: Path, total: int, free: int, fits: bool
) -> None:
    root = ReceiveRoot(tmp_path, FullDisk(free, total=total))
    if fits:
        root.check_reserve()
    else:
        with pytest.raises(DiskNearlyFull, match="left to other programs") as raised:
            root.check_reserve()
        assert isinstance(raised.value, DiskFull)
        assert raised.value.needed == 1
    root.close()


# Reserving


def fallocate_that_fails(code: int) -> Callable[..., int]:
    def fallocate(*_: object) -> int:
        ctypes.set_errno(code)
        return -1

    return fallocate


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_what_a_file_system_cannot_reserve_is_not_written_as_zeros_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fs = DirFdFilesystem()
    root = fs.open_root(os.fspath(tmp_path))
    fd = fs.create(root, "x")
    monkeypatch.setattr(filesystem, "_c_function", lambda name: fallocate_that_fails(code))
    fs.allocate(fd, 50_000_000)
    assert os.fstat(fd).st_blocks == 0
    monkeypatch.setattr(filesystem, "_c_function", lambda name: None)
    fs.allocate(fd, 50_000_000)
    assert os.fstat(fd).st_blocks == 0
    fs.close(fd)
    fs.close_directory(root)


def test_reserving_takes_the_blocks_and_a_full_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = DirFdFilesystem()
    root = fs.open_root(os.fspath(tmp_path))
    fd = fs.create(root, "x")
    fs.allocate(fd, 5_000_000)
    assert os.fstat(fd).st_size in (0, 5_000_000)
    monkeypatch.setattr(filesystem, "_c_function", lambda name: fallocate_that_fails(errno.ENOSPC))
    with pytest.raises(OSError) as raised:
        fs.allocate(fd, 5_000_000)
    assert raised.value.errno == errno.ENOSPC
    calls = iter([fallocate_that_fails(errno.EINTR), lambda *_: 0])
    monkeypatch.setattr(filesystem, "_c_function", lambda name: lambda *_: next(calls)())
    fs.allocate(fd, 5_000_000)  # a signal came in between
    assert next(calls, None) is None
    fs.close(fd)
    fs.close_directory(root)


def test_a_current_directory_that_was_removed_is_no_place_to_receive_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(TargetNotDirectory):
        ReceiveRoot(".", DirFdFilesystem())


# Names


def test_temporaries_have_names_nobody_can_guess() -> None:
    names = {temporary_name() for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.startswith(".tallow-") and len(name) < 40 for name in names)


# Platforms


def test_linux_works_relative_to_open_directories() -> None:
    assert isinstance(default_filesystem(), DirFdFilesystem)


def test_where_there_is_no_dir_fd_paths_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_HAS_DIR_FD", False)
    assert isinstance(default_filesystem(), PathFilesystem)


def test_where_there_is_no_pwrite_the_position_is_set_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "_HAS_PWRITE", False)
    monkeypatch.setattr(filesystem, "_HAS_FD_ATTRIBUTES", False)
    fs = PathFilesystem()
    root = fs.open_root(os.fspath(tmp_path))
    fd = fs.create(root, "x")
    assert fs.write(fd, 3, b"def") == 3
    assert fs.write(fd, 0, b"abc") == 3
    assert fs.read(fd, 1, 3) == b"bcd"
    fs.set_file_attributes(root, "x", fd, 0o644, 10**18)
    fs.close(fd)
    assert (tmp_path / "x").read_bytes() == b"abcdef"
    assert (tmp_path / "x").stat().st_mtime_ns == 10**18


def test_a_windows_junction_is_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Junction:
        st_mode = 0o040755
        st_file_attributes = 0x400
        st_dev = st_ino = 1

    monkeypatch.setattr(os, "lstat", lambda path: Junction())
    with pytest.raises(NotADirectoryError):
        filesystem._real_directory("anything")


def test_free_room_without_statvfs_is_asked_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = PathFilesystem()
    root = fs.open_root(os.fspath(tmp_path))
    monkeypatch.delattr(os, "statvfs")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5, total=9))
    assert fs.space(root) == (5, 9)

    def unknown(path: str) -> None:
        raise OSError

    monkeypatch.setattr(shutil, "disk_usage", unknown)
    assert fs.space(root) == (None, None)


def test_without_syncfs_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = DirFdFilesystem()
    root = fs.open_root(os.fspath(tmp_path))
    assert fs.sync_all(root)
    monkeypatch.setattr(filesystem, "_c_function", lambda name: None)
    assert not fs.sync_all(root)
    monkeypatch.setattr(filesystem, "_c_function", lambda name: lambda fd: -1)
    with pytest.raises(OSError):
        fs.sync_all(root)
    fs.close_directory(root)


def test_writeback_is_a_hint_and_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = DirFdFilesystem()
    root = fs.open_root(os.fspath(tmp_path))
    fd = fs.create(root, "x")
    fs.write(fd, 0, b"x" * 100_000)
    for keep_cached in (True, False):
        fs.start_writeback(fd, keep_cached=keep_cached)
        fs.start_writeback(-1, keep_cached=keep_cached)  # fails without a word
    monkeypatch.setattr(filesystem, "_c_function", lambda name: None)
    fs.start_writeback(fd, keep_cached=True)
    fs.close(fd)
    fs.close_directory(root)
    assert (tmp_path / "x").stat().st_size == 100_000


def test_functions_that_the_c_library_has_not_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert filesystem._c_function("no_such_function_anywhere") is None
    filesystem._c_function.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert filesystem._c_function("syncfs") is None
    filesystem._c_function.cache_clear()


# Sentences


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (errno.ENOSPC, DiskFull, "no room for x on its disk; 1,234 more bytes"),
        (errno.EDQUOT, DiskFull, "no room"),
        (errno.EEXIST, TargetExists, "x exists"),
        (errno.EACCES, TargetUnwritable, "no permission"),
        (errno.EROFS, TargetUnwritable, "read-only"),
        (errno.ELOOP, TargetUnwritable, "symbolic link"),
        (errno.EIO, TargetUnwritable, "the disk reported an error"),
        (errno.EBADF, TargetUnwritable, "bad file descriptor"),
    ],
)
def test_a_failure_of_the_disk_becomes_a_sentence(code: int, error: type, text: str) -> None:
    made = failures.target_error(OSError(code, os.strerror(code)), "x", 1234)
    assert type(made) is error
    assert text in made.sentence


def test_a_path_that_is_no_utf_8_can_be_printed() -> None:
    assert failures.displayable(os.fsdecode(b"a\xffb")) == "a\\xffb"
