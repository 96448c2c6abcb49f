"""Reading and writing large files without keeping them in memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tallow_cli.store import page_cache
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.page_cache import UncachedReader, write_behind


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(bytes(range(256)) * 64)
    return path


def test_uncached_reads_give_the_same_bytes(content: Path) -> None:
    fd = os.open(content, os.O_RDONLY)
    reader = UncachedReader()
    assert reader.pread(fd, 300, 100) == content.read_bytes()[100:400]
    assert reader.pread(fd, 300, 16_384 - 10) == content.read_bytes()[-10:]
    assert reader.pread(fd, 300, 20_000) == b""
    os.close(fd)


@pytest.mark.parametrize("uncached", [True, False])
@pytest.mark.parametrize("vectored", [True, False])
def test_what_is_only_looked_at_is_read_into_memory_that_is_there(
    content: Path, monkeypatch: pytest.MonkeyPatch, uncached: bool, vectored: bool
) -> None:
    if not vectored:  # as on macOS and Windows
        monkeypatch.delattr(os, "preadv", raising=False)
        monkeypatch.delattr(os, "RWF_HIPRI", raising=False)
    read_into = UncachedReader().pread_into if uncached else page_cache.pread_into
    fd = os.open(content, os.O_RDONLY)
    buffer = bytearray(300)
    assert read_into(fd, buffer, 100) == 300
    assert buffer == content.read_bytes()[100:400]
    assert read_into(fd, buffer, 16_384 - 10) == 10
    assert buffer[:10] == content.read_bytes()[-10:]
    assert read_into(fd, memoryview(buffer)[:5], 0) == 5
    os.close(fd)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_uncached_reads_is_read_as_usual_from_then_on(
    content: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    calls = []

    def refuse(*arguments: object) -> int:
        calls.append(arguments)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "preadv", refuse)
    fd = os.open(content, os.O_RDONLY)
    reader = UncachedReader()
    for _ in range(3):
        assert reader.pread(fd, 256, 0) == bytes(range(256))
    assert len(calls) <= 1
    buffer = bytearray(256)
    monkeypatch.undo()
    assert reader.pread_into(fd, buffer, 0) == 256
    assert buffer == bytes(range(256))
    os.close(fd)


def test_a_real_read_error_is_still_one() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        UncachedReader().pread(-1, 10, 0)


def test_a_large_file_is_read_whole_and_its_digest_is_right(content: Path) -> None:
    plain = FileSource([content])
    expected = plain.read_at(0, 20_000)
    uncached = FileSource([content], large_file_bytes=1)
    assert uncached.read_at(0, 1_000) + uncached.read_at(1_000, 20_000) == expected == content.read_bytes()
    assert uncached.digest(0) == plain.digest(0)


def test_writing_behind_is_a_hint(content: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content.read_bytes()
    fd = os.open(content, os.O_RDWR)
    write_behind(fd)
    write_behind(-1)
    os.close(fd)
    assert content.read_bytes() == before
    monkeypatch.delattr(page_cache.os, "posix_fadvise", raising=False)
    assert not write_behind(0)
