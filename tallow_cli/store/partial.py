"""One file on its way in: a hidden temporary beside its final name, written at any offset, hashed as it
fills.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

from blake3 import blake3

from tallow_cli.offer.names import SafePath
from tallow_cli.ranges import RangeSet
from tallow_cli.store import unfinished
from tallow_cli.store.filesystem import NOT_SUPPORTED, Data
from tallow_cli.store.page_cache import LARGE_FILE_BYTES
from tallow_cli.store.receive_root import ReceiveRoot, Standing, temporary_name
from tallow_cli.store.sparse import SparseLayout

ALLOCATE_FROM: Final = 256 * 1024  # below, reserving costs a call and saves nothing
# Without the hint the kernel gathers for up to 30 s, and the fsync at the end waits for all of it: 384 MiB at
# 150 MB/s left 0.15 s of it, with the hint 0.005 s.
WRITEBACK_BYTES: Final = 8 * 1024 * 1024
REREAD_BYTES: Final = 1024 * 1024


class PartialFile:
    """Bytes in, digest out. All methods raise OSError; `size` is None for a stream of unknown length.

    Offsets and sizes count data: what a file has of holes is neither sent nor written, nor in the digest. That covers
    what was written, from memory where it came in order, read back where it did not.
    """

    __slots__ = (
        "_digest",
        "_dirty",
        "_fd",
        "_hashed",
        "_hasher",
        "_identity",
        "_later",
        "_layout",
        "_root",
        "path",
        "size",
        "temporary",
        "written",
    )

    def __init__(
        self, root: ReceiveRoot, path: SafePath, size: int | None, layout: SparseLayout | None = None
    ) -> None:
        """`layout`: where the data of a file with holes lies."""
        self.path = path
        self.size = size
        self.temporary: str | None = None  # once it is on the disk
        self.written = 0  # bytes
        self._root = root
        self._layout = layout
        self._dirty = 0  # written since the kernel was last told to begin
        self._fd = -1
        self._identity = (0, 0)
        self._hasher: blake3 | None = None  # 2 KiB: not kept for a file that is whole
        self._digest: bytes | None = None
        self._hashed = 0  # the prefix that is in the hash
        self._later: RangeSet | None = None  # written beyond the prefix

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there; for a stream, whether there is no hole."""
        return not self._later and (self.size is None or self.written == self.size)

    def held(self) -> RangeSet:
        """The parts that were written."""
        if self._digest is not None:
            return RangeSet([(0, self.written)])
        return RangeSet([(0, self._hashed), *(self._later or ())])

    def create(self) -> None:
        """Make the temporary, with its blocks reserved."""
        filesystem = self._root.filesystem
        name = temporary_name(self._root.token)
        parent = self._root.parent(self.path)
        unfinished.note(self._absolute(name))
        try:
            self._fd = filesystem.create(parent, name)
        except OSError:
            unfinished.forget(self._absolute(name))
            raise
        self.temporary = name
        self._identity = filesystem.identity(self._fd)
        if self._layout is not None:
            filesystem.set_length(self._fd, self._layout.length)
        elif self.size is not None and self.size >= ALLOCATE_FROM:
            filesystem.allocate(self._fd, self.size)

    def open(self) -> None:
        """Have a descriptor: make the temporary, or open it again and see that it is the same file."""
        if self._fd >= 0:
            return
        if self.temporary is None:
            self.create()
            return
        filesystem = self._root.filesystem
        fd = filesystem.reopen(self._root.parent(self.path), self.temporary)
        if filesystem.identity(fd) != self._identity:
            filesystem.close(fd)
            raise OSError(errno.ESTALE, "another file took the place of the unfinished one")
        self._fd = fd

    def write(self, offset: int, data: memoryview) -> None:
        """Raises ValueError for a byte that was there already."""
        if self._fd < 0:
            self.open()
        size = len(data)
        if offset != self._hashed or self._later or self._digest is not None:
            self._refuse_overlap(offset, offset + size)
        if offset == self._hashed:
            self._write_all(offset, data)
            if size == self.size:  # a small file in one piece
                self._digest = blake3(data).digest()
            else:
                self._hash(data)
            if self._later:
                self._catch_up(self._later)
        else:
            self._write_all(offset, data)
            if self._later is None:
                self._later = RangeSet()
            self._later.add(offset, offset + size)
        self.written += size
        self._dirty += size
        if self._dirty >= WRITEBACK_BYTES:
            is_large = self.size is None or self.size >= LARGE_FILE_BYTES
            self._root.filesystem.start_writeback(self._fd, keep_cached=not is_large)
            self._dirty = 0
        if self._hasher is not None and self.size == self.written:
            self._digest, self._hasher = self._hasher.digest(), None

    def _refuse_overlap(self, start: int, stop: int) -> None:
        """A byte written twice could differ from the one that was hashed."""
        is_new = self._digest is None and start >= self._hashed
        if not is_new or (self._later and self._later.gaps(start, stop) != [(start, stop)]):
            raise ValueError(f"bytes {start} to {stop} of {self.path} overlap what was written")

    def _hash(self, data: Data) -> None:
        if self._hasher is None:
            self._hasher = blake3()
        self._hasher.update(data)
        self._hashed += len(data)

    def _write_all(self, offset: int, data: memoryview) -> None:
        if self._layout is None:
            self._write_at(offset, data)
            return
        done = 0
        for place, size in self._layout.places(offset, len(data)):
            self._write_at(place, data[done : done + size])
            done += size

    def _write_at(self, offset: int, data: memoryview) -> None:
        write = self._root.filesystem.write
        done = write(self._fd, offset, data)
        while done < len(data):  # a signal, a quota, a full disk: the next call says which
            count = write(self._fd, offset + done, data[done:])
            if count == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += count

    def _catch_up(self, later: RangeSet) -> None:
        """Hash what lies on the disk directly behind the prefix."""
        stop = later.covered_until(self._hashed)
        while self._hashed < stop:
            place, size = self._hashed, min(stop - self._hashed, REREAD_BYTES)
            if self._layout is not None:
                place, size = self._layout.places(place, size)[0]
            data = self._root.filesystem.read(self._fd, place, size)
            if not data:
                raise OSError(errno.ESTALE, "the unfinished file was cut short")
            self._hash(data)
        later.remove(0, stop)

    def digest(self) -> bytes:
        """Of all bytes. Raises ValueError while some are missing."""
        if not self.is_whole:
            raise ValueError(f"{self.path} is not whole: {self.written} of {self.size} bytes")
        if self._digest is not None:
            return self._digest
        return (self._hasher or blake3()).digest()

    def set_attributes(self, mode: int, mtime_ns: int) -> bool:
        """To be called after the last write, which would change the time again. False if they are not kept
        here.
        """
        self.open()
        if self.temporary is None:
            return False
        directory = self._root.parent(self.path)
        try:
            self._root.filesystem.set_file_attributes(directory, self.temporary, self._fd, mode, mtime_ns)
        except OSError as problem:
            if problem.errno not in NOT_SUPPORTED:
                raise
            return False
        return True

    def sync(self) -> None:
        self.open()
        self._root.filesystem.sync_file(self._fd)

    def close(self) -> None:
        """Release the descriptor; the temporary stays and can be opened again."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._root.filesystem.close(fd)

    def publish(self, path: SafePath, *, replaces: Standing | None = None) -> None:
        """Turn the temporary into `path`, a name in the same directory, as ReceiveRoot.publish does."""
        if self.temporary is None:
            raise ValueError(f"{path} has no temporary")
        self._root.publish(path, self.temporary, self._identity, replaces=replaces)
        unfinished.forget(self._absolute(self.temporary))
        self.temporary = None

    def discard(self) -> None:
        """Remove the temporary. Never raises for what cannot be removed."""
        with contextlib.suppress(OSError):
            self.close()
        if self.temporary is not None:
            with contextlib.suppress(OSError):
                self._root.filesystem.unlink(self._root.parent(self.path), self.temporary)
            unfinished.forget(self._absolute(self.temporary))
            self.temporary = None

    def _absolute(self, name: str) -> str:
        return os.sep.join((self._root.absolute_path, *self.path.parent, name))


def as_view(data: Data) -> memoryview:
    """A flat view of bytes, so that slices of it copy nothing."""
    return data if isinstance(data, memoryview) else memoryview(data)
