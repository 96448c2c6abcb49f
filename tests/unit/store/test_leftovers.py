"""What a dead receiver left is removed; what belongs to a living one, or to anybody else, is not."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.store import leftovers
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.filesystem import DirFdFilesystem, Filesystem
from tallow_cli.store.leftovers import Swept
from tallow_cli.store.receive_root import ReceiveRoot
from tallow_cli.store.sink import OnConflict
from tests.support.disk import FailingFilesystem, directory_entry, file_entry, files, tree

TREE = files(
    directory_entry("mix"),
    directory_entry("mix/void"),
    file_entry("mix/a", 3),
    file_entry("mix/deep/down/b", 9),
)
TOKEN = "0123abcd"
PART = f".tallow-{TOKEN}-{16 * '0'}.part"
LOCK = f".tallow-{TOKEN}.lock"


def receiving(target: Path, policy: OnConflict = OnConflict.REFUSE) -> DirectorySink:
    """A receiver in the middle of TREE: `a` is whole, `b` is not. It keeps no journal."""
    sink = DirectorySink(target, policy, resume=False)
    sink.open(TREE)
    sink.write(0, b"aaabb")
    return sink


def die(sink: DirectorySink) -> None:
    """As by kill -9: descriptors close, and nothing else happens."""
    assert sink._partials is not None
    sink._partials.close_all()
    assert sink._lock is not None
    os.close(sink._lock._fd)
    sink._lock._fd = -1
    assert sink._root is not None
    sink._root.close()
    sink._root = None


@contextlib.contextmanager
def opened(target: Path, filesystem: Filesystem | None = None) -> Iterator[ReceiveRoot]:
    root = ReceiveRoot(target, filesystem or DirFdFilesystem())
    yield root
    root.close()


def sweep(target: Path, filesystem: Filesystem | None = None) -> Swept:
    with opened(target, filesystem) as root:
        swept, dead = leftovers.survey(root, time.time())
        assert dead == [], "no journal, so nothing can be gone on with"
        return swept


def leave(target: Path, contents: bytes | None = None) -> None:
    """What a receiver of a file at the top leaves."""
    (target / LOCK).write_bytes(leftovers._this_machine() if contents is None else contents)
    (target / PART).write_bytes(b"half")


def test_a_living_receiver_is_left_alone_and_a_dead_one_cleared_away(tmp_path: Path) -> None:
    sink = receiving(tmp_path)
    before = tree(tmp_path)
    assert sweep(tmp_path) == Swept()
    assert tree(tmp_path) == before
    die(sink)
    swept = sweep(tmp_path)
    assert swept.files == 2
    assert swept.bytes > 0
    assert tree(tmp_path) == {}


def test_the_next_receive_of_the_same_says_so_and_has_no_conflict(tmp_path: Path) -> None:
    die(receiving(tmp_path))
    sink = DirectorySink(tmp_path)
    assert sink.conflicts(TREE) == []
    (notice,) = sink.notices
    assert notice.startswith("Removed 2 unfinished files (")
    assert os.fspath(tmp_path) in notice
    sink.open(TREE)
    sink.write(0, b"aaabbbbbbbbb")
    sink.finish(0, blake3(b"aaa").digest())
    sink.finish(1, blake3(b"b" * 9).digest())
    sink.complete()
    sink.close()
    assert sink.notices == (notice,), "once"
    assert {name: found for name, found in tree(tmp_path).items() if found is not None} == {
        "mix/a": b"aaa",
        "mix/deep/down/b": b"b" * 9,
    }
    assert os.listdir(tmp_path) == ["mix"]


def test_what_a_dead_one_had_published_and_what_others_put_there_stays(tmp_path: Path) -> None:
    sink = receiving(tmp_path)
    sink.finish(0, blake3(b"aaa").digest())
    assert sink._publisher is not None
    sink._publisher.publish()
    (tmp_path / "mix" / "deep" / "mine").write_bytes(b"mine")
    die(sink)
    assert sweep(tmp_path).files == 1
    assert tree(tmp_path) == {
        "mix": None,
        "mix/a": b"aaa",
        "mix/void": None,
        "mix/deep": None,
        "mix/deep/down": None,
        "mix/deep/mine": b"mine",
    }
    assert [conflict.path for conflict in DirectorySink(tmp_path).conflicts(TREE)] == ["mix"]


def test_a_directory_that_was_there_is_swept_and_never_removed(tmp_path: Path) -> None:
    (tmp_path / "mix").mkdir()
    die(receiving(tmp_path, OnConflict.OVERWRITE))
    assert sweep(tmp_path).files == 2
    assert set(tree(tmp_path)) == {"mix", "mix/void", "mix/deep", "mix/deep/down"}


@pytest.mark.parametrize(
    "contents",
    [b"another-host\0+mix", b"another-host", b"\xff\0", b"\0\0\0"],
    ids=["tree", "host", "odd", "noughts"],
)
def test_what_another_machine_left_is_not_judged_from_here(tmp_path: Path, contents: bytes) -> None:
    leave(tmp_path, contents)
    removed = not contents.split(b"\0")[0]
    assert sweep(tmp_path).files == removed
    assert (tmp_path / PART).exists() is not removed


@pytest.mark.parametrize(
    "top", [b"+..", b"+.", b"+", b"+/etc", b"+mix/../..", b"+link", b"+file", b"+absent", b"", b"+mix\xff"]
)
def test_a_lock_file_of_any_contents_leads_nowhere_else(tmp_path: Path, top: bytes) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (outside / PART).write_bytes(b"theirs")
    (target / "link").symlink_to(outside)
    (target / "file").write_bytes(b"file")
    leave(target, leftovers._this_machine() + b"\0" + top)
    assert sweep(target).files == 1
    assert tree(outside) == {PART: b"theirs"}
    assert tree(target) == {"link": os.fspath(outside), "file": b"file"}


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "link to a file of ours"])
def test_only_regular_files_are_taken_for_ours(tmp_path: Path, kind: str) -> None:
    target, victim = tmp_path / "target", tmp_path / "victim"
    target.mkdir()
    victim.write_bytes(leftovers._this_machine())
    for name in (PART, LOCK):
        match kind:
            case "link":
                (target / name).symlink_to("nowhere")
            case "pipe":
                os.mkfifo(target / name)
            case "directory":
                (target / name).mkdir()
            case "link to a file of ours":
                (target / name).symlink_to(victim)
    before = sorted(os.listdir(target))
    assert sweep(target) == Swept()
    assert sorted(os.listdir(target)) == before
    assert victim.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
def test_files_of_other_users_are_left_to_them(tmp_path: Path) -> None:
    leave(tmp_path)
    os.chown(tmp_path / PART, 12345, -1)
    assert sweep(tmp_path) == Swept()
    assert (tmp_path / PART).exists()
    leave(tmp_path)
    os.chown(tmp_path / LOCK, 12345, -1)
    assert sweep(tmp_path) == Swept()
    assert (tmp_path / PART).exists()


@pytest.mark.parametrize(
    "name",
    [
        f".tallow-{TOKEN}-{15 * '0'}.part",
        f".tallow-ffffffff-{16 * '0'}.part",
        f".tallow-{TOKEN}-{16 * '0'}.part.txt",
        f"x.tallow-{TOKEN}-{16 * '0'}.part",
        ".tallow-notes.part",
    ],
)
def test_names_that_are_only_alike_are_not_touched(tmp_path: Path, name: str) -> None:
    leave(tmp_path)
    (tmp_path / name).write_bytes(b"mine")
    assert sweep(tmp_path).files == 1
    assert tree(tmp_path) == {name: b"mine"}


def test_where_there_are_no_locks_nothing_is_claimed_and_nothing_swept(tmp_path: Path) -> None:
    filesystem = FailingFilesystem(errno.ENOLCK, "lock")
    sink = DirectorySink(tmp_path, filesystem=filesystem)
    sink.open(TREE)
    assert [name for name in os.listdir(tmp_path) if name.startswith(".tallow-")] == []
    sink.close()
    leave(tmp_path)
    assert sweep(tmp_path, filesystem) == Swept()
    assert (tmp_path / PART).exists()


@pytest.mark.parametrize(
    "operation", ["entries", "stat", "reopen", "read", "unlink", "open_directory", "close"]
)
def test_a_sweep_that_fails_harms_no_receive(tmp_path: Path, operation: str) -> None:
    die(receiving(tmp_path))
    filesystem = FailingFilesystem(errno.EIO, operation)
    with contextlib.suppress(OSError):  # of closing the root
        sweep(tmp_path, filesystem)
    filesystem.operations = ()
    sweep(tmp_path)
    assert not any(".part" in name for name in tree(tmp_path))


def test_a_lock_that_a_sweep_took_away_is_made_again(tmp_path: Path) -> None:
    class Sweeping(DirFdFilesystem):
        """Another receive looks just between the making of the lock and the locking."""

        looked = False

        def lock(self, fd: int) -> bool:
            if not self.looked:
                self.looked = True
                sweep(tmp_path)
            return super().lock(fd)

    filesystem = Sweeping()
    with opened(tmp_path, filesystem) as root:
        lock = leftovers.ReceiveLock(root, ["mix"], [])
        assert filesystem.looked
        (tmp_path / f".tallow-{root.token}-{16 * '0'}.part").write_bytes(b"in use")
        assert sweep(tmp_path) == Swept()
        lock.close()
        lock.close()
    assert sweep(tmp_path) == Swept()
