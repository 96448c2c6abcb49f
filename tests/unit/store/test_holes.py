from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tallow_cli.store.holes import LEAST_HOLE_BYTES, find_holes, looks_sparse

MiB = 1024 * 1024


def sparse(path: Path, size: int, *places: int) -> int:
    with path.open("wb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place)
            file.write(b"data")
    return os.open(path, os.O_RDONLY)


def test_the_holes_of_a_file_are_found(tmp_path: Path) -> None:
    fd = sparse(tmp_path / "s", 10 * MiB, 0, 5 * MiB)
    holes = find_holes(fd, 10 * MiB, 100)
    status = os.fstat(fd)
    os.close(fd)
    if not holes:
        pytest.skip("this file system has no holes")
    assert looks_sparse(status)
    assert [(start % 4096, end % 4096) for start, end in holes] == [(0, 0), (0, 0)]
    assert holes[0][1] == 5 * MiB
    assert holes[1][1] == 10 * MiB
    data = (tmp_path / "s").read_bytes()
    for start, end in holes:
        assert not any(data[start:end])


def test_where_there_are_too_many_the_largest_are_taken(tmp_path: Path) -> None:
    fd = sparse(tmp_path / "s", 10 * MiB, 1 * MiB, 2 * MiB, 8 * MiB)
    found = find_holes(fd, 10 * MiB, 2)
    none = find_holes(fd, 10 * MiB, 0)
    os.close(fd)
    assert none == ()
    if found:
        assert [end - start > 1.9 * MiB for start, end in found] == [True, True]
        assert found == tuple(sorted(found))


def test_a_file_of_nothing_but_data_has_none(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * MiB)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    assert find_holes(fd, MiB, 10) == ()
    os.close(fd)


def test_what_the_system_cannot_tell_is_taken_for_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = sparse(tmp_path / "s", 10 * MiB)

    def unable(*_: object) -> int:
        raise OSError(errno.EINVAL, "no such thing")

    with monkeypatch.context() as patched:
        patched.setattr(os, "lseek", unable)
        assert find_holes(fd, 10 * MiB, 10) == ()
    monkeypatch.delattr(os, "SEEK_DATA")
    assert find_holes(fd, 10 * MiB, 10) == ()
    os.close(fd)


def test_a_small_or_full_file_does_not_look_sparse(tmp_path: Path) -> None:
    for size in (0, 1, LEAST_HOLE_BYTES):
        (tmp_path / "f").write_bytes(b"x" * size)
        assert not looks_sparse((tmp_path / "f").stat())
