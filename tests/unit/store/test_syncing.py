"""Few files are synced one by one, many with one call, and many where there is no such call on threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallow_cli.offer.manifest import Manifest
from tallow_cli.offer.names import check_manifest_names
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.filesystem import Directory, DirFdFilesystem, default_filesystem
from tallow_cli.store.memory_source import RandomSource
from tallow_cli.store.receive_root import ReceiveRoot
from tallow_cli.store.syncing import SYNC_SINGLY_UP_TO, sync_directories
from tests.support.disk import directory_entry, files, move


class Counting(DirFdFilesystem):
    """Remembers what was synced, and may have no call for everything at once."""

    def __init__(self, *, has_sync_all: bool) -> None:
        self.has_sync_all = has_sync_all
        self.singly = self.at_once = self.directories = 0

    def sync_file(self, fd: int) -> None:
        self.singly += 1
        super().sync_file(fd)

    def sync_directory(self, directory: Directory) -> None:
        self.directories += 1
        super().sync_directory(directory)

    def sync_all(self, directory: Directory) -> bool:
        if not self.has_sync_all:
            return False
        self.at_once += 1
        return True


def receive(target: Path, filesystem: Counting, count: int) -> int:
    """Receives `count` files; how many have arrived."""
    sink = DirectorySink(target, filesystem=filesystem)
    published = move(RandomSource(10 * count, files=count), sink)
    sink.close()
    return len(published)


def test_a_few_files_are_synced_one_by_one(tmp_path: Path) -> None:
    filesystem = Counting(has_sync_all=True)
    assert receive(tmp_path, filesystem, 3) == 3
    assert filesystem.singly >= 3
    assert filesystem.at_once == 0


@pytest.mark.parametrize("has_sync_all", [True, False])
def test_many_files_are_synced_at_once_or_each(tmp_path: Path, has_sync_all: bool) -> None:
    filesystem = Counting(has_sync_all=has_sync_all)
    count = 3 * SYNC_SINGLY_UP_TO
    assert receive(tmp_path, filesystem, count) == count
    assert filesystem.at_once > 0 or filesystem.singly >= count


def test_many_directories_are_synced_at_once(tmp_path: Path) -> None:
    count = SYNC_SINGLY_UP_TO + 1
    manifest: Manifest = files(*(directory_entry(f"d{index}") for index in range(count)))
    paths = check_manifest_names(manifest)
    for has_sync_all, expected in ((True, 0), (False, count + 1)):
        filesystem = Counting(has_sync_all=has_sync_all)
        root = ReceiveRoot(str(tmp_path), filesystem)
        try:
            for path in paths:
                (tmp_path / str(path)).mkdir(exist_ok=True)
            sync_directories(root, paths)
        finally:
            root.close()
        assert filesystem.directories == expected


def test_what_cannot_be_synced_is_no_error() -> None:
    """A pipe says what a file system without fsync says; a closed descriptor is still an error."""
    read, write = os.pipe()
    filesystem = default_filesystem()
    with pytest.raises(OSError, match="Invalid argument"):
        os.fsync(write)
    filesystem.sync_file(write)
    filesystem.sync_data(write)
    filesystem.sync_directory(Directory("pipe", (0, 0), write))
    os.close(read)
    os.close(write)
    with pytest.raises(OSError, match="Bad file descriptor"):
        filesystem.sync_file(write)
