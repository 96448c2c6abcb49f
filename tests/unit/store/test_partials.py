"""The unfinished files of one receive: few are open, and what there is of others is made when it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tallow_cli.errors import DiskFull
from tallow_cli.offer.names import check_manifest_names
from tallow_cli.ranges import RangeSet
from tallow_cli.store.filesystem import DirFdFilesystem
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.partials import Partials
from tallow_cli.store.receive_root import ReceiveRoot
from tallow_cli.store.resuming import Found
from tests.support.disk import FailingFilesystem, file_entry, files, temporaries

OFFER = files(*(file_entry(name, 2_000_000) for name in "abcdef"))
SPANS = OFFER.file_spans


@pytest.fixture
def root(tmp_path: Path) -> Iterator[ReceiveRoot]:
    root = ReceiveRoot(tmp_path, DirFdFilesystem())
    yield root
    root.close()


def made(
    root: ReceiveRoot, found: dict[int, Found] | None = None, limits: ReceiveLimits | None = None
) -> Partials:
    return Partials(root, OFFER, check_manifest_names(OFFER), found or {}, None, limits)


def test_the_one_used_longest_ago_is_closed(root: ReceiveRoot) -> None:
    partials = made(root, limits=ReceiveLimits(open_files=3))
    for index in (0, 1, 2, 0, 3):
        partials.write(SPANS[index], 0 if index not in partials else 1, memoryview(b"x"))
    assert [partial.path.name for partial in partials.open_files()] == ["c", "a", "d"]
    partials.write(SPANS[1], 1, memoryview(b"y"))
    partials.drop_all()
    assert temporaries(Path(root.path)) == []


def test_what_was_found_is_made_when_it_is_needed_and_removed_with_the_rest(root: ReceiveRoot) -> None:
    name = f".tallow-{root.token}-0011223344556677.part"
    Path(root.path, name).write_bytes(b"found")
    Path(root.path, name).chmod(0o600)
    partials = made(root, {4: Found(name, RangeSet([(0, 5)]))})
    partials.write(SPANS[2], 0, memoryview(b"x"))
    assert 4 not in partials
    assert [index for index, _ in partials.known()] == [2, 4]
    assert partials.get(SPANS[4]).claims() == RangeSet([(0, 5)])
    partials.drop_all()
    assert list(partials.known()) == []
    assert temporaries(Path(root.path)) == []


def test_a_full_disk_says_how_much_is_missing(root: ReceiveRoot) -> None:
    partials = made(root)
    partials.write(SPANS[0], 0, memoryview(b"x" * 500_000))
    failure = partials.failure(SPANS[0], OSError(28, "full"))
    assert isinstance(failure, DiskFull)
    assert failure.needed == 1_500_000
    partials.drop_all()


def test_a_file_for_which_there_was_no_room_is_gone_on_with_when_there_is(tmp_path: Path) -> None:
    disk = FailingFilesystem(28, "allocate")
    root = ReceiveRoot(tmp_path, disk)
    partials = made(root)
    for index in (0, 1):
        for _ in range(2):
            with pytest.raises(OSError, match="space") if not partials.open_files() else nullcontext():
                partials.use(SPANS[index], partials.get(SPANS[index]))
        disk.operations = ()
    assert len(partials.open_files()) == 2
    partials.drop_all()
    root.close()
