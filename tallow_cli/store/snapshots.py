"""Copies of files whose size nobody knows before they are read: /proc, /sys, documents on a mount of a cloud.

What such a file gives is read to its end when it is offered, and sent as it was then: its size is the one it had in the
copy, whatever it claims.
"""

from __future__ import annotations

import io
import os
import tempfile
from typing import IO, Final, NamedTuple

IN_MEMORY_BYTES: Final = 4 * 1024 * 1024  # of all copies together; more goes to a temporary file
MOST_BYTES: Final = 1024 * 1024 * 1024  # of one file: what claims to be empty and does not end is no file
_READ_BYTES: Final = 256 * 1024


class EndlessFile(Exception):
    """It gave more than MOST_BYTES, or would have us wait for more."""


class Snapshot(NamedTuple):
    """Where a copy lies among the others."""

    offset: int
    size: int


class Snapshots:
    """All copies of one offer, one behind the other. For one thread; close it."""

    def __init__(self, *, in_memory_bytes: int = IN_MEMORY_BYTES, most_bytes: int = MOST_BYTES) -> None:
        """`in_memory_bytes`: of all copies together; `most_bytes`: of one."""
        self._in_memory_bytes = in_memory_bytes
        self._most_bytes = most_bytes
        self._file: IO[bytes] = io.BytesIO()
        self._on_disk = False
        self._end = 0

    def take(self, fd: int) -> Snapshot:
        """Read `fd` to its end. Raises EndlessFile, OSError."""
        start = self._end
        try:
            while piece := os.read(fd, _READ_BYTES):
                if self._end + len(piece) - start > self._most_bytes:
                    raise EndlessFile
                self._append(piece)
        except BlockingIOError:
            self._end = start
            raise EndlessFile from None
        except BaseException:
            self._end = start
            raise
        return Snapshot(start, self._end - start)

    def _append(self, piece: bytes) -> None:
        if not self._on_disk and self._end + len(piece) > self._in_memory_bytes:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
            self._file.seek(0)
            file.write(self._file.read(self._end))
            self._file, self._on_disk = file, True
        self._file.seek(self._end)
        self._file.write(piece)
        self._end += len(piece)

    def read(self, snapshot: Snapshot, offset: int, size: int) -> bytes:
        """Bytes of a copy. Raises OSError."""
        self._file.seek(snapshot.offset + offset)
        return self._file.read(min(size, snapshot.size - offset))

    def close(self) -> None:
        self._file.close()
