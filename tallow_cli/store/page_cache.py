"""Large files pass through the page cache without staying there.

A transfer reads or writes each byte once. Left alone, the kernel keeps all of them, at the cost of what other
programs had cached, and of finding new memory for every page: on a virtual machine whose host takes idle memory
back, 1.8 CPU seconds a gigabyte to read and 1 to 2.3 to write, where reusing a few warm pages takes 0.2 and
0.3 (docs/adr/0006). Everything here is a hint: where a system lacks it, files are read and written as usual.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

# A smaller file stays cached: somebody will probably look at it soon, and it displaces little.
LARGE_FILE_BYTES: Final = 64 * 1024 * 1024

# linux/fs.h, from Linux 6.14 on: pages that this read brings in are dropped after it, those that were there stay.
_RWF_DONTCACHE: Final = 0x80


class UncachedReader:
    """`pread` that leaves in the page cache what was there, and nothing else."""

    def __init__(self) -> None:
        self._flags = _RWF_DONTCACHE if hasattr(os, "RWF_HIPRI") else 0  # Linux's preadv2

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Raises OSError."""
        if self._flags:
            buffer = bytearray(size)
            count = self._preadv(fd, buffer, offset)
            if count is not None:
                return bytes(memoryview(buffer)[:count])
        return pread(fd, size, offset)

    def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
        """How many bytes were put to the front of `buffer`. Raises OSError."""
        if self._flags:
            count = self._preadv(fd, buffer, offset)
            if count is not None:
                return count
        return pread_into(fd, buffer, offset)

    def _preadv(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int | None:
        try:
            return os.preadv(fd, (buffer,), offset, self._flags)
        except OSError:
            # EOPNOTSUPP from this kernel or file system; any other error will come again.
            self._flags = 0
            return None


def pread(fd: int, size: int, offset: int) -> bytes:
    """os.pread, or the plain way where there is none (Windows). Raises OSError."""
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, size)


def pread_into(fd: int, buffer: bytearray | memoryview, offset: int) -> int:
    """The same into memory that is there: for data that is only looked at, 0.4 CPU seconds a gigabyte less. Raises
    OSError."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, (buffer,), offset)
    data = pread(fd, len(buffer), offset)
    buffer[: len(data)] = data
    return len(data)


def write_behind(fd: int) -> bool:
    """Begin to write what is dirty, and let go of what is written. False where the system has no such hint."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with contextlib.suppress(OSError):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return True
