"""The directories that are sent, opened without following links: nobody who swaps one meanwhile leads us elsewhere.

Only what the user typed is followed. Below it every directory is opened relative to the one above, must be a directory
itself and the same one as when it was first looked at (device and inode); so must every file. The receiving side
does the same (store.receive_root).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import OrderedDict
from typing import Final, final

from tallow_cli.store.filesystem import Directory, Filesystem, default_filesystem

MAX_OPEN_DIRECTORIES: Final = 64  # as many as the receiving side keeps open
Identity = tuple[int, int]  # device and inode

_READ_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # do not wait on a pipe that took the file's place
)


@final
class SourceDirectory:
    """A directory that was looked at. `name` is a path at the top, which has no `parent`."""

    __slots__ = ("identity", "name", "parent")

    def __init__(self, name: str, identity: Identity, parent: SourceDirectory | None = None) -> None:
        self.name = name
        self.identity = identity
        self.parent = parent

    @property
    def path(self) -> str:
        """For people."""
        names = []
        walked: SourceDirectory | None = self
        while walked is not None:
            names.append(walked.name)
            walked = walked.parent
        return os.path.join(*reversed(names))


class SourceTree:
    """Opens what lies below the user's arguments. For one thread; close it."""

    def __init__(self, filesystem: Filesystem | None = None) -> None:
        self._filesystem = filesystem or default_filesystem()
        self._open: OrderedDict[SourceDirectory, Directory] = OrderedDict()

    def top(self, path: str, identity: Identity) -> SourceDirectory:
        """The directory that the user named; links in `path` are followed. Raises OSError if it is another by now."""
        top = SourceDirectory(path, identity)
        self._keep(top, self._checked(self._filesystem.open_root(path), identity))
        return top

    def opened(self, directory: SourceDirectory) -> Directory:
        """Do not close it, nor keep it: ask again. Raises OSError."""
        missing = []
        walked: SourceDirectory | None = directory
        while walked is not None and walked not in self._open:
            missing.append(walked)
            walked = walked.parent
        if walked is not None:
            self._open.move_to_end(walked)
        for closed in reversed(missing):
            if closed.parent is None:
                opened = self._filesystem.open_root(closed.name)
            else:
                opened = self._filesystem.open_directory(self._open[closed.parent], closed.name)
            self._keep(closed, self._checked(opened, closed.identity))
        return self._open[directory]

    def names(self, directory: SourceDirectory) -> list[str]:
        """What lies in it, sorted. Raises OSError."""
        opened = self.opened(directory)
        if opened.fd >= 0:
            return sorted(os.listdir(opened.fd))
        path, _ = self._filesystem.where(opened, os.curdir)
        return sorted(os.listdir(path))

    def status(self, directory: SourceDirectory, name: str) -> os.stat_result | None:
        """lstat; None if it is gone. Raises OSError."""
        return self._filesystem.stat(self.opened(directory), name)

    def link_target(self, directory: SourceDirectory, name: str) -> str:
        """Raises OSError."""
        path, dir_fd = self._filesystem.where(self.opened(directory), name)
        return os.readlink(path, dir_fd=dir_fd)

    def is_readable(self, directory: SourceDirectory, name: str) -> bool:
        path, dir_fd = self._filesystem.where(self.opened(directory), name)
        return os.access(path, os.R_OK, dir_fd=dir_fd)

    def open_file(self, directory: SourceDirectory | None, name: str, identity: Identity) -> int:
        """A descriptor of the file that was looked at; without a `directory`, of a path that the user typed.

        Raises OSError: ESTALE if another file has its name now.
        """
        if directory is None:
            fd = os.open(name, _READ_FLAGS)
        else:
            path, dir_fd = self._filesystem.where(self.opened(directory), name)
            fd = os.open(path, _READ_FLAGS, dir_fd=dir_fd)
        status = os.fstat(fd)
        # The number of a file that is gone may be another's by now, a pipe's even.
        if (status.st_dev, status.st_ino) != identity or not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise OSError(errno.ESTALE, "another file took its place")
        return fd

    def close(self) -> None:
        """May be used again: what is needed is opened anew."""
        while self._open:
            self._close(self._open.popitem()[1])

    def _checked(self, opened: Directory, identity: Identity) -> Directory:
        if opened.identity != identity:
            self._close(opened)
            raise OSError(errno.ESTALE, "another directory took its place")
        return opened

    def _keep(self, directory: SourceDirectory, opened: Directory) -> None:
        self._open[directory] = opened
        if len(self._open) > MAX_OPEN_DIRECTORIES:
            self._close(self._open.popitem(last=False)[1])

    def _close(self, opened: Directory) -> None:
        with contextlib.suppress(OSError):
            self._filesystem.close_directory(opened)
