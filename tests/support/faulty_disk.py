"""A disk that everything can befall: power cuts, a full disk, errors, writes that stop short, and a process that is
killed between any two calls.
"""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from threading import Event

from tallow_cli.store.filesystem import Data, Directory
from tests.support.disk import CHANGING, PowerCut


class Killed(BaseException):
    """The process that made this call is no more: nothing of it may run on."""


class FaultyDisk(PowerCut):
    """One per process: `kill` does what the kernel does then, and every later call raises Killed.

    `failing` maps an operation to the error of its next call; `room` bytes may be written before the disk is full.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failing: dict[str, int] = {}
        self.kill_in: int | None = None  # so many calls that change something
        self.room: int | None = None
        self.most: int | None = None  # bytes a write
        self.is_dead = False
        self.has_failed = False
        self._open: set[int] = set()
        self._synced_length: dict[int, int] = {}  # by inode

    def kill(self) -> None:
        """All that it had open is closed, and its locks are free."""
        self.is_dead = True
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    def meet(self, operation: str) -> None:
        """Before each operation that changes something."""
        if self.is_dead:
            raise Killed
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                self.kill()
                raise Killed
        code = self.failing.pop(operation, None)
        if code is not None:
            self.has_failed = True
            raise OSError(code, os.strerror(code))

    def write(self, fd: int, offset: int, data: Data) -> int:
        self.meet("write")
        if self.room is not None:
            if self.room == 0:
                self.has_failed = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self.room]
        if self.most is not None:
            data = data[: self.most]
        inode = os.fstat(fd).st_ino
        self._synced_length.setdefault(inode, os.fstat(fd).st_size)
        written = super().write(fd, offset, data)
        if self.room is not None:
            self.room -= written
        return written

    def allocate(self, fd: int, size: int) -> None:
        self.meet("allocate")
        if self.room is not None and size > self.room:
            self.has_failed = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().allocate(fd, size)

    def sync_file(self, fd: int) -> None:
        self.meet("sync_file")
        self._synced_length.pop(os.fstat(fd).st_ino, None)
        super().sync_file(fd)

    sync_data = sync_file

    def sync_directory(self, directory: Directory) -> None:
        self.meet("sync_directory")

    def sync_all(self, directory: Directory) -> bool:
        self.meet("sync_all")
        self._synced_length.clear()
        return super().sync_all(directory)

    def cut(self, root: Path, rng: random.Random) -> None:
        """Undo writes that were not synced, some or all; a file that grew meanwhile may be as short as it was."""
        super().cut(root, rng)
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink() and rng.random() < 0.3:
                status = path.stat()
                length = self._synced_length.get(status.st_ino)
                if length is not None and length < status.st_size:
                    os.truncate(path, rng.randint(length, status.st_size))

    # What is open

    def open_root(self, path: str) -> Directory:
        return self._opened(super().open_root(path))

    def open_directory(self, parent: Directory, name: str) -> Directory:
        self._alive()
        return self._opened(super().open_directory(parent, name))

    def close_directory(self, directory: Directory) -> None:
        self._alive()
        self._open.discard(directory.fd)
        super().close_directory(directory)

    def create(self, directory: Directory, name: str, mode: int = 0o600) -> int:
        self.meet("create")
        return self._noted(super().create(directory, name, mode))

    def reopen(self, directory: Directory, name: str) -> int:
        self._alive()
        return self._noted(super().reopen(directory, name))

    def open_to_read(self, directory: Directory, name: str) -> int:
        self._alive()
        return self._noted(super().open_to_read(directory, name))

    def duplicate(self, fd: int) -> int:
        self._alive()
        return self._noted(super().duplicate(fd))

    def close(self, fd: int) -> None:
        self._alive()
        self._open.discard(fd)
        super().close(fd)

    def _alive(self) -> None:
        if self.is_dead:
            raise Killed

    def _noted(self, fd: int) -> int:
        self._open.add(fd)
        return fd

    def _opened(self, directory: Directory) -> Directory:
        self._open.add(directory.fd)
        return directory


def _met(operation: str) -> None:
    original = getattr(PowerCut, operation)

    def met(self: FaultyDisk, *args: object, **kwargs: object) -> object:
        self.meet(operation)
        return original(self, *args, **kwargs)

    setattr(FaultyDisk, operation, met)


for _operation in CHANGING:
    if _operation not in vars(FaultyDisk):
        _met(_operation)


class Patience(Event):
    """What a full disk is waited for with: after `waits` looks somebody has freed some space, or never (None)."""

    def __init__(self, disk: FaultyDisk) -> None:
        super().__init__()
        self._disk = disk
        self.waits: int | None = 0

    def wait(self, timeout: float | None = None) -> bool:
        if self.waits is None:
            self.set()
        elif self.waits == 0:
            self._disk.room = None
        else:
            self.waits -= 1
        return self.is_set()
