"""What a receiver that was killed has left behind, and how the next one knows that nobody uses it any more.

A live receive holds a lock (flock) on `.tallow-TOKEN.lock` in its receive root; its temporaries are called
`.tallow-TOKEN-….part`, there and in the directories that the lock file names, and `.tallow-TOKEN.journal` says what
they have (store.journal). When the lock can be taken, its owner is gone. What its journal can go on with stays for a
week; everything else that carries the token is rubbish. Only our own regular files are touched, never through a link,
and only those of this machine: a network mount may keep every machine's locks to itself.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from tallow_cli.store import journal, unfinished
from tallow_cli.store.failures import displayable
from tallow_cli.store.filesystem import Directory, Filesystem
from tallow_cli.store.journaling import journal_name
from tallow_cli.store.partial import is_ours_alone
from tallow_cli.store.receive_root import TEMPORARY_PREFIX, TOKEN_BYTES, ReceiveRoot, kind_of

RESUMABLE_FOR_S: Final = 7 * 24 * 3600.0  # since anything came; then nobody will ask for it any more

_LOCK: Final = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}([0-9a-f]{{{2 * TOKEN_BYTES}}})\.lock")
_TRIES: Final = 3  # of making a lock that somebody else takes for a leftover just then
_MOST_LOCK_BYTES: Final = 16 * 1024 * 1024
_MOST_DEPTH: Final = 256  # each costs a descriptor; no offer is so deep
_READ_BYTES: Final = 1024 * 1024
_MADE: Final = b"+"  # a directory that the receive made
_MERGED: Final = b"="  # one that was there before


@dataclass(slots=True)
class Swept:
    """What was removed."""

    files: int = 0
    bytes: int = 0  # on the disk


@dataclass(slots=True)
class DeadReceive:
    """What a receive that is no longer alive has left, and can be gone on with. Its lock is ours until `release`."""

    token: str
    fd: int  # of its lock
    made: set[str]  # the directories at the top that it made
    merged: set[str]  # and those in which it received
    contents: journal.Contents

    def release(self, filesystem: Filesystem) -> None:
        """Let the next one have it."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            with contextlib.suppress(OSError):
                filesystem.close(fd)


class ReceiveLock:
    """Tells others that the temporaries of `root` are in use. Close it, from the thread that uses the root."""

    def __init__(
        self,
        root: ReceiveRoot,
        made: Iterable[str],
        merged: Iterable[str],
        *,
        dead: DeadReceive | None = None,
    ) -> None:
        """`made` and `merged` are the directories below the root that temporaries may lie in, or in whose depths.

        With `dead`, whose token the root has, its lock is taken over. Raises OSError. Where the file system has no
        locks nothing is made, and nothing will be swept.
        """
        self._root = root
        self._name = f"{TEMPORARY_PREFIX}{root.token}.lock"
        self.path: Final = os.path.join(root.absolute_path, self._name)
        names = [_MADE + os.fsencode(name) for name in made]
        names += [_MERGED + os.fsencode(name) for name in merged]
        contents = b"\0".join([_this_machine(), *names])
        if dead is None:
            self._fd = self._locked(contents)
            return
        self._fd, dead.fd = dead.fd, -1
        with contextlib.suppress(OSError):  # what it names already was in use before
            root.filesystem.write(self._fd, 0, contents)
            root.filesystem.sync_data(self._fd)

    @property
    def is_held(self) -> bool:
        """Whether there is a lock at all."""
        return self._fd >= 0

    def _locked(self, contents: bytes) -> int:
        filesystem = self._root.filesystem
        for _ in range(_TRIES):
            unfinished.note(self.path)
            fd = filesystem.create(self._root.directory, self._name)
            try:
                if filesystem.lock(fd) and _is_still(filesystem, self._root.directory, self._name, fd):
                    # What is cut short by a full disk names fewer directories.
                    filesystem.write(fd, 0, contents)
                    with contextlib.suppress(OSError):
                        filesystem.sync_data(
                            fd
                        )  # or a power cut leaves directories that nobody knows to be ours
                    return fd
            except OSError:
                self._discard(fd)
                return -1
            self._discard(fd)  # a sweep took it for a leftover
        return -1

    def close(self) -> None:
        """Remove it: nothing is unfinished any more. Never raises. May be called twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._discard(fd)

    def leave(self) -> None:
        """Let the next receive find what was left unfinished. Never raises."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            unfinished.forget(self.path)
            with contextlib.suppress(OSError):
                self._root.filesystem.close(fd)

    def _discard(self, fd: int) -> None:
        with contextlib.suppress(OSError):
            self._root.filesystem.unlink(self._root.directory, self._name)
        unfinished.forget(self.path)
        with contextlib.suppress(OSError):
            self._root.filesystem.close(fd)


def survey(root: ReceiveRoot, now_s: float) -> tuple[Swept, list[DeadReceive]]:
    """Find what receives into this root left behind that are no longer alive: remove what cannot be gone on with, and
    return the others, locked. Release each. Never raises: what cannot be removed, or looked at, stays.

    A top directory that such a receive made, and in which nothing but directories is left then, goes as well. `now_s`
    is since the epoch, as the times of files are.
    """
    swept = Swept()
    dead: list[DeadReceive] = []
    with contextlib.suppress(OSError):
        names = [name for name, is_directory in root.filesystem.entries(root.directory) if not is_directory]
        for name in names:
            match = _LOCK.fullmatch(name)
            if match and match[1] != root.token:
                with contextlib.suppress(OSError):
                    found = _Sweeper(root, match[1], swept).look(name, names, now_s)
                    if found is not None:
                        dead.append(found)
    return swept, dead


def sweep(root: ReceiveRoot, dead: DeadReceive, swept: Swept) -> None:
    """Remove what this one left, whatever could be gone on with, and count it. Never raises."""
    with contextlib.suppress(OSError):
        _Sweeper(root, dead.token, swept).sweep(dead.made, dead.merged)
    dead.release(root.filesystem)


def sweep_rest(root: ReceiveRoot, dead: DeadReceive, kept: Collection[str]) -> None:
    """Remove temporaries of a receive that is gone on with, but for those that are `kept`. Its directories stay, for
    they are received into. Never raises.
    """
    with contextlib.suppress(OSError):
        _Sweeper(root, dead.token, Swept(), kept).sweep_parts((), {*dead.made, *dead.merged})


class _Sweeper:
    """Removes what one dead receive left."""

    def __init__(self, root: ReceiveRoot, token: str, swept: Swept, kept: Collection[str] = ()) -> None:
        self._filesystem = root.filesystem
        self._root = root
        self._token = token
        self._swept = swept
        self._kept = kept
        self._part = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}{token}-[0-9a-f]{{16}}\.part")

    def look(self, lock_name: str, names: Iterable[str], now_s: float) -> DeadReceive | None:
        """Sweep, unless it lives or can be gone on with. Raises OSError; then the lock file stays, for the next one."""
        filesystem, directory = self._filesystem, self._root.directory
        if not self._is_ours(directory, lock_name):
            return None
        fd = filesystem.reopen(directory, lock_name)
        found = None
        try:
            if not filesystem.lock(fd) or not _is_still(filesystem, directory, lock_name, fd):
                return None
            machine, *tops = filesystem.read(fd, 0, _MOST_LOCK_BYTES).split(b"\0")
            # Empty: killed before it was written, and before any part.
            if machine not in (_this_machine(), b""):
                return None
            made = {os.fsdecode(top[1:]) for top in tops if top[:1] == _MADE}
            merged = {os.fsdecode(top[1:]) for top in tops if top[:1] == _MERGED}
            contents = _read_journal(filesystem, directory, journal_name(self._token), now_s)
            if contents is not None:
                found = DeadReceive(self._token, fd, made, merged, contents)
                return found
            self.sweep(made, merged, names)
            return None
        finally:
            if found is None:
                filesystem.close(fd)

    def sweep(self, made: Iterable[str], merged: Iterable[str], names: Iterable[str] | None = None) -> None:
        """Remove all of it, the journal and the lock last. Raises OSError."""
        self.sweep_parts(made, merged, names)
        directory = self._root.directory
        for name in (journal_name(self._token), f"{TEMPORARY_PREFIX}{self._token}.lock"):
            if self._is_ours(directory, name):
                self._filesystem.unlink(directory, name)

    def sweep_parts(
        self, made: Iterable[str], merged: Iterable[str], names: Iterable[str] | None = None
    ) -> None:
        directory = self._root.directory
        if names is None:
            names = [name for name, is_dir in self._filesystem.entries(directory) if not is_dir]
        self._sweep_files(directory, names)
        for top in made:
            self._sweep_top(top, made=True)
        for top in merged:
            self._sweep_top(top, made=False)

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
            if name not in self._kept and self._part.fullmatch(name) and self._is_ours(directory, name):
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


def _read_journal(
    filesystem: Filesystem, directory: Directory, name: str, now_s: float
) -> journal.Contents | None:
    """What it says, if it is a journal of ours, not too old, and names any file. Raises OSError."""
    try:
        fd = filesystem.open_to_read(directory, name)
    except OSError:
        return None
    try:
        status = filesystem.status(fd)
        if not is_ours_alone(status) or now_s - status.st_mtime > RESUMABLE_FOR_S:
            return None
        reader = journal.JournalReader()
        position = 0
        while position < journal.MOST_BYTES:
            data = filesystem.read(fd, position, _READ_BYTES)
            position += len(data)
            if not data or not reader.feed_untrusted(data):
                break
    except journal.UnusableJournal:
        return None
    finally:
        filesystem.close(fd)
    return reader.contents if reader.contents.files else None


def sentence(swept: Swept, path: str) -> str:
    """For people."""
    what = "1 unfinished file" if swept.files == 1 else f"{swept.files:,} unfinished files"
    return (
        f"Removed {what} ({swept.bytes:,} bytes) that an earlier receive, which did not come to its end, "
        f"had left in {displayable(path)}."
    )


def _is_still(filesystem: Filesystem, directory: Directory, name: str, fd: int) -> bool:
    """Whether the name is that of the open file: who held the lock before us may have removed it."""
    status = filesystem.stat(directory, name)
    return status is not None and (status.st_dev, status.st_ino) == filesystem.identity(fd)


def _this_machine() -> bytes:
    return platform.node().encode("utf-8", "replace").replace(b"\0", b"") or b"?"
