"""When verified files get their names: in batches, soon, and whatever happens to the others."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.errors import LocalFileError, TargetExists
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.filesystem import Directory, DirFdFilesystem
from tallow_cli.store.publishing import PUBLISH_AFTER_S
from tallow_cli.store.sink import OnConflict
from tests.support.disk import (
    FailingFilesystem,
    FullDisk,
    directory_entry,
    file_entry,
    files,
    temporaries,
    tree,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


def opened(sink: DirectorySink, *sizes: int, mode: int = 0o644) -> DirectorySink:
    """Offered a directory `d` with a file of each size: a, b, c, …"""
    entries = [file_entry(f"d/{chr(97 + n)}", size, mode=mode) for n, size in enumerate(sizes)]
    sink.open(files(directory_entry("d"), *entries))
    return sink


def verify(sink: DirectorySink, *indexes: int, size: int = 4) -> None:
    for index in indexes:
        sink.write(index * size, b"%d" % index * size)
        sink.finish(index, digest(b"%d" % index * size))


def test_a_verified_file_waits_for_others_no_longer_than_two_seconds(tmp_path: Path) -> None:
    clock = Clock()
    sink = opened(DirectorySink(tmp_path, clock=clock), 4, 4, 4)
    verify(sink, 0)
    clock.now += PUBLISH_AFTER_S - 0.1
    assert sink.publish_due() == ()
    clock.now += 0.1
    (published,) = sink.publish_due()
    assert published.saved_as == os.fspath(tmp_path / "d" / "a")
    assert (tmp_path / "d" / "a").read_bytes() == b"0000"
    assert sink.publish_due() == ()
    verify(sink, 1)
    assert sink.publish_due() == (), "the time runs from the first that waits"
    sink.close()


def test_finishing_the_next_file_publishes_what_is_due(tmp_path: Path) -> None:
    clock = Clock()
    sink = opened(DirectorySink(tmp_path, clock=clock), 4, 4, 4)
    verify(sink, 0)
    clock.now += PUBLISH_AFTER_S
    sink.write(4, b"1111")
    assert [published.path for published in sink.finish(1, digest(b"1111"))] == ["d/a", "d/b"]
    sink.close()


def test_the_last_file_waits_for_completion_however_long(tmp_path: Path) -> None:
    clock = Clock()
    sink = opened(DirectorySink(tmp_path, clock=clock), 4, 4)
    verify(sink, 0, 1)
    clock.now += 10 * PUBLISH_AFTER_S
    assert sink.publish_due() == (), "the sender would be told that all is done before it is"
    assert len(sink.complete()) == 2
    sink.close()


def test_giving_up_keeps_what_is_verified_and_nothing_else(tmp_path: Path) -> None:
    sink = opened(DirectorySink(tmp_path), 4, 4, 4, 4, mode=0o640)
    verify(sink, 0, 2)
    sink.write(4, b"1111")  # whole, but nobody has said what it should be
    sink.write(12, b"3")
    kept = sink.abort()
    assert [published.path for published in kept] == ["d/a", "d/c"]
    assert sink.abort() == ()
    sink.close()
    assert tree(tmp_path) == {"d": None, "d/a": b"0000", "d/c": b"2222"}
    assert os.listdir(tmp_path) == ["d"], "no lock is left either"
    assert stat.S_IMODE((tmp_path / "d" / "a").stat().st_mode) == 0o640 & ~_umask()
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o755 & ~_umask(), "others may look in now"
    assert (tmp_path / "d").stat().st_mtime_ns == directory_entry("d").mtime_ns


def test_closing_keeps_it_too(tmp_path: Path) -> None:
    sink = opened(DirectorySink(tmp_path, resume=False), 4, 4)
    verify(sink, 0)
    sink.close()
    assert tree(tmp_path) == {"d": None, "d/a": b"0000"}


def test_one_file_that_cannot_be_published_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    class Refusing(DirFdFilesystem):
        def rename_exclusively(self, directory: Directory, name: str, new_name: str) -> bool:
            if new_name.startswith("b"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().rename_exclusively(directory, name, new_name)

    sink = opened(DirectorySink(tmp_path, filesystem=Refusing()), 4, 4, 4)
    verify(sink, 0, 1, 2)
    with pytest.raises(LocalFileError, match="disk reported an error"):
        sink.complete()
    assert [published.path for published in sink.abort()] == ["d/a", "d/c"]
    sink.close()
    assert tree(tmp_path) == {"d": None, "d/a": b"0000", "d/c": b"2222"}


def test_a_taken_name_costs_nobody_what_arrived(tmp_path: Path) -> None:
    sink = opened(DirectorySink(tmp_path), 4, 4, 4)
    verify(sink, 0, 1, 2)
    (tmp_path / "d" / "b").write_bytes(b"theirs")
    with pytest.raises(TargetExists, match="d/b"):
        sink.complete()
    kept = {published.path: published.saved_as for published in sink.abort()}
    assert kept == {
        "d/a": os.fspath(tmp_path / "d" / "a"),
        "d/b": os.fspath(tmp_path / "d" / "b (1)"),
        "d/c": os.fspath(tmp_path / "d" / "c"),
    }
    sink.close()
    assert tree(tmp_path) == {"d": None, "d/a": b"0000", "d/b": b"theirs", "d/b (1)": b"1111", "d/c": b"2222"}


def test_a_disk_that_fails_altogether_keeps_nothing_and_raises_nothing(tmp_path: Path) -> None:
    filesystem = FailingFilesystem(errno.EIO)
    sink = opened(DirectorySink(tmp_path, filesystem=filesystem), 4, 4)
    verify(sink, 0)
    filesystem.operations = ("sync_file", "sync_all", "rename_exclusively", "link", "set_file_attributes")
    assert sink.abort() == ()
    sink.close()
    assert tree(tmp_path) == {}


def test_a_disk_that_fills_up_keeps_what_was_verified_before(tmp_path: Path) -> None:
    filesystem = FullDisk(1000, tells=False)
    sink = opened(DirectorySink(tmp_path, filesystem=filesystem), 4, 4)
    filesystem.room = 6
    verify(sink, 0)
    with pytest.raises(LocalFileError, match="no room"):
        sink.write(4, b"1111")
    assert [published.path for published in sink.abort()] == ["d/a"]
    sink.close()
    assert tree(tmp_path) == {"d": None, "d/a": b"0000"}


# Only what is verified is open to others


def test_a_temporary_is_private_until_its_digest_was_compared(tmp_path: Path) -> None:
    sink = opened(DirectorySink(tmp_path), 4, 4, mode=0o777)
    sink.write(0, b"0000")
    (name,) = temporaries(tmp_path)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    sink.finish(0, digest(b"0000"))
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, "nor before it is published"
    sink.close()
    assert stat.S_IMODE((tmp_path / "d" / "a").stat().st_mode) == 0o777 & ~_umask()


@pytest.mark.parametrize("policy", OnConflict)
@pytest.mark.parametrize("swap", ["file", "hard link", "symbolic link", "directory"])
def test_what_is_named_is_what_was_verified(tmp_path: Path, policy: OnConflict, swap: str) -> None:
    target, outside = tmp_path / "target", tmp_path / "secret"
    target.mkdir()
    outside.write_bytes(b"not for you")
    if policy is OnConflict.OVERWRITE:
        (target / "a").write_bytes(b"old")

    class Swapping(DirFdFilesystem):
        """A neighbour who may write in the directory, at the last moment."""

        def sync_file(self, fd: int) -> None:
            super().sync_file(fd)
            for name in temporaries(target):
                (target / name).unlink()
                match swap:
                    case "file":
                        (target / name).write_bytes(b"evil")
                    case "hard link":
                        os.link(outside, target / name)
                    case "symbolic link":
                        (target / name).symlink_to(outside)
                    case "directory":
                        (target / name).mkdir()

    sink = DirectorySink(target, policy, filesystem=Swapping())
    sink.open(files(file_entry("a", 4)))
    verify(sink, 0)
    with pytest.raises(LocalFileError, match="took the place"):
        sink.complete()
    assert sink.abort() == ()
    sink.close()
    if policy is OnConflict.OVERWRITE:
        assert (target / "a").read_bytes() == b"old", "it is not given up for a wrong one"
    elif swap != "directory":
        assert not os.path.lexists(target / "a")
    assert outside.read_bytes() == b"not for you"


def test_a_program_that_takes_new_files_away_at_once_is_no_attack(tmp_path: Path) -> None:
    class Consuming(DirFdFilesystem):
        def rename_exclusively(self, directory: Directory, name: str, new_name: str) -> bool:
            done = super().rename_exclusively(directory, name, new_name)
            (tmp_path / new_name).replace(tmp_path / "consumed")
            return done

    sink = DirectorySink(tmp_path, filesystem=Consuming())
    sink.open(files(file_entry("a", 4)))
    verify(sink, 0)
    assert len(sink.complete()) == 1
    sink.close()
    assert tree(tmp_path) == {"consumed": b"0000"}


# Shared directories


def test_modes_are_what_new_files_get_here_by_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        sink = opened(DirectorySink(tmp_path), 4, mode=0o664)
        verify(sink, 0)
        sink.complete()
        sink.close()
        assert stat.S_IMODE((tmp_path / "d" / "a").stat().st_mode) == 0o664
        assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o755, "the peer's mode is the most"
    finally:
        os.umask(before)


def test_a_default_access_list_counts_in_place_of_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "shared"
    target.mkdir()
    owner, group, others = ((tag, bits, 0xFFFFFFFF) for tag, bits in ((1, 7), (4, 7), (32, 5)))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (owner, group, others))
    try:
        os.setxattr(target, "system.posix_acl_default", acl)
    except OSError:
        pytest.skip("this file system has no access lists")
    before = os.umask(0o077)
    try:
        sink = opened(DirectorySink(target), 4, mode=0o664)
        verify(sink, 0)
        sink.complete()
        sink.close()
        (target / "plain").touch(0o664)
    finally:
        os.umask(before)
    mode = stat.S_IMODE((target / "d" / "a").stat().st_mode)
    assert mode == 0o664 == stat.S_IMODE((target / "plain").stat().st_mode), (
        "as whoever copies a file here gets it"
    )


def test_directories_of_a_group_hand_their_group_on(tmp_path: Path) -> None:
    target = tmp_path / "shared"
    target.mkdir()
    target.chmod(0o2775)
    sink = opened(DirectorySink(target), 4)
    verify(sink, 0)
    sink.complete()
    sink.close()
    assert (target / "d").stat().st_mode & stat.S_ISGID, "as mkdir gave it"
    assert not (target / "d" / "a").stat().st_mode & stat.S_ISGID


def _umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask
