from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallow_cli.store.snapshots import EndlessFile, Snapshots


def pipe_of(data: bytes) -> int:
    read_end, write_end = os.pipe()
    os.write(write_end, data)
    os.close(write_end)
    return read_end


@pytest.mark.parametrize("in_memory", [0, 5, 1000])
def test_copies_lie_one_behind_the_other_wherever_they_are_kept(in_memory: int) -> None:
    snapshots = Snapshots(in_memory_bytes=in_memory)
    taken = []
    for data in (b"first", b"", b"second"):
        fd = pipe_of(data)
        taken.append(snapshots.take(fd))
        os.close(fd)
    assert [snapshots.read(snapshot, 0, 100) for snapshot in taken] == [b"first", b"", b"second"]
    assert snapshots.read(taken[2], 2, 3) == b"con"
    assert snapshots.read(taken[0], 4, 100) == b"t"
    snapshots.close()


def test_what_does_not_end_is_given_up_and_leaves_nothing_behind() -> None:
    snapshots = Snapshots(most_bytes=10)
    with pytest.raises(EndlessFile), open("/dev/zero", "rb", buffering=0) as zero:
        snapshots.take(zero.fileno())
    fd = pipe_of(b"after")
    assert snapshots.read(snapshots.take(fd), 0, 10) == b"after"
    os.close(fd)
    snapshots.close()


def test_what_would_have_us_wait_is_given_up() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    snapshots = Snapshots()
    with pytest.raises(EndlessFile):
        snapshots.take(read_end)
    os.close(read_end)
    os.close(write_end)
    snapshots.close()


def test_a_failing_read_is_told(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    snapshots = Snapshots()
    with pytest.raises(IsADirectoryError):
        snapshots.take(fd)
    os.close(fd)
    snapshots.close()
