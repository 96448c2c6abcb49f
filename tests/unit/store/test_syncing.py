"""Few files are synced one by one, many with one call, and many where there is no such call on threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallow_cli.offer.manifest import Manifest
from tallow_cli.offer.names import check_manifest_names
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.filesystem import Directory, DirFdFilesystem
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
