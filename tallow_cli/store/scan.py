"""Looking at what the user named, before anything is offered: which entries there are, and what is left out.

As `rsync -a` does: a link named by the user is followed; a link inside a directory is sent as a link where it
stays inside that directory, and left out otherwise; devices, pipes and sockets are left out. What is left out
is told.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallow_cli.core.manifest import (
    MAX_ABS_MTIME_NS,
    MAX_ENTRIES,
    MAX_TOTAL_BYTES,
    PERMISSION_BITS,
    Entry,
    EntryKind,
)
from tallow_cli.core.names import ForbiddenName, NameChecker, NameRule
from tallow_cli.errors import LocalFileError, SourceUnreadable, UsageError
from tallow_cli.store.failures import displayable, source_error

_KINDS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A FILE entry's place on this machine, and what it was when it was offered."""

    path: str
    size: int
    mtime_ns: int
    identity: tuple[int, int]  # device and inode


@dataclass(slots=True)
class Scan:
    """What was found: `files` has one LocalFile per FILE entry, in order."""

    entries: list[Entry] = field(default_factory=list)
    files: list[LocalFile] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def scan(paths: Iterable[str | os.PathLike[str]]) -> Scan:
    """Look at files and whole directories, in the order given; inside a directory by name.

    Raises SourceMissing, SourceUnreadable, LocalFileError for what cannot be sent under its name, and
    UsageError for two arguments of the same name.
    """
    scanner = _Scanner()
    for path in paths:
        scanner.add_argument(os.fspath(path))
    return scanner.found


class _Scanner:
    def __init__(self) -> None:
        self.found = Scan()
        self._names = NameChecker()
        self._total = 0

    def add_argument(self, path: str) -> None:
        try:
            status = os.stat(path)
        except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
            cause = problem if isinstance(problem, OSError) else FileNotFoundError(2, "no such file")
            raise source_error(cause, displayable(path)) from None
        name = os.path.basename(os.path.abspath(path))
        if not name:
            raise UsageError(f"{displayable(path)} has no name to be sent under. Name the directories in it.")
        if stat.S_ISDIR(status.st_mode):
            self._add_directory(os.path.realpath(path), name, status, argument=path)
        elif stat.S_ISREG(status.st_mode):
            self._add_file(os.path.realpath(path), name, status, argument=path)
        else:
            what = _special_kind(status.st_mode)
            raise SourceUnreadable(displayable(path), f"it is {what}; send its contents with `-`")

    def _add_directory(
        self, path: str, name: str, status: os.stat_result, argument: str | None = None
    ) -> None:
        """The directory and all below it, without recursion: depth is the sender's disk's business."""
        self._add(path, _entry(name, EntryKind.DIRECTORY, status), argument)
        waiting = [(path, name)]
        while waiting:
            directory, prefix = waiting.pop()
            below = []
            for item in _listing(directory):
                offered = f"{prefix}/{item.name}"
                try:
                    status = os.lstat(item.path)  # not item.stat(): on Windows that has no inode
                except FileNotFoundError:
                    self.found.notices.append(f"{displayable(item.path)} was left out: it vanished")
                    continue
                except OSError as problem:
                    raise source_error(problem, displayable(item.path)) from None
                if stat.S_ISLNK(status.st_mode):
                    self._add_link(item.path, offered, status)
                elif stat.S_ISDIR(status.st_mode):
                    self._add(item.path, _entry(offered, EntryKind.DIRECTORY, status))
                    below.append((item.path, offered))
                elif stat.S_ISREG(status.st_mode):
                    self._add_file(item.path, offered, status)
                else:
                    what = _special_kind(status.st_mode)
                    self.found.notices.append(f"{displayable(item.path)} was left out: it is {what}")
            waiting += reversed(below)

    def _add_file(self, path: str, name: str, status: os.stat_result, argument: str | None = None) -> None:
        if not os.access(path, os.R_OK):
            raise SourceUnreadable(displayable(argument or path), "no permission")
        entry = _entry(name, EntryKind.FILE, status)
        self._add(path, entry, argument)
        self._total += entry.size
        if self._total > MAX_TOTAL_BYTES:
            raise LocalFileError(f"{self._total:,} bytes are too many for one transfer. Send less at a time.")
        identity = status.st_dev, status.st_ino
        self.found.files.append(LocalFile(path, status.st_size, status.st_mtime_ns, identity))

    def _add_link(self, path: str, name: str, status: os.stat_result) -> None:
        try:
            target = os.readlink(path)
        except OSError as problem:
            raise source_error(problem, displayable(path)) from None
        try:
            self._add(path, _entry(name, EntryKind.SYMLINK, status, target.replace(os.sep, "/")))
        except _LinkOutside:
            self.found.notices.append(
                f"{displayable(path)} was left out: it is a symbolic link that leads out of what is sent"
            )

    def _add(self, path: str, entry: Entry, argument: str | None = None) -> None:
        """Apply the receiver's rules, so that an offer is never refused for a name."""
        if len(self.found.entries) == MAX_ENTRIES:
            raise LocalFileError(
                f"More than {MAX_ENTRIES:,} files and directories are too many for one transfer. "
                "Send them in parts, or pack them into an archive first."
            )
        try:
            self._names.add(entry)
        except ForbiddenName as broken:
            if broken.rule is NameRule.LINK_TARGET:
                raise _LinkOutside from None
            if argument is not None and broken.rule in (NameRule.DUPLICATE, NameRule.COLLISION):
                raise UsageError(
                    f"{displayable(argument)} would arrive under the same name as another argument. "
                    "Send one of them separately, or rename it."
                ) from None
            shown = displayable(argument or path)
            why = broken.rule.explanation
            raise LocalFileError(
                f"{shown} cannot be sent under its name: {why}. Rename it or leave it out."
            ) from None
        self.found.entries.append(entry)


class _LinkOutside(Exception):
    """A link that the receiver would refuse; it is left out."""


def _entry(name: str, kind: EntryKind, status: os.stat_result, target: str | None = None) -> Entry:
    size = status.st_size if kind is EntryKind.FILE else 0
    mtime_ns = min(max(status.st_mtime_ns, -MAX_ABS_MTIME_NS), MAX_ABS_MTIME_NS)
    return Entry(name, kind, size, status.st_mode & PERMISSION_BITS, mtime_ns, target)


def _listing(directory: str) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as items:
            return sorted(items, key=lambda item: item.name)
    except OSError as problem:
        raise source_error(problem, displayable(directory)) from None


def _special_kind(mode: int) -> str:
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "neither a file nor a directory")
