"""One file on its way in: a hidden temporary beside its final name, written at any offset, hashed as it
fills.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final

from blake3 import blake3

from tallow_cli.errors import TargetChanged
from tallow_cli.offer.names import SafePath
from tallow_cli.ranges import RangeSet
from tallow_cli.store import unfinished
from tallow_cli.store.filesystem import NOT_SUPPORTED, Data
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.page_cache import LARGE_FILE_BYTES
from tallow_cli.store.receive_root import ReceiveRoot, Standing, temporary_name
from tallow_cli.store.sparse import SparseLayout, set_whole_length

ALLOCATE_FROM: Final = 256 * 1024  # below, reserving costs a call and saves nothing
# Without the hint the kernel gathers for up to 30 s, and the fsync at the end waits for all of it: 384 MiB at
# 150 MB/s left 0.15 s of it, with the hint 0.005 s.
WRITEBACK_BYTES: Final = 8 * 1024 * 1024


class PartialFile:
    """Bytes in, digest out. All methods raise OSError; `size` is None for a stream of unknown length.

    Offsets and sizes count data: what a file has of holes is neither sent nor written, nor in the digest. That covers
    what was written, from memory where it came in order, read back where it did not.

    Some of it may be there before anything is written: in a temporary that an earlier receive left (`adopt`), or in
    a file that stands under the final name (`build_on`), which is only read. Such ranges are claimed until each piece
    is `proved` or `refuted`. What is proven in the standing file is copied, and hashed as it is copied, once there is
    a temporary; where nothing else has to be written there never is one, and the file is kept as it stands.
    """

    __slots__ = (
        "_along",
        "_base",
        "_base_fd",
        "_claimed",
        "_copied",
        "_digest",
        "_dirty",
        "_fd",
        "_hashed",
        "_hasher",
        "_identity",
        "_in_base",
        "_is_adopted",
        "_later",
        "_layout",
        "_limits",
        "_needs_own",
        "_root",
        "number",
        "path",
        "size",
        "temporary",
        "written",
    )

    def __init__(
        self,
        root: ReceiveRoot,
        path: SafePath,
        size: int | None,
        layout: SparseLayout | None = None,
        limits: ReceiveLimits | None = None,
    ) -> None:
        """`layout`: where the data of a file with holes lies."""
        self._limits = limits or ReceiveLimits()
        self.path = path
        self.size = size
        self.temporary: str | None = None  # once it is on the disk
        self.written = 0  # bytes that are there, and known to be what was sent
        self.number = -1  # in the journal
        self._root = root
        self._layout = layout
        self._dirty = 0  # written since the kernel was last told to begin
        self._fd = -1
        self._identity = (0, 0)
        self._is_adopted = False  # and was not looked at yet
        self._hasher: blake3 | None = None  # 2 KiB: not kept for a file that is whole
        self._digest: bytes | None = None
        self._hashed = 0  # the prefix that is in the hash
        self._later: RangeSet | None = None  # there beyond the prefix
        self._claimed: RangeSet | None = None  # said to be there
        self._along: tuple[int, int, blake3 | None, bytes] | None = (
            None  # what is known if the last proof holds
        )
        self._base: Standing | None = None  # what stands under the final name, and has some of the data
        self._base_fd = -1
        self._in_base: RangeSet | None = None  # claimed or there, but in that file alone
        self._needs_own = False  # that file cannot stay, whatever is in it
        self._copied: list[tuple[int, int]] = []

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there; for a stream, whether there is no hole."""
        return not self._later if self.size is None else self.written == self.size

    @property
    def is_hashed(self) -> bool:
        """Whether `catch_up` has nothing to do any more."""
        return self._digest is not None and not (self._needs_own and self.temporary is None)

    @property
    def stands(self) -> bool:
        """Whether it is, as far as is known, what stands under the final name."""
        return self._base is not None and self.temporary is None

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the temporary."""
        return self._identity

    def held(self) -> RangeSet:
        """The parts that are there and known to be what was sent."""
        if self._digest is not None:
            return RangeSet([(0, self.written)])
        return RangeSet([(0, self._hashed), *(self._later or ())])

    def claims(self) -> RangeSet:
        """The parts that are to be proven."""
        return RangeSet(self._claimed or ())

    @property
    def has_copied(self) -> bool:
        return bool(self._copied)

    def take_copied(self) -> list[tuple[int, int]]:
        """What has come into the temporary by other ways than `write`, since the last call."""
        copied, self._copied = self._copied, []
        return copied

    # What is there before

    def adopt(self, temporary: str, ranges: RangeSet) -> None:
        """Go on with what an earlier receive left under `temporary`, which claims to have `ranges`."""
        self.temporary = temporary
        self._is_adopted = True
        self._claimed = RangeSet(ranges)

    def build_on(self, standing: Standing, ranges: RangeSet, *, is_ours: bool) -> None:
        """The file that stands under the final name claims to have `ranges`, beside what was adopted.

        `is_ours`: an earlier receive made it, so its holes are where they should be.
        """
        claimed = self._claimed or RangeSet()
        self._base = standing
        self._in_base = RangeSet()
        for start, end in ranges:
            for gap in claimed.gaps(start, end):
                self._in_base.add(*gap)
        for start, end in self._in_base:
            claimed.add(start, end)
        self._claimed = claimed
        length = self.size if self._layout is None else self._layout.length
        self._needs_own = standing.size != length or (self._layout is not None and not is_ours)

    def prove(self, start: int, end: int) -> bytes:
        """The BLAKE3 of a claimed range as it is on the disk; b"" where it cannot be read. Raises ValueError."""
        if self._claimed is None or not self._claimed.covers(start, end):
            raise ValueError(f"bytes {start} to {end} of {self.path} are not claimed")
        hasher = blake3()
        goes_along = start == self._hashed and not (self.temporary and self._in_base)
        whole = self._hasher.copy() if goes_along and self._hasher is not None else None
        self._along = None
        position = start
        try:
            while position < end:
                data = self._read(position, min(end - position, self._limits.reread_bytes))
                if not data:
                    return b""
                hasher.update(data)
                if whole is not None:
                    whole.update(data)
                position += len(data)
        except OSError:
            return b""
        digest = hasher.digest()
        if goes_along:
            self._along = (start, end, hasher if start == 0 else whole, digest)
        return digest

    def proved(self, start: int, end: int) -> None:
        """This range is there."""
        self._settle(start, end)
        self.written += end - start
        along, self._along = self._along, None
        if along is not None and along[:2] == (start, end) and start == self._hashed:
            self._hashed, self._hasher = end, along[2]
            if end == self.size:
                self._digest, self._hasher = self._hasher.digest() if self._hasher else along[3], None
        elif start < end:
            if self._later is None:
                self._later = RangeSet()
            self._later.add(start, end)

    def refuted(self, start: int, end: int) -> None:
        """This range is not there, or not wanted: it will be written."""
        self._settle(start, end)
        self._along = None
        if self._in_base is not None:
            self._in_base.remove(start, end)

    def _settle(self, start: int, end: int) -> None:
        if self._claimed is None or not self._claimed.covers(start, end):
            raise ValueError(f"bytes {start} to {end} of {self.path} are not claimed")
        self._claimed.remove(start, end)
        if not self._claimed:
            self._claimed = None

    def catch_up(self, budget_bytes: int) -> bool:
        """Hash what lies behind the prefix, `budget_bytes` of it; True when nothing is left to be done before more is
        written.
        """
        if self._needs_own and self.temporary is None and self.is_whole:
            self.open()
        later = self._later
        while later:
            stop = later.covered_until(self._hashed)
            if stop == self._hashed:
                break
            if budget_bytes <= 0:
                return False
            start, size = self._hashed, min(stop - self._hashed, self._limits.reread_bytes)
            data = self._read(start, size)
            if not data:
                raise OSError(errno.ESTALE, "the unfinished file was cut short")
            if self._in_base and self.temporary is not None and start in self._in_base:
                self._copy(start, data)
            self._hash(data)
            later.remove(start, self._hashed)
            budget_bytes -= len(data)
        if self.size is not None and self._hashed == self.size and self._hasher is not None:
            self._digest, self._hasher = self._hasher.digest(), None
        return True

    def _copy(self, start: int, data: bytes) -> None:
        self.open()
        self._write_all(start, memoryview(data))
        if self._in_base is not None:
            self._in_base.remove(start, start + len(data))
        self._copied.append((start, start + len(data)))
        self._written_back(len(data))

    def _read(self, start: int, size: int) -> bytes:
        """From wherever it lies; perhaps less."""
        in_base = self._in_base is not None and start in self._in_base
        if self._in_base:
            gaps = self._in_base.gaps(start, start + size)
            edge = self._in_base.covered_until(start) if in_base else gaps[0][1]
            size = min(size, edge - start)
        if self._layout is not None:
            start, size = self._layout.places(start, size)[0]
        if in_base:
            self.open_base()
        else:
            self.open()
        return self._root.filesystem.read(self._base_fd if in_base else self._fd, start, size)

    def open_base(self) -> None:
        """Have a descriptor of the file that stands under the final name."""
        if self._base_fd >= 0 or self._base is None:
            return
        filesystem = self._root.filesystem
        fd = filesystem.open_to_read(self._root.parent(self.path), self.path.name)
        if filesystem.identity(fd) != (self._base.device, self._base.inode):
            filesystem.close(fd)
            raise OSError(errno.ESTALE, "another file took the place of the one that was there")
        self._base_fd = fd

    # The temporary

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
        if self._in_base is not None:
            self._begin_copying()
        if self._layout is not None:
            set_whole_length(filesystem, self._fd, self._layout.length)
        elif self.size is not None and self.size >= ALLOCATE_FROM:
            filesystem.allocate(self._fd, self.size)

    def _begin_copying(self) -> None:
        """What is proven in the standing file is to come here. It may have changed since: it is hashed again."""
        held = self.held()
        self._later, self._hashed, self._hasher, self._digest = held, 0, None, None
        self._along = None
        if self._layout is not None or self.size is None or not self._in_base:
            return
        self.open_base()
        if self._root.filesystem.clone(self._base_fd, self._fd):
            set_whole_length(self._root.filesystem, self._fd, self.size)
            self._copied += [*(self._in_base or ())]
            self._in_base = None

    def open(self) -> None:
        """Have a descriptor: make the temporary, or open it again and see that it is the same file."""
        if self._fd >= 0:
            return
        if self.temporary is None:
            self.create()
            return
        filesystem = self._root.filesystem
        fd = filesystem.reopen(self._root.parent(self.path), self.temporary)
        try:
            if self._is_adopted:
                self._take_over(fd)
            elif filesystem.identity(fd) != self._identity:
                raise OSError(errno.ESTALE, "another file took the place of the unfinished one")
        except OSError:
            filesystem.close(fd)
            raise
        self._fd = fd

    def _take_over(self, fd: int) -> None:
        """See that a temporary which an earlier receive left is ours alone, and has its length."""
        filesystem = self._root.filesystem
        status = filesystem.status(fd)
        if not is_ours_alone(status):
            raise OSError(errno.ESTALE, "another file took the place of the unfinished one")
        length = self.size if self._layout is None else self._layout.length
        if length is not None and (status.st_size > length or self._layout is not None):
            set_whole_length(filesystem, fd, length)
        if self._layout is None and length is not None and length >= ALLOCATE_FROM:
            filesystem.allocate(fd, length)
        self._identity = filesystem.identity(fd)
        self._is_adopted = False

    def write(self, offset: int, data: memoryview) -> None:
        """Raises ValueError for a byte that was there already, or is claimed to be."""
        if self._fd < 0:
            self.open()
        size = len(data)
        if offset != self._hashed or self._later or self._claimed or self._digest is not None:
            self._refuse_overlap(offset, offset + size)
        self._write_all(offset, data)
        if offset == self._hashed:
            if size == self.size:  # a small file in one piece
                self._digest = blake3(data).digest()
            else:
                self._hash(data)
        else:
            if self._later is None:
                self._later = RangeSet()
            self._later.add(offset, offset + size)
        self.written += size
        if self._later:
            # What is out of order on the way is caught up with at once, what was there before with every write a bit.
            at_once = self._later.total <= self._limits.catch_up_bytes
            with contextlib.suppress(
                *((OSError,) if self._in_base else ())
            ):  # `digest` tells of a copy that fails
                self.catch_up(
                    self._limits.catch_up_bytes if at_once else 2 * size + self._limits.reread_bytes // 4
                )
        self._written_back(size)
        if self._hasher is not None and self.size == self._hashed:
            self._digest, self._hasher = self._hasher.digest(), None

    def _written_back(self, size: int) -> None:
        self._dirty += size
        if self._dirty >= WRITEBACK_BYTES:
            is_large = self.size is None or self.size >= LARGE_FILE_BYTES
            self._root.filesystem.start_writeback(self._fd, keep_cached=not is_large)
            self._dirty = 0

    def _refuse_overlap(self, start: int, stop: int) -> None:
        """A byte written twice could differ from the one that was hashed."""
        whole = [(start, stop)]
        is_new = self._digest is None and start >= self._hashed
        for there in (self._later, self._claimed):
            is_new = is_new and not (there and there.gaps(start, stop) != whole)
        if not is_new:
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

    def digest(self) -> bytes:
        """Of all bytes. Raises ValueError while some are missing."""
        if self.size is None or not self.is_whole:
            if not self.is_whole:
                raise ValueError(f"{self.path} is not whole: {self.written} of {self.size} bytes")
        else:
            self.catch_up(self.size)
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

    def keep_standing(self, mtime_ns: int) -> None:
        """What stands under the final name is what was sent: let it have its time, too. Raises TargetChanged."""
        if self._root.standing(self.path) != self._base:
            raise TargetChanged(self._root.shown(self.path))
        if self._base is not None and self._base.mtime_ns != mtime_ns:
            self.open_base()
            with contextlib.suppress(OSError):  # it belongs to somebody else
                self._root.filesystem.set_time(self._base_fd, mtime_ns)

    def duplicate(self) -> int:
        """A descriptor of the temporary for another thread, which closes it."""
        return self._root.filesystem.duplicate(self._fd)

    def close(self) -> None:
        """Release the descriptors; the temporary stays and can be opened again."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._root.filesystem.close(fd)
        if self._base_fd >= 0:
            fd, self._base_fd = self._base_fd, -1
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

    @property
    def absolute_path(self) -> str:
        """Of the temporary."""
        return self._absolute(self.temporary or "")

    def _absolute(self, name: str) -> str:
        return os.sep.join((self._root.absolute_path, *self.path.parent, name))


def as_view(data: Data) -> memoryview:
    """A flat view of bytes, so that slices of it copy nothing."""
    return data if isinstance(data, memoryview) else memoryview(data)


def is_ours_alone(status: os.stat_result) -> bool:
    """Whether a file that was left behind is a regular one of this user, under one name, that nobody else may write.

    Another name could be that of a file which is not ours to change.
    """
    owner = os.geteuid() if hasattr(os, "geteuid") else status.st_uid
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == owner
        and status.st_nlink == 1
        and not (os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    )
