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
from typing import Final, NamedTuple

from tallow_cli.errors import (
    DiskFull,
    DiskNearlyFull,
    TargetChanged,
    TargetMissing,
    TargetNotDirectory,
    TargetUnwritable,
)
from tallow_cli.offer.names import SafePath
from tallow_cli.store.failures import displayable, target_error
from tallow_cli.store.filesystem import NO_HARD_LINKS, Directory, Filesystem
from tallow_cli.store.limits import ReceiveLimits

TEMPORARY_PREFIX: Final = ".tallow-"
TOKEN_BYTES: Final = 4
_NOT_EVERYWHERE: Final = frozenset('<>"|?*')  # FAT, exFAT and NTFS refuse them
ROOM_TO_SPARE: Final = 1024 * 1024  # for directories and names themselves
# A stream has no size that could be refused beforehand; a full disk stops logins, logs and databases as well.
RESERVE_SHARE: Final = 0.05
MOST_RESERVED_BYTES: Final = 1024 * 1024 * 1024


class Standing(NamedTuple):
    """What stands under a name, and the signs by which it is known again: its times and size tell of a change
    in place.
    """

    kind: str
    device: int
    inode: int
    size: int
    mtime_ns: int


def kind_of(status: os.stat_result) -> str:
    """ "file", "directory", "symlink" or "special"."""
    if stat.S_ISLNK(status.st_mode):
        return "symlink"
    if stat.S_ISDIR(status.st_mode):
        return "directory"
    return "file" if stat.S_ISREG(status.st_mode) else "special"


class ReceiveRoot:
    """An open directory below which everything received is made. Close it."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        filesystem: Filesystem,
        limits: ReceiveLimits | None = None,
    ) -> None:
        """Raises TargetNotDirectory (TargetMissing), TargetUnwritable."""
        self._limits = limits or ReceiveLimits()
        self.path: Final = os.fspath(path)
        self.filesystem: Final = filesystem
        try:
            self.absolute_path: Final = os.path.abspath(path)  # fails where the current directory was removed
            self._root = filesystem.open_root(self.path)
        except FileNotFoundError:
            raise TargetMissing(displayable(self.path)) from None
        except NotADirectoryError:
            raise TargetNotDirectory(displayable(self.path)) from None
        except OSError as problem:
            raise target_error(problem, displayable(self.path)) from problem
        self.token = secrets.token_hex(TOKEN_BYTES)  # of all temporaries made through this root
        self.new_file_bits = 0o777 & ~0o077  # until check_writable has looked
        self._open: OrderedDict[tuple[str, ...], Directory] = OrderedDict()
        self._known: dict[tuple[str, ...], tuple[int, int]] = {}

    def go_on_as(self, token: str) -> None:
        """Make temporaries as the earlier receive did, whose `token` it was."""
        self.token = token

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
        depth = len(components)
        while depth and components[:depth] not in self._open:
            depth -= 1
        directory = self._root
        if depth:
            directory = self._open[components[:depth]]
            self._open.move_to_end(components[:depth])
        for depth in range(depth + 1, len(components) + 1):  # noqa: B020 - on from where it was found
            directory = self._enter(directory, components[:depth])
        return directory

    def _enter(self, parent: Directory, components: tuple[str, ...]) -> Directory:
        """Open the last of `components` in `parent`, and keep it open for a while."""
        opened = self.filesystem.open_directory(parent, components[-1])
        known = self._known.setdefault(components, opened.identity)
        if known != opened.identity:
            self.filesystem.close_directory(opened)
            raise NotADirectoryError(errno.ENOTDIR, "another directory took its place", opened.path)
        self._open[components] = opened
        if len(self._open) > self._limits.open_directories:
            _, oldest = self._open.popitem(last=False)
            self.filesystem.close_directory(oldest)
        return opened

    def standing(self, path: SafePath) -> Standing | None:
        """What stands under this name, without following links; None if nothing does. Raises OSError."""
        try:
            status = self.filesystem.stat(self.parent(path), path.name)
        except FileNotFoundError:
            return None
        if status is None:
            return None
        return Standing(kind_of(status), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def existing_kind(self, path: SafePath) -> str | None:
        """Its kind alone."""
        standing = self.standing(path)
        return None if standing is None else standing.kind

    def check_room(self, needed: int) -> None:
        """Raises DiskFull if the disk cannot hold `needed` more bytes; OSError."""
        free, _ = self.filesystem.space(self._root)
        if free is not None and needed + ROOM_TO_SPARE > free:
            raise DiskFull(displayable(self.path), needed + ROOM_TO_SPARE - free)

    def check_reserve(self) -> None:
        """Raises DiskNearlyFull if less is free than a stream must leave; OSError."""
        free, total = self.filesystem.space(self._root)
        if free is not None and total is not None:
            reserve = min(int(total * RESERVE_SHARE), MOST_RESERVED_BYTES)
            if free < reserve:
                raise DiskNearlyFull(displayable(self.path), free, reserve)

    def check_writable(self, paths: Sequence[SafePath]) -> None:
        """Raises TargetUnwritable if we may not write here, or the file system does not take these names;
        OSError.

        Found out by making a file, the only test that knows of every permission and mount flag. It is better
        to know before hours of transfer that a USB stick takes no question marks. The same file shows which
        permissions new files get here, by the umask or by the directory's default access list.
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
        self.new_file_bits = self._probe(temporary_name(self.token))
        if unusual:
            characters = "".join(sorted(unusual))
            try:
                self._probe(temporary_name(self.token) + characters)
            except OSError as problem:
                shown = displayable(self.path)
                why = f"its file system does not take all of {' '.join(characters)} in names"
                raise TargetUnwritable(shown, why) from problem

    def _probe(self, name: str) -> int:
        """Make a file and remove it; the permissions of 0777 that it got."""
        fd = self.filesystem.create(self._root, name, 0o777)
        try:
            return self.filesystem.mode(fd)
        finally:
            self.filesystem.close(fd)
            self.filesystem.unlink(self._root, name)

    def publish(
        self,
        path: SafePath,
        temporary: str,
        identity: tuple[int, int] | None,
        *,
        replaces: Standing | None = None,
    ) -> None:
        """Give a finished temporary its final name, atomically.

        Nothing is replaced but `replaces`, if it still stands there unchanged. Raises FileExistsError where a
        name is taken that was free, TargetChanged where something else than `replaces` stands; OSError.
        `identity` (device and inode) is that of the file which was verified: if another one turns out to
        have had the temporary's name, the final name is taken from it again.
        """
        directory = self.parent(path)
        standing = None if replaces is None else self.standing(path)
        if standing is None:
            self._give_free_name(directory, temporary, path.name)
        elif standing == replaces:
            self._check_identity(
                directory, temporary, identity
            )  # or the old file would be lost for a wrong one
            self.filesystem.rename(directory, temporary, path.name)
        else:
            raise TargetChanged(self.shown(path))
        try:
            self._check_identity(directory, path.name, identity)
        except OSError:
            with contextlib.suppress(OSError):
                self.filesystem.unlink(directory, path.name)
            raise

    def _give_free_name(self, directory: Directory, temporary: str, name: str) -> None:
        """Rename, replacing nothing. Raises FileExistsError.

        Where there is no such call, by link and unlink. Where the file system has no hard links either, by
        making the final name exclusively and then renaming onto it: nothing is overwritten, but whoever looks
        in between, or after a crash just then, sees an empty file.
        """
        filesystem = self.filesystem
        if filesystem.rename_exclusively(directory, temporary, name):
            return
        try:
            filesystem.link(directory, temporary, name)
        except OSError as problem:
            if problem.errno not in NO_HARD_LINKS:
                raise
            filesystem.close(filesystem.create(directory, name))
            filesystem.rename(directory, temporary, name)
            return
        filesystem.unlink(directory, temporary)

    def _check_identity(self, directory: Directory, name: str, identity: tuple[int, int] | None) -> None:
        """Raises OSError if another file than the verified one has this name. None: somebody took it away
        at once, as programs do that watch a directory for new files.
        """
        status = self.filesystem.stat(directory, name)
        if identity is not None and status is not None and (status.st_dev, status.st_ino) != identity:
            raise OSError(errno.ESTALE, "another file took the place of the one that was verified")

    def close(self) -> None:
        for directory in self._open.values():
            self._close(directory)
        self._open.clear()
        self._close(self._root)
        self._root = Directory(self._root.path, self._root.identity)

    def _close(self, directory: Directory) -> None:
        with contextlib.suppress(OSError):
            self.filesystem.close_directory(directory)


def temporary_name(token: str = "") -> str:
    """Hidden, and unguessable, so that nobody can lie in wait under it.

    `token` tells whose it is, should it be left behind (store.leftovers).
    """
    return f"{TEMPORARY_PREFIX}{token}-{secrets.token_hex(8)}.part"
