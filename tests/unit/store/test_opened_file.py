"""store.opened_file: its data at any offset, and what tells that it is not as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.errors import SourceChanged, SourceMissing
from tallow_cli.offer.manifest import Entry, EntryKind
from tallow_cli.store.opened_file import Change, Look, Looks, Lost, OpenedFile, Reread
from tallow_cli.store.scan import LocalFile, scan
from tallow_cli.store.snapshots import Snapshots
from tallow_cli.store.source_tree import SourceTree
from tests.support.disk import open_descriptors

CONTENT = bytes(range(100))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def offered(path: Path) -> tuple[LocalFile, Entry, SourceTree, Snapshots]:
    tree, snapshots = SourceTree(), Snapshots()
    found = scan([path], tree=tree, snapshots=snapshots)
    return found.files[0], found.entries[0], tree, snapshots


def opened(path: Path, look: Look | None = None) -> OpenedFile:
    return OpenedFile(*offered(path), look)


def set_back(path: Path) -> None:
    """Its mtime, as if nobody had written to it."""
    status = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_it_is_read_at_any_offset(path: Path) -> None:
    file = opened(path)
    assert file.read(90, 10) + file.read(0, 5) == CONTENT[90:] + CONTENT[:5]
    assert file.read(95, 100) == CONTENT[95:]
    buffer = memoryview(bytearray(20))
    assert file.read_into(40, buffer) == CONTENT[40:60] == buffer
    assert file.read_into(95, buffer) == CONTENT[95:]
    file.close()
    file.close()


def test_holes_are_not_in_its_data(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with open(path, "wb") as out:
        out.write(b"a" * 4096)
        out.seek(1 << 20)
        out.write(b"b" * 4096)
    file, entry, tree, snapshots = offered(path)
    if not entry.holes:
        pytest.skip("this file system has no holes")
    sparse = OpenedFile(file, entry, tree, snapshots)
    assert entry.data_bytes == 8192
    assert sparse.read(4090, 100) == b"a" * 6
    assert sparse.read(4096, 5) == b"b" * 5
    assert sparse.read(8190, 2) == b"b" * 2
    assert sparse.read_into(4090, memoryview(bytearray(100))) == b"a" * 6
    sparse.close()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        (lambda path: None, Change.NONE),
        (lambda path: path.read_bytes(), Change.NONE),
        (lambda path: path.chmod(0o600), Change.NONE),
        (lambda path: os.link(path, path.with_name("other")), Change.NONE),
        (lambda path: path.unlink(), Change.NONE),
        (lambda path: os.utime(path, ns=(5, 5)), Change.WRITTEN),
        (set_back, Change.SUSPECT),
    ],
)
def test_what_became_of_it_is_told_without_reading_it(path: Path, what: object, change: Change) -> None:
    assert callable(what)
    file = opened(path)
    what(path)
    assert file.change() is change
    assert not file.has_grown
    file.accept()
    assert file.change() is Change.NONE
    file.close()


def test_a_look_outlives_the_descriptor(path: Path) -> None:
    file = opened(path)
    looks = Looks(1)
    looks.keep(0, file.look)
    file.close()
    set_back(path)
    again = opened(path, looks[0])
    assert again.change() is Change.SUSPECT
    again.close()


def test_one_that_grew_is_told_and_one_that_shrank_is_lost(path: Path) -> None:
    file = opened(path)
    path.write_bytes(CONTENT + b"more")
    file.change()
    assert file.has_grown
    path.write_bytes(CONTENT[:50])
    with pytest.raises(Lost) as lost:
        file.change()
    assert isinstance(lost.value.error, SourceChanged)
    with pytest.raises(Lost, match="became shorter"):
        file.read(50, 1)
    file.close()


def test_one_that_cannot_be_opened_leaves_no_descriptor(path: Path) -> None:
    before = open_descriptors()
    as_offered = offered(path)
    path.write_bytes(b"short")
    with pytest.raises(Lost, match="became shorter"):
        OpenedFile(*as_offered)
    path.unlink()
    with pytest.raises(Lost) as lost:
        OpenedFile(*as_offered)
    assert isinstance(lost.value.error, SourceMissing)
    assert open_descriptors() == before


def test_looks_are_kept_by_index_whatever_the_time(path: Path) -> None:
    looks = Looks(3)
    os.utime(path, ns=(-5, -5))
    looks.keep(1, path.stat())
    looks.keep(1, Look(1, 2, 3))
    looks.keep(2, None)
    look = looks[1]
    assert look is not None
    assert look.mtime_ns == 2**64 - 5
    assert opened(path, look).change() is Change.NONE
    assert (looks[0], looks[2]) == (None, None)


@pytest.mark.parametrize("same", [True, False])
def test_reading_it_again_tells_whether_it_is_the_same(path: Path, same: bool) -> None:
    file = opened(path)
    reread = Reread(0, blake3(CONTENT).digest(), len(CONTENT))
    if not same:
        path.write_bytes(CONTENT[::-1])
    while not reread.is_over:
        assert reread.read_some(file, memoryview(bytearray(30))) > 0
    assert reread.is_same is same
    file.close()


def test_an_empty_file_is_the_same_at_once() -> None:
    reread = Reread(0, blake3(b"").digest(), 0)
    assert reread.is_over
    assert reread.is_same


def test_a_copy_never_changes(tmp_path: Path) -> None:
    entry = Entry("x", EntryKind.FILE, 4, 0o644, 0)
    snapshots = Snapshots()
    (tmp_path / "x").write_bytes(b"copy")
    with open(tmp_path / "x", "rb") as content:
        snapshot = snapshots.take(content.fileno())
    file = OpenedFile(LocalFile(None, "x", 4, 0, (0, 0), snapshot), entry, SourceTree(), snapshots)
    assert file.read(1, 10) == b"opy"
    assert file.read_into(0, memoryview(bytearray(3))) == b"cop"
    assert file.change() is Change.NONE
    assert file.look is None
    file.accept()
    file.close()
    snapshots.close()
