"""One unfinished file: what is claimed of it, proven, copied, and hashed in bounded steps."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.offer.manifest import Entry, EntryKind, pack_holes
from tallow_cli.offer.names import SafePath, check_manifest_names
from tallow_cli.ranges import RangeSet
from tallow_cli.store.filesystem import DirFdFilesystem
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.partial import PartialFile
from tallow_cli.store.receive_root import ReceiveRoot
from tallow_cli.store.sparse import SparseLayout
from tests.support.disk import file_entry, files

DATA = random.Random(3).randbytes(100_000)


class CountingFilesystem(DirFdFilesystem):
    read_bytes = 0
    clones = False

    def read(self, fd: int, offset: int, size: int) -> bytes:
        data = super().read(fd, offset, size)
        self.read_bytes += len(data)
        return data

    def clone(self, source: int, target: int) -> bool:
        if not self.clones:
            return False
        size = os.fstat(source).st_size
        os.pwrite(target, os.pread(source, size, 0), 0)
        return True


@pytest.fixture
def filesystem() -> CountingFilesystem:
    return CountingFilesystem()


@pytest.fixture
def root(tmp_path: Path, filesystem: CountingFilesystem) -> Iterator[ReceiveRoot]:
    root = ReceiveRoot(tmp_path, filesystem)
    yield root
    root.close()


@pytest.fixture
def path() -> SafePath:
    return check_manifest_names(files(file_entry("a", 1)))[0]


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


def standing(root: ReceiveRoot, path: SafePath, data: bytes) -> PartialFile:
    """A file that builds on one of these contents."""
    Path(root.path, "a").write_bytes(data)
    found = root.standing(path)
    assert found is not None
    partial = PartialFile(root, path, len(DATA))
    partial.build_on(found, RangeSet([(0, min(len(data), len(DATA)))]), is_ours=False)
    return partial


def prove(partial: PartialFile, step: int = 30_000) -> None:
    for first, last in list(partial.claims()):
        for start in range(first, last, step):
            end = min(start + step, last)
            if partial.prove(start, end) == digest(DATA[start:end]):
                partial.proved(start, end)
            else:
                partial.refuted(start, end)


def fill(partial: PartialFile) -> None:
    for start, end in partial.held().gaps(0, len(DATA)):
        partial.write(start, memoryview(DATA)[start:end])


@pytest.mark.parametrize("clones", [False, True])
@pytest.mark.parametrize("wrong", [[], [0], [50_000], [99_999], [5, 50_000]])
@pytest.mark.parametrize("length", [60_000, 100_000, 130_000])
def test_what_stands_there_is_used_where_it_is_the_same_and_is_not_changed(
    root: ReceiveRoot,
    path: SafePath,
    filesystem: CountingFilesystem,
    clones: bool,
    wrong: list[int],
    length: int,
) -> None:
    filesystem.clones = clones
    old = bytearray((DATA + bytes(50_000))[:length])
    for place in wrong:
        if place < length:
            old[place] ^= 1
    partial = standing(root, path, bytes(old))
    prove(partial)
    fill(partial)
    assert partial.digest() == digest(DATA)
    assert Path(root.path, "a").read_bytes() == old
    keeps = bytes(old) == DATA
    assert partial.stands is keeps
    if not keeps:
        assert partial.temporary is not None
        assert Path(root.path, partial.temporary).read_bytes() == DATA
        bad = {place // 30_000 for place in wrong if place < length}
        copied = sum(end - start for start, end in partial.take_copied())
        assert (copied > 0) is (len(bad) * 30_000 < min(length, len(DATA)))
    partial.discard()
    assert os.listdir(root.path) == ["a"]


def test_what_is_proven_in_order_is_read_once(
    root: ReceiveRoot, path: SafePath, filesystem: CountingFilesystem
) -> None:
    partial = standing(root, path, DATA)
    prove(partial)
    assert partial.digest() == digest(DATA)
    assert filesystem.read_bytes == len(DATA)
    partial.discard()


def test_what_changes_between_proof_and_copy_is_noticed(root: ReceiveRoot, path: SafePath) -> None:
    partial = standing(root, path, DATA[:90_000])
    prove(partial)
    with Path(root.path, "a").open("r+b") as file:
        file.write(b"?")
    fill(partial)
    assert partial.digest() != digest(DATA)
    partial.discard()


def test_a_standing_file_that_is_exchanged_proves_nothing(root: ReceiveRoot, path: SafePath) -> None:
    partial = standing(root, path, DATA)
    Path(root.path, "a").rename(Path(root.path, "b"))
    Path(root.path, "a").write_bytes(DATA)
    assert partial.prove(0, 10) == b""
    partial.discard()


def test_what_is_not_claimed_is_neither_proven_nor_written_over(root: ReceiveRoot, path: SafePath) -> None:
    partial = standing(root, path, DATA[:50_000])
    for call in (partial.prove, partial.proved, partial.refuted):
        with pytest.raises(ValueError, match="not claimed"):
            call(40_000, 60_000)
    with pytest.raises(ValueError, match="overlap"):
        partial.write(49_999, memoryview(b"xx"))
    partial.discard()


def test_what_is_out_of_order_is_hashed_in_steps(root: ReceiveRoot, path: SafePath) -> None:
    limits = ReceiveLimits(reread_bytes=1_000, catch_up_bytes=10_000)
    partial = PartialFile(root, path, len(DATA), limits=limits)
    partial.write(20_000, memoryview(DATA)[20_000:])
    partial.write(0, memoryview(DATA)[:20_000])
    assert partial.is_whole
    steps = 1
    while not partial.catch_up(10_000):
        steps += 1
    assert steps == 4, "twice as much as was written with the write, and the rest in steps"
    assert partial.digest() == digest(DATA)
    partial.discard()


class NoLengthening(DirFdFilesystem):
    """Where ftruncate(2) makes no file longer (FAT, some network mounts)."""

    def __init__(self, code: int) -> None:
        self.code = code

    def set_length(self, fd: int, size: int) -> None:
        if size > os.fstat(fd).st_size:
            raise OSError(self.code, os.strerror(self.code))
        super().set_length(fd, size)


@pytest.mark.parametrize("holes", [((0, 4096), (9000, 20000)), ((100, 300),), ((0, 20000),)])
@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_with_holes_gets_its_length_where_no_file_can_be_lengthened(
    tmp_path: Path, path: SafePath, code: int, holes: tuple[tuple[int, int], ...]
) -> None:
    layout = SparseLayout(Entry("s", EntryKind.FILE, 20000, packed_holes=pack_holes(holes)))
    size = 20000 - sum(end - start for start, end in holes)
    root = ReceiveRoot(str(tmp_path), NoLengthening(code))
    partial = PartialFile(root, path, size, layout)
    partial.open()
    if size:
        partial.write(0, memoryview(b"x" * size))
    content = bytearray(b"x" * 20000)
    for start, end in holes:
        content[start:end] = bytes(end - start)
    assert Path(partial.absolute_path).read_bytes() == content
    partial.discard()
    root.close()


def test_a_file_with_holes_left_short_is_lengthened_without_harm_to_what_it_has(
    tmp_path: Path, path: SafePath
) -> None:
    layout = SparseLayout(Entry("s", EntryKind.FILE, 100, packed_holes=pack_holes(((10, 20), (60, 100)))))
    root = ReceiveRoot(str(tmp_path), NoLengthening(errno.EPERM))
    for length in (50, 100):
        left = tmp_path / f"left{length}"
        left.write_bytes(b"d" * 10 + bytes(10) + b"d" * (length - 20))
        left.chmod(0o600)
        partial = PartialFile(root, path, 50, layout)
        partial.adopt(left.name, RangeSet([(0, 10)]))
        partial.open()
        assert left.stat().st_size == 100
        assert left.read_bytes()[:50] == b"d" * 10 + bytes(10) + b"d" * 30
        assert left.read_bytes()[99:] == (b"d" if length == 100 else b"\0")
        partial.discard()
    root.close()


def test_a_full_disk_is_not_taken_for_one_where_no_file_can_be_lengthened(
    tmp_path: Path, path: SafePath
) -> None:
    layout = SparseLayout(Entry("s", EntryKind.FILE, 100, packed_holes=pack_holes(((10, 20),))))
    root = ReceiveRoot(str(tmp_path), NoLengthening(errno.ENOSPC))
    partial = PartialFile(root, path, 90, layout)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        partial.open()
    partial.discard()
    root.close()
