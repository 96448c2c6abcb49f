"""A file that is being sent, opened: its data without its holes, at any offset, and whether it is as it was.

Only what can be seen from its descriptor is judged here; what becomes of a file that changed is its source's to say.
"""

from __future__ import annotations

import errno
import os
import struct
from enum import Enum
from typing import Final, NamedTuple

from blake3 import blake3

from tallow_cli.errors import LocalFileError, SourceChanged
from tallow_cli.offer.manifest import Entry
from tallow_cli.store.failures import displayable, is_gone, source_error
from tallow_cli.store.page_cache import LARGE_FILE_BYTES, UncachedReader, pread, pread_into
from tallow_cli.store.scan import LocalFile
from tallow_cli.store.snapshots import Snapshots
from tallow_cli.store.source_tree import SourceTree
from tallow_cli.store.sparse import layout_of
from tallow_cli.transfer.messages import Why

READ_AHEAD_FROM: Final = 1024 * 1024  # a smaller file is read in one or two calls anyway

_PACKED: Final = struct.Struct("=QQq")  # a Look
_64_BITS: Final = 2**64 - 1
_NO_LOOK: Final = (0, 0, 0)

# This machine is short of something: no reason to give a file up.
_OUR_TROUBLE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Lost(Exception):
    """A file cannot be sent as it was offered."""

    def __init__(self, why: Why, error: LocalFileError) -> None:
        super().__init__(str(error))
        self.why = why
        self.error = error


class Look(NamedTuple):
    """What a file was, as far as it tells without being read. Times in ns, modulo 2**64."""

    mtime_ns: int
    ctime_ns: int  # set by the system alone; on Windows the time of its making, which tells nothing
    attributes: int  # of its mode, owners and links: what else changes its ctime


class Change(Enum):
    """What became of a file between two looks."""

    NONE = "none"
    WRITTEN = "written"
    SUSPECT = "suspect"  # renamed, or written to by somebody who then set its mtime back


class OpenedFile:
    """Open until `close`. `file` may be a copy among `snapshots`, which does not change."""

    def __init__(
        self,
        file: LocalFile,
        entry: Entry,
        tree: SourceTree,
        snapshots: Snapshots,
        look: Look | None = None,
        large_file_bytes: int = LARGE_FILE_BYTES,
    ) -> None:
        """`look` is the one that it shall be compared with; by default, the one at opening it. From
        `large_file_bytes` on it passes the page cache by.

        Raises Lost if it is not there or too short, SourceUnreadable if this machine is short of something.
        """
        self._file = file
        self._snapshots = snapshots
        self._layout = layout_of(entry)
        data_bytes = entry.data_bytes
        self._uncached = UncachedReader() if data_bytes >= large_file_bytes else None
        self._fd = -1
        # What it is compared with: its status at a look of this object's own, which is nearly always the only one.
        self.look: Look | os.stat_result | None = look
        self._now: os.stat_result | None = None  # the last look
        self.has_grown = False  # at the last look: there is more than was offered
        if file.snapshot is not None:
            return
        try:
            self._fd = tree.open_file(file.directory, file.name, file.identity)
            status = os.fstat(self._fd)
        except OSError as problem:
            raise self._lost(problem) from problem
        self._now = status
        if look is None:
            self.look = status
        if status.st_size < file.size:
            self.close()
            raise self.changed("it became shorter")
        if data_bytes >= READ_AHEAD_FROM and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of its data, which reaches so far: usually all, at least one. Raises Lost, SourceUnreadable."""
        if self._layout is not None:
            offset, size = self._layout.places(offset, size)[0]
        try:
            data = self._pread(size, offset)
        except OSError as problem:
            raise self._lost(problem) from problem
        if not data:
            raise self.changed("it became shorter")
        return data

    def read_into(self, offset: int, buffer: memoryview) -> memoryview:
        """`read` into `buffer`, whose front is returned."""
        size = len(buffer)
        if self._layout is not None:
            offset, size = self._layout.places(offset, size)[0]
        try:
            if self._file.snapshot is not None:
                data = self._snapshots.read(self._file.snapshot, offset, size)
                buffer[: len(data)] = data
                count = len(data)
            elif self._uncached is not None:
                count = self._uncached.pread_into(self._fd, buffer[:size], offset)
            else:
                count = pread_into(self._fd, buffer[:size], offset)
        except OSError as problem:
            raise self._lost(problem) from problem
        if not count:
            raise self.changed("it became shorter")
        return buffer[:count]

    def accept(self) -> None:
        """What it was at the last look is what it shall be compared with."""
        if self._now is not None:
            self.look = self._now

    def change(self) -> Change:
        """Look again. Raises Lost if it became shorter or cannot be looked at any more, and what `read` raises."""
        look = self.look
        if self._fd < 0 or look is None:
            return Change.NONE
        size = self._file.size
        try:
            status = self._now = os.fstat(self._fd)
            self.has_grown = status.st_size > size or bool(self._pread(1, size))
        except OSError as problem:
            raise self._lost(problem) from problem
        if status.st_size < size:
            raise self.changed("it became shorter")
        if isinstance(look, os.stat_result):
            if status.st_mtime_ns == look.st_mtime_ns and status.st_ctime_ns == look.st_ctime_ns:
                return Change.NONE
            look = Look(*_packable(look))
        now = Look(*_packable(status))
        if now.mtime_ns != look.mtime_ns:
            return Change.WRITTEN
        if now.ctime_ns != look.ctime_ns and now.attributes == look.attributes:
            return Change.SUSPECT
        return Change.NONE

    def changed(self, how: str) -> Lost:
        return Lost(Why.CHANGED, SourceChanged(displayable(self._file.path), how))

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _pread(self, size: int, offset: int) -> bytes:
        if self._file.snapshot is not None:
            return self._snapshots.read(self._file.snapshot, offset, size)
        if self._uncached is not None:
            return self._uncached.pread(self._fd, size, offset)
        return pread(self._fd, size, offset)

    def _lost(self, problem: OSError) -> Exception:
        shown = displayable(self._file.path)
        self.close()
        if problem.errno in _OUR_TROUBLE:
            return source_error(problem, shown)
        if problem.errno == errno.ESTALE:
            return self.changed("another file took its place")
        error = source_error(problem, shown)
        return Lost(Why.VANISHED if is_gone(problem) else Why.UNREADABLE, error)


def _packable(status: os.stat_result) -> tuple[int, int, int]:
    """A Look. The first six of a status are its mode, number, device, links and owners."""
    return status.st_mtime_ns & _64_BITS, status.st_ctime_ns & _64_BITS, hash(status[:6])


class Looks:
    """Looks at the files of an offer, by index: 24 bytes a file."""

    def __init__(self, files: int) -> None:
        self._packed = bytearray(files * _PACKED.size)

    def __getitem__(self, index: int) -> Look | None:
        """None if there was none."""
        look = _PACKED.unpack_from(self._packed, index * _PACKED.size)
        return None if look == _NO_LOOK else Look(*look)

    def keep(self, index: int, look: Look | os.stat_result | None) -> None:
        """A Look is taken for the one that is kept already."""
        if isinstance(look, os.stat_result):
            _PACKED.pack_into(self._packed, index * _PACKED.size, *_packable(look))


class Reread:
    """Hashing a file once more, to see whether it still has the `digest` it had."""

    def __init__(self, index: int, digest: bytes, data_bytes: int) -> None:
        self.index = index
        self._digest = digest
        self._left_bytes = data_bytes
        self._position = 0
        self._hasher = blake3()

    @property
    def is_over(self) -> bool:
        return self._left_bytes == 0

    def read_some(self, opened: OpenedFile, buffer: memoryview) -> int:
        """How many bytes were read. Raises what `OpenedFile.read` raises."""
        data = opened.read_into(self._position, buffer[: self._left_bytes])
        self._hasher.update(data)
        self._position += len(data)
        self._left_bytes -= len(data)
        return len(data)

    @property
    def is_same(self) -> bool:
        return self._hasher.digest() == self._digest
