"""The receive root: the one door through which received names reach the disk.

It takes `SafePath`s only, opens every directory between the root and a file without following links, and
keeps a bounded number of them open. A directory is remembered by device and inode: another one in its place
is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from tallow_cli.core.names import SafePath
from tallow_cli.errors import DiskFull, TargetNotDirectory, TargetUnwritable
from tallow_cli.store.failures import displayable, target_error
from tallow_cli.store.filesystem import NO_HARD_LINKS, Directory, Filesystem

MAX_OPEN_DIRECTORIES: Final = 64  # beside as many files; the usual descriptor limit is 1024, on macOS 256
TEMPORARY_PREFIX: Final = ".tallow-"
_NOT_EVERYWHERE: Final = frozenset('<>"|?*')  # FAT, exFAT and NTFS refuse them
ROOM_TO_SPARE: Final = 1024 * 1024  # for directories and names themselves


def kind_of(status: os.stat_result) -> str:
    """ "file", "directory", "symlink" or "special"."""
    if stat.S_ISLNK(status.st_mode):
        return "symlink"
    if stat.S_ISDIR(status.st_mode):
        return "directory"
    return "file" if stat.S_ISREG(status.st_mode) else "special"


class ReceiveRoot:
    """An open directory below which everything received is made. Close it."""

    def __init__(self, path: str | os.PathLike[str], filesystem: Filesystem) -> None:
        """Raises TargetNotDirectory, TargetUnwritable."""
        self.path: Final = os.fspath(path)
        self.filesystem: Final = filesystem
        try:
            self._root = filesystem.open_root(self.path)
        except (FileNotFoundError, NotADirectoryError):
            raise TargetNotDirectory(displayable(self.path)) from None
        except OSError as problem:
            raise target_error(problem, displayable(self.path)) from problem
        self._open: OrderedDict[tuple[str, ...], Directory] = OrderedDict()
        self._known: dict[tuple[str, ...], tuple[int, int]] = {}

    @property
    def directory(self) -> Directory:
        """The root itself."""
        return self._root

    def shown(self, path: SafePath) -> str:
        """Where a received path is on this machine, for people: untrusted text."""
        return displayable(os.path.join(self.path, *path.components))

    def parent(self, path: SafePath) -> Directory:
        """The open directory that `path` lies in. Do not close it, nor keep it: ask again. Raises OSError."""
        return self._walk(path.parent)

    def itself(self, path: SafePath) -> Directory:
        """The open directory that `path` names, under the same terms."""
        return self._walk(path.components)

    def _walk(self, components: tuple[str, ...]) -> Directory:
        if not components:
            return self._root
        found = self._open.get(components)
        if found is not None:
            self._open.move_to_end(components)
            return found
        parent = self._walk(components[:-1])
        opened = self.filesystem.open_directory(parent, components[-1])
        known = self._known.setdefault(components, opened.identity)
        if known != opened.identity:
            self.filesystem.close_directory(opened)
            raise NotADirectoryError(errno.ENOTDIR, "another directory took its place", opened.path)
        self._open[components] = opened
        if len(self._open) > MAX_OPEN_DIRECTORIES:
            _, oldest = self._open.popitem(last=False)
            self.filesystem.close_directory(oldest)
        return opened

    def existing_kind(self, path: SafePath) -> str | None:
        """What stands under this name, without following links; None if nothing does. Raises OSError."""
        try:
            status = self.filesystem.stat(self.parent(path), path.name)
        except FileNotFoundError:
            return None
        return kind_of(status) if status is not None else None

    def check_room(self, needed: int) -> None:
        """Raises DiskFull if the disk cannot hold `needed` more bytes; OSError."""
        free = self.filesystem.free_bytes(self._root)
        if free is not None and needed + ROOM_TO_SPARE > free:
            raise DiskFull(displayable(self.path), needed + ROOM_TO_SPARE - free)

    def check_writable(self, paths: Sequence[SafePath]) -> None:
        """Raises TargetUnwritable if we may not write here, or the file system does not take these names;
        OSError.

        Found out by making a file, the only test that knows of every permission and mount flag. It is better
        to know before hours of transfer that a USB stick takes no question marks.
        """
        longest = self.filesystem.longest_name(self._root)
        unusual: set[str] = set()
        for path in paths:
            for name in path.components:
                if longest is not None and len(name) * 4 > longest and len(name.encode()) > longest:
                    raise TargetUnwritable(
                        self.shown(path), f"its file system takes {longest} bytes for a name"
                    )
            unusual.update(_NOT_EVERYWHERE.intersection(path.name))
        self._probe(temporary_name())
        if unusual:
            characters = "".join(sorted(unusual))
            try:
                self._probe(temporary_name() + characters)
            except OSError as problem:
                shown = displayable(self.path)
                why = f"its file system does not take all of {' '.join(characters)} in names"
                raise TargetUnwritable(shown, why) from problem

    def _probe(self, name: str) -> None:
        self.filesystem.close(self.filesystem.create(self._root, name))
        self.filesystem.unlink(self._root, name)

    def publish(self, path: SafePath, temporary: str, *, replace: bool) -> None:
        """Give a finished temporary its final name, atomically. Raises FileExistsError unless `replace`.

        By link and unlink, which cannot replace anything. Where the file system has no hard links, by
        making the final name exclusively and then renaming onto it: nothing is overwritten either, but
        whoever looks in between, or after a crash just then, sees an empty file.
        """
        directory = self.parent(path)
        filesystem = self.filesystem
        if replace:
            filesystem.rename(directory, temporary, path.name)
            return
        try:
            filesystem.link(directory, temporary, path.name)
        except OSError as problem:
            if problem.errno not in NO_HARD_LINKS:
                raise
            filesystem.close(filesystem.create(directory, path.name))
            filesystem.rename(directory, temporary, path.name)
            return
        filesystem.unlink(directory, temporary)

    def close(self) -> None:
        for directory in self._open.values():
            self._close(directory)
        self._open.clear()
        self._close(self._root)
        self._root = Directory(self._root.path, self._root.identity)

    def _close(self, directory: Directory) -> None:
        with contextlib.suppress(OSError):
            self.filesystem.close_directory(directory)


def temporary_name() -> str:
    """Hidden, and unguessable, so that nobody can lie in wait under it."""
    return f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.part"
