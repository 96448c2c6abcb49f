"""Where the bytes of a transfer come from: the `Source` protocol, which every kind of source keeps.

files and directories   store.source.FileSource, below
standard input          store.stream_source.StreamSource
--text, benchmarks      store.memory_source.TextSource, RandomSource
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

from blake3 import blake3

from tallow_cli.core.manifest import Manifest
from tallow_cli.errors import SourceChanged, UsageError
from tallow_cli.store.failures import displayable, source_error
from tallow_cli.store.page_cache import LARGE_FILE_BYTES, UncachedReader, pread
from tallow_cli.store.scan import LocalFile, scan

EMPTY_DIGEST: Final = blake3(b"").digest()
CLOSE_WAIT_S: Final = 1.0
READ_AHEAD_FROM: Final = 1024 * 1024  # a smaller file is read in one or two calls anyway
_READ_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # do not wait on a pipe that took the file's place
)


@runtime_checkable
class Source(Protocol):
    """One transfer's payload, read once from front to back.

    Caller's duties: construct it (construction does the scan and may block), send `manifest`, then call
    `read` with increasing offsets, each where the last ended, from one thread at a time; send `digest(i)` for
    every file index below `files_read`; `close()` in the end, whatever happened. Nothing here touches the
    event loop: every method may block on the disk, so run them in a worker thread.
    """

    @property
    def manifest(self) -> Manifest:
        """What is offered. Sizes, modes and mtimes are frozen at construction."""

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about what was left out (special files, links that lead outside). Show them; nothing
        failed.
        """

    @property
    def files_read(self) -> int:
        """How many files, from the first, have been read to their end, so that their digests are known.

        Empty files count as soon as the ones before them are done (so it may be > 0 before the first read).
        For a stream it becomes 1 when `read` has returned b"".
        """

    def read(self, offset: int, size: int) -> bytes:
        """The next bytes of the stream: exactly `size`, fewer only where the stream ends, b"" at its end.

        A stream of unknown length blocks for at least one byte and then returns what is there, up to `size`.
        Raises SourceMissing, SourceUnreadable or SourceChanged: the file is not what the manifest promised.
        Raises ValueError if `offset` is not where the last read ended.
        """

    def digest(self, file_index: int) -> bytes:
        """The 32-byte BLAKE3 of a file of `manifest.file_spans`. Raises ValueError unless file_index <
        files_read.
        """

    def close(self) -> None:
        """Release descriptors. May be called twice, and from another thread to wake a blocked `read`, which
        then returns b"" without completing its file."""


class FileSource:
    """A Source of files and directories (see store.scan for what is taken and what is left out).

    One descriptor is open at a time. A file that is not what it was at the scan ends the transfer: another
    size or time, another inode, fewer or more bytes.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        """Scan. Raises SourceMissing, SourceUnreadable, LocalFileError, UsageError."""
        if not paths:
            raise UsageError("There is nothing to send. Name files or directories.")
        found = scan(paths)
        self._manifest = Manifest("files", tuple(found.entries))
        self._notices = tuple(found.notices)
        self._files = found.files
        self._digests: list[bytes] = []
        self._position = 0  # in the stream
        self._offset = 0  # in the file being read, number len(self._digests)
        self._hasher: blake3 | None = None
        self._fd = -1
        self._uncached = UncachedReader()
        self._reading = threading.Lock()
        self._closed = False
        self._pass_empty_files()

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def notices(self) -> tuple[str, ...]:
        return self._notices

    @property
    def files_read(self) -> int:
        return len(self._digests)

    def read(self, offset: int, size: int) -> bytes:
        if offset != self._position:
            raise ValueError(f"read at {offset}, but the last read ended at {self._position}")
        pieces: list[bytes] = []
        wanted = size
        with self._reading:
            while wanted > 0 and len(self._digests) < len(self._files) and not self._closed:
                piece = self._read_from_file(self._files[len(self._digests)], wanted)
                pieces.append(piece)
                wanted -= len(piece)
                self._pass_empty_files()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._position += len(data)
        return data

    def digest(self, file_index: int) -> bytes:
        if not 0 <= file_index < len(self._digests):
            raise ValueError(f"file {file_index} has not been read to its end")
        return self._digests[file_index]

    def close(self) -> None:
        self._closed = True
        # A descriptor closed under a read could be another file's by the time it is used. A disk that does
        # not answer keeps it.
        if self._reading.acquire(timeout=CLOSE_WAIT_S):
            self._close_file()
            self._reading.release()

    def _close_file(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _read_from_file(self, file: LocalFile, wanted: int) -> bytes:
        """The next bytes of one file, all of them from one call in the usual case."""
        shown = displayable(file.path)
        try:
            if self._fd < 0:
                self._fd = self._open(file)
            size = min(wanted, file.size - self._offset)
            if file.size >= LARGE_FILE_BYTES:
                data = self._uncached.pread(self._fd, size, self._offset)
            else:
                data = pread(self._fd, size, self._offset)
        except OSError as problem:
            raise source_error(problem, shown) from problem
        if not data:
            raise SourceChanged(shown, "it became shorter")
        if len(data) == file.size:
            self._end_file(file, blake3(data).digest())
            return data
        if self._hasher is None:
            self._hasher = blake3()
        self._hasher.update(data)
        self._offset += len(data)
        if self._offset == file.size:
            self._end_file(file, self._hasher.digest())
        return data

    def _open(self, file: LocalFile) -> int:
        fd = os.open(file.path, _READ_FLAGS)
        try:
            _check_unchanged(fd, file)
        except BaseException:
            os.close(fd)
            raise
        if file.size >= READ_AHEAD_FROM and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return fd

    def _end_file(self, file: LocalFile, digest: bytes) -> None:
        """The last promised byte was read: it must also be the last there is, and nothing rewritten
        meanwhile.
        """
        try:
            _check_unchanged(self._fd, file)
        finally:
            self._close_file()
        self._digests.append(digest)
        self._hasher = None
        self._offset = 0

    def _pass_empty_files(self) -> None:
        while len(self._digests) < len(self._files) and self._files[len(self._digests)].size == 0:
            self._digests.append(EMPTY_DIGEST)


def _check_unchanged(fd: int, file: LocalFile) -> None:
    """Raises SourceChanged, or OSError."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) != file.identity:
        raise SourceChanged(displayable(file.path), "another file took its place")
    if status.st_size != file.size:
        how = "longer" if status.st_size > file.size else "shorter"
        raise SourceChanged(displayable(file.path), f"it became {how}")
    if status.st_mtime_ns != file.mtime_ns:
        raise SourceChanged(displayable(file.path), "it was written to")
