"""Keeping a journal: lags behind the data, survives a disk that takes nothing, is synced behind what it names."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallow_cli.offer.names import check_manifest_names
from tallow_cli.ranges import RangeSet
from tallow_cli.store import journal
from tallow_cli.store.filesystem import Data, Filesystem
from tallow_cli.store.journaling import SYNC_AFTER_S, Journal
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.partial import PartialFile
from tallow_cli.store.receive_root import ReceiveRoot
from tests.support.disk import FailingFilesystem, ShortWriteFilesystem, file_entry, files

NOTE_BYTES = ReceiveLimits().note_bytes
OFFER = files(file_entry("a", 100 * NOTE_BYTES), file_entry("b", 3))


class Writing:
    """A journal of a root, with the partial of a file."""

    def __init__(self, target: Path, filesystem: Filesystem, limits: ReceiveLimits | None = None) -> None:
        self.now = 0.0
        self.target = target
        self.root = ReceiveRoot(target, filesystem)
        self.later: list[Callable[[], None]] = []
        self.journal = Journal(
            self.root, clock=lambda: self.now, in_background=self.later.append, limits=limits
        )
        self.paths = check_manifest_names(OFFER)

    def open(self, index: int) -> PartialFile:
        entry = OFFER.entries[index]
        partial = PartialFile(self.root, self.paths[index], entry.size)
        partial.open()
        partial.number = self.journal.opened(partial, entry)
        return partial

    def read(self) -> journal.Contents:
        reader = journal.JournalReader()
        reader.feed_untrusted(next(self.target.glob(".tallow-*.journal")).read_bytes())
        return reader.contents


@pytest.fixture
def disk() -> FailingFilesystem:
    return FailingFilesystem(errno.ENOSPC)


@pytest.fixture
def writing(tmp_path: Path, disk: FailingFilesystem) -> Iterator[Writing]:
    writing = Writing(tmp_path, disk)
    yield writing
    disk.operations = ()
    writing.journal.close()
    writing.root.close()


def test_it_is_written_a_mebibyte_behind_at_most(writing: Writing) -> None:
    partial = writing.open(0)
    writing.journal.wrote(0, 0, NOTE_BYTES - 1)
    assert list(writing.target.glob("*.journal")) == []
    writing.journal.wrote(0, NOTE_BYTES - 1, NOTE_BYTES)
    file = writing.read().files[0]
    assert (file.opened.device, file.opened.inode) == partial.identity
    assert file.ranges() == RangeSet([(0, NOTE_BYTES)])
    writing.journal.wrote(0, 5 * NOTE_BYTES, 6 * NOTE_BYTES)
    assert writing.read().files[0].ranges() == RangeSet([(0, NOTE_BYTES), (5 * NOTE_BYTES, 6 * NOTE_BYTES)])
    partial.discard()


def test_what_never_came_into_it_need_not_be_taken_out(writing: Writing) -> None:
    partial, other = writing.open(0), writing.open(1)
    writing.journal.wrote(1, 0, 3)
    partial.discard()
    writing.journal.dropped(0)
    writing.journal.flush()
    assert [file.opened.path for file in writing.read().files.values()] == [b"b"]
    other.discard()
    writing.journal.dropped(1)
    writing.journal.flush()
    assert writing.read().files == {}


def test_a_full_disk_costs_only_what_could_have_been_resumed(
    writing: Writing, disk: FailingFilesystem
) -> None:
    partial = writing.open(0)
    writing.journal.wrote(0, 0, NOTE_BYTES)
    disk.operations = ("write",)
    writing.journal.wrote(0, NOTE_BYTES, 2 * NOTE_BYTES)
    assert writing.read().files[0].ranges().total == NOTE_BYTES
    disk.operations = ()
    writing.journal.wrote(0, 2 * NOTE_BYTES, 3 * NOTE_BYTES)
    assert writing.read().files[0].ranges().total == 3 * NOTE_BYTES
    partial.discard()


def test_a_record_that_was_torn_by_a_full_disk_is_written_again(tmp_path: Path) -> None:
    class Full(ShortWriteFilesystem):
        room = 1 << 20

        def write(self, fd: int, offset: int, data: Data) -> int:
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done = super().write(fd, offset, data[: self.room])
            self.room -= done
            return done

    disk = Full(7)
    writing = Writing(tmp_path, disk)
    partial = writing.open(0)
    disk.room = 30
    writing.journal.flush()
    assert writing.read().files == {}
    disk.room = 1 << 20
    writing.journal.wrote(0, 0, NOTE_BYTES)
    assert writing.read().files[0].ranges().total == NOTE_BYTES
    partial.discard()
    writing.journal.remove()
    writing.root.close()
    assert list(tmp_path.iterdir()) == []


def test_it_ends_where_it_would_be_too_long(tmp_path: Path, disk: FailingFilesystem) -> None:
    writing = Writing(tmp_path, disk, ReceiveLimits(journal_bytes=150))
    partial = writing.open(0)
    for number in range(20):
        writing.journal.wrote(0, number * NOTE_BYTES, (number + 1) * NOTE_BYTES)
    assert next(writing.target.glob(".tallow-*.journal")).stat().st_size <= 150
    assert 0 < writing.read().files[0].ranges().total < 20 * NOTE_BYTES
    partial.discard()


def test_files_are_synced_before_the_journal_when_it_is_time(tmp_path: Path) -> None:
    class Noting(FailingFilesystem):
        def sync_data(self, fd: int) -> None:
            synced.append(os.fstat(fd).st_ino)

    synced: list[int] = []
    writing = Writing(tmp_path, Noting(errno.EIO))
    partial = writing.open(0)
    writing.journal.wrote(0, 0, NOTE_BYTES)
    writing.journal.sync_due(lambda: [partial])
    assert writing.later == []
    writing.now += SYNC_AFTER_S
    writing.journal.sync_due(lambda: [partial])
    writing.journal.wrote(0, NOTE_BYTES, 2 * NOTE_BYTES)
    writing.now += SYNC_AFTER_S
    writing.journal.sync_due(lambda: [partial])
    (sync,) = writing.later  # one at a time, however slow the disk is
    sync()
    assert synced == [partial.identity[1], next(tmp_path.glob("*.journal")).stat().st_ino]
    partial.discard()
    writing.journal.close()
    writing.root.close()
