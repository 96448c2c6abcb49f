"""What a receiver that was killed has left behind, and how the next one knows that nobody uses it any more.

A live receive holds a lock (flock) on `.tallow-TOKEN.lock` in its receive root; its temporaries are called
`.tallow-TOKEN-….part`, there and in the directories that the lock file names. When the lock can be taken, its
owner is gone, and what carries the token is rubbish. Only our own regular files are touched, never through a link,
and only those of this machine: a network mount may keep every machine's locks to itself.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tallow_cli.store import unfinished
from tallow_cli.store.failures import displayable
from tallow_cli.store.filesystem import Directory, Filesystem
from tallow_cli.store.receive_root import TEMPORARY_PREFIX, TOKEN_BYTES, ReceiveRoot, kind_of

_LOCK: Final = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}([0-9a-f]{{{2 * TOKEN_BYTES}}})\.lock")
_TRIES: Final = 3  # of making a lock that somebody else takes for a leftover just then
_MOST_LOCK_BYTES: Final = 16 * 1024 * 1024
_MOST_DEPTH: Final = 256  # each costs a descriptor; no offer is so deep
_MADE: Final = b"+"  # a directory that the receive made
_MERGED: Final = b"="  # one that was there before


@dataclass(slots=True)
class Swept:
    """What was removed."""

    files: int = 0
    bytes: int = 0  # on the disk


class ReceiveLock:
    """Tells others that the temporaries of `root` are in use. Close it, from the thread that uses the root."""

    def __init__(self, root: ReceiveRoot, made: Iterable[str], merged: Iterable[str]) -> None:
        """`made` and `merged` are the directories below the root that temporaries may lie in, or in whose depths.

        Raises OSError. Where the file system has no locks nothing is made, and nothing will be swept.
        """
        self._root = root
        self._name = f"{TEMPORARY_PREFIX}{root.token}.lock"
        self._path = os.path.join(root.absolute_path, self._name)
        names = [_MADE + os.fsencode(name) for name in made]
        names += [_MERGED + os.fsencode(name) for name in merged]
        self._fd = self._locked(b"\0".join([_this_machine(), *names]))

    def _locked(self, contents: bytes) -> int:
        filesystem = self._root.filesystem
        for _ in range(_TRIES):
            unfinished.note(self._path)
            fd = filesystem.create(self._root.directory, self._name)
            try:
                if filesystem.lock(fd) and _is_still(filesystem, self._root.directory, self._name, fd):
                    filesystem.write(
                        fd, 0, contents
                    )  # what is cut short by a full disk names fewer directories
                    return fd
            except OSError:
                self._discard(fd)
                return -1
            self._discard(fd)  # a sweep took it for a leftover
        return -1

    def close(self) -> None:
        """Never raises. May be called twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._discard(fd)

    def _discard(self, fd: int) -> None:
        with contextlib.suppress(OSError):
            self._root.filesystem.unlink(self._root.directory, self._name)
        unfinished.forget(self._path)
        with contextlib.suppress(OSError):
            self._root.filesystem.close(fd)


def sweep(root: ReceiveRoot) -> Swept:
    """Remove what receives into this root left behind that are no longer alive. Never raises: what cannot be
    removed, or looked at, stays.

    A top directory that such a receive made, and in which nothing but directories is left then, goes as well.
    """
    swept = Swept()
    with contextlib.suppress(OSError):
        names = [name for name, is_directory in root.filesystem.entries(root.directory) if not is_directory]
        for name in names:
            match = _LOCK.fullmatch(name)
            if match and match[1] != root.token:
                with contextlib.suppress(OSError):
                    _Sweeper(root, match[1], swept).sweep(name, names)
    return swept


class _Sweeper:
    """Removes what one dead receive left."""

    def __init__(self, root: ReceiveRoot, token: str, swept: Swept) -> None:
        self._filesystem = root.filesystem
        self._root = root
        self._swept = swept
        self._part = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}{token}-[0-9a-f]{{16}}\.part")

    def sweep(self, lock_name: str, names: Iterable[str]) -> None:
        """Raises OSError; then the lock file stays, for the next one to try."""
        filesystem, directory = self._filesystem, self._root.directory
        if not self._is_ours(directory, lock_name):
            return
        fd = filesystem.reopen(directory, lock_name)
        try:
            if not filesystem.lock(fd) or not _is_still(filesystem, directory, lock_name, fd):
                return
            machine, *tops = filesystem.read(fd, 0, _MOST_LOCK_BYTES).split(b"\0")
            if machine not in (
                _this_machine(),
                b"",
            ):  # empty: killed before it was written, and before any part
                return
            self._sweep_files(directory, names)
            for top in tops:
                self._sweep_top(os.fsdecode(top[1:]), made=top[:1] == _MADE)
            filesystem.unlink(directory, lock_name)
        finally:
            filesystem.close(fd)

    def _sweep_top(self, name: str, *, made: bool) -> None:
        if name in ("", ".", "..") or os.sep in name or (os.altsep and os.altsep in name):
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if self._sweep_directory(self._root.directory, name, _MOST_DEPTH) and made:
                with contextlib.suppress(OSError):  # somebody is at work in it
                    self._remove_directories(self._root.directory, name)

    def _sweep_directory(self, parent: Directory, name: str, depth: int) -> bool:
        """Whether nothing but directories is left in it, or in any below."""
        if depth == 0:
            return False
        directory = self._filesystem.open_directory(parent, name)
        try:
            entries = self._filesystem.entries(directory)
            only_directories = self._sweep_files(directory, [name for name, is_dir in entries if not is_dir])
            for below, is_directory in entries:
                if is_directory:
                    only_directories &= self._sweep_directory(directory, below, depth - 1)
        finally:
            self._filesystem.close_directory(directory)
        return only_directories

    def _sweep_files(self, directory: Directory, names: Iterable[str]) -> bool:
        """Whether all of them are gone."""
        all_gone = True
        for name in names:
            gone = False
            if self._part.fullmatch(name) and self._is_ours(directory, name):
                status = self._filesystem.stat(directory, name)
                self._filesystem.unlink(directory, name)
                gone = True
                self._swept.files += 1
                self._swept.bytes += getattr(status, "st_blocks", 0) * 512
            all_gone &= gone
        return all_gone

    def _remove_directories(self, parent: Directory, name: str) -> None:
        """Raises OSError for the first that is not empty."""
        directory = self._filesystem.open_directory(parent, name)
        try:
            for below, _ in self._filesystem.entries(directory):
                self._remove_directories(directory, below)
        finally:
            self._filesystem.close_directory(directory)
        self._filesystem.remove_directory(parent, name)

    def _is_ours(self, directory: Directory, name: str) -> bool:
        """A regular file that belongs to this user. Raises OSError."""
        status = self._filesystem.stat(directory, name)
        owner = os.geteuid() if hasattr(os, "geteuid") else None
        return status is not None and kind_of(status) == "file" and owner in (None, status.st_uid)


def sentence(swept: Swept, path: str) -> str:
    """For people."""
    what = "1 unfinished file" if swept.files == 1 else f"{swept.files:,} unfinished files"
    return (
        f"Removed {what} ({swept.bytes:,} bytes) that an earlier receive, killed in the middle, "
        f"had left in {displayable(path)}."
    )


def _is_still(filesystem: Filesystem, directory: Directory, name: str, fd: int) -> bool:
    """Whether the name is that of the open file: who held the lock before us may have removed it."""
    status = filesystem.stat(directory, name)
    return status is not None and (status.st_dev, status.st_ino) == filesystem.identity(fd)


def _this_machine() -> bytes:
    return platform.node().encode("utf-8", "replace").replace(b"\0", b"") or b"?"
