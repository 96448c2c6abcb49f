"""Looking at what the user named, before anything is offered: which entries there are, and what is left out.

As `rsync -a` does: a link named by the user is followed; a link inside a directory is sent as a link where it leads to
something in that directory, and left out otherwise; devices, pipes and sockets are left out. What is left out is told.
What cannot be read, or cannot have its name where it goes, is collected: whoever asked decides what that means.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallow_cli.errors import LocalFileError, SourceUnreadable
from tallow_cli.offer.manifest import (
    MAX_ABS_MTIME_NS,
    MAX_ENTRIES,
    MAX_HOLES,
    MAX_MANIFEST_BYTES,
    MAX_TOTAL_BYTES,
    PERMISSION_BITS,
    Entry,
    EntryKind,
    WhyLeftOut,
    encoded_entry_bytes,
    pack_holes,
)
from tallow_cli.offer.name_rules import POSIX, NameRules
from tallow_cli.offer.names import ForbiddenName, NameChecker, NameRule
from tallow_cli.store.arguments import Argument, named
from tallow_cli.store.excludes import Excludes
from tallow_cli.store.failures import displayable, is_gone, reason
from tallow_cli.store.holes import find_holes, looks_sparse
from tallow_cli.store.link_targets import link_target
from tallow_cli.store.snapshots import EndlessFile, Snapshot, Snapshots
from tallow_cli.store.source_tree import Identity, SourceDirectory, SourceTree

_KINDS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# Room for what stands around the entries in an offer, what was left out among it.
_OFFER_HEAD_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A FILE entry's place on this machine, and what it was when it was offered."""

    directory: SourceDirectory | None  # None: `name` is a path that the user typed
    name: str
    size: int
    mtime_ns: int
    identity: Identity
    snapshot: Snapshot | None = None  # the copy to send in its place

    @property
    def path(self) -> str:
        """For people."""
        return self.name if self.directory is None else os.path.join(self.directory.path, self.name)


@dataclass(frozen=True, slots=True)
class NotSent:
    """Something that the user named, or that lies in it, and that does not go. Both texts are for people."""

    path: str
    why: WhyLeftOut
    reason: str  # to stand behind "because": "it is a pipe"
    offered: str = ""  # the path it would have been offered under


@dataclass(slots=True)
class Scan:
    """What was found: `files` has one LocalFile per FILE entry, in order."""

    entries: list[Entry] = field(default_factory=list)
    files: list[LocalFile] = field(default_factory=list)
    left_out: list[NotSent] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


class OfferBound(NamedTuple):
    """What fits into one offer."""

    entries: int = MAX_ENTRIES
    manifest_bytes: int = MAX_MANIFEST_BYTES


DEFAULT_BOUND: Final = OfferBound()


def scan(
    paths: Iterable[str | os.PathLike[str]],
    *,
    tree: SourceTree,
    snapshots: Snapshots,
    excludes: Excludes | None = None,
    names: NameRules = POSIX,
    bound: OfferBound = DEFAULT_BOUND,
) -> Scan:
    """Look at files and whole directories, in the order given; inside a directory by name.

    `names` are the rules of the place it goes to. Raises SourceMissing and SourceUnreadable for arguments, UsageError
    for one without a name, LocalFileError for more than fits into one offer.
    """
    scanner = _Scanner(tree, snapshots, excludes or Excludes(), names, bound)
    arguments, scanner.found.notices = named([os.fspath(path) for path in paths])
    for argument in arguments:
        scanner.add_argument(argument)
    return scanner.found


class _Scanner:
    def __init__(
        self,
        tree: SourceTree,
        snapshots: Snapshots,
        excludes: Excludes,
        names: NameRules,
        bound: OfferBound,
    ) -> None:
        self._bound = bound
        self.found = Scan()
        self._tree = tree
        self._snapshots = snapshots
        self._excludes = excludes
        self._rules = names
        self._names = NameChecker(names)
        self._total = 0
        self._offer_bytes = _OFFER_HEAD_BYTES
        self._holes_left = MAX_HOLES

    def add_argument(self, argument: Argument) -> None:
        status, shown = argument.status, displayable(argument.path)
        is_directory = stat.S_ISDIR(status.st_mode)
        if self._excludes.match(argument.name, is_directory=is_directory):
            self._leave_out(shown, WhyLeftOut.EXCLUDED, "--exclude names it", argument.name)
        elif is_directory:
            self._add_top(argument, shown)
        elif stat.S_ISREG(status.st_mode):
            self._add_file(None, argument.real_path, argument.name, status, shown)
        else:
            what = _special_kind(status.st_mode)
            raise SourceUnreadable(shown, f"it is {what}; send its contents with `-`")

    def _add_top(self, argument: Argument, shown: str) -> None:
        """A directory and all below it, without recursion: depth is the sender's disk's business."""
        if not self._take(shown, _entry(argument.name, EntryKind.DIRECTORY, argument.status)):
            return
        identity = argument.status.st_dev, argument.status.st_ino
        try:
            top = self._tree.top(argument.real_path, identity)
            waiting = self._add_contents(top, argument.name, argument.real_path)
        except OSError as problem:
            self._leave_out_for(problem, shown, argument.name)
            return
        while waiting:
            directory, offered = waiting.pop()
            try:
                waiting += self._add_contents(directory, offered, argument.real_path)
            except OSError as problem:
                self._leave_out_for(problem, displayable(directory.path), offered)

    def _add_contents(
        self, directory: SourceDirectory, prefix: str, top_path: str
    ) -> list[tuple[SourceDirectory, str]]:
        """What lies in one directory. Returns the directories below, last first. Raises OSError."""
        below = []
        for name in self._tree.names(directory):
            offered = f"{prefix}/{name}"
            status = self._tree.status(directory, name)
            shown = _shown(directory, name)
            if status is None:
                self._leave_out(shown, WhyLeftOut.VANISHED, "it vanished", offered)
            elif self._excludes.match(offered, is_directory=stat.S_ISDIR(status.st_mode)):
                self._leave_out(shown, WhyLeftOut.EXCLUDED, "--exclude names it", offered)
            elif stat.S_ISLNK(status.st_mode):
                self._add_link(directory, name, offered, status, top_path)
            elif stat.S_ISDIR(status.st_mode):
                if self._take(shown, _entry(offered, EntryKind.DIRECTORY, status)):
                    below.append((SourceDirectory(name, _identity(status), directory), offered))
            elif stat.S_ISREG(status.st_mode):
                self._add_file(directory, name, offered, status, shown)
            else:
                what = _special_kind(status.st_mode)
                self._leave_out(shown, WhyLeftOut.SPECIAL, f"it is {what}", offered)
        below.reverse()
        return below

    def _add_file(
        self, directory: SourceDirectory | None, name: str, offered: str, status: os.stat_result, shown: str
    ) -> None:
        readable = os.access(name, os.R_OK) if directory is None else self._tree.is_readable(directory, name)
        if not readable:
            self._leave_out(shown, WhyLeftOut.UNREADABLE, "no permission", offered)
            return
        file = LocalFile(directory, name, status.st_size, status.st_mtime_ns, _identity(status))
        entry = _entry(offered, EntryKind.FILE, status)
        if _size_is_doubtful(status) or looks_sparse(status):
            try:
                file, entry = self._looked_into(file, entry, status)
            except EndlessFile:
                why = "it has no end that could be found; pipe what you want of it into `tallow send -`"
                self._leave_out(shown, WhyLeftOut.UNREADABLE, why, offered)
                return
            except OSError as problem:
                self._leave_out_for(problem, shown, offered)
                return
        if not self._take(shown, entry):
            return
        self._holes_left -= len(entry.holes)
        self._total += entry.size
        if self._total > MAX_TOTAL_BYTES:
            raise LocalFileError(f"{self._total:,} bytes are too many for one transfer. Send less at a time.")
        self.found.files.append(file)

    def _looked_into(self, file: LocalFile, entry: Entry, status: os.stat_result) -> tuple[LocalFile, Entry]:
        """For a file whose size is not the whole truth. Raises EndlessFile, OSError."""
        fd = self._tree.open_file(file.directory, file.name, file.identity)
        try:
            if not _size_is_doubtful(status):
                holes = find_holes(fd, status.st_size, self._holes_left)
                return file, _entry(entry.path, EntryKind.FILE, status, holes=holes)
            snapshot = self._snapshots.take(fd)
        finally:
            os.close(fd)
        if snapshot.size == status.st_size:  # it told the truth
            return file, entry
        copied = LocalFile(file.directory, file.name, snapshot.size, file.mtime_ns, file.identity, snapshot)
        return copied, _entry(entry.path, EntryKind.FILE, status, size=snapshot.size)

    def _add_link(
        self, directory: SourceDirectory, name: str, offered: str, status: os.stat_result, top_path: str
    ) -> None:
        shown = _shown(directory, name)
        try:
            text = self._tree.link_target(directory, name)
        except OSError as problem:
            self._leave_out_for(problem, shown, offered)
            return
        target = link_target(top_path, directory.path, text)
        if target is None:
            to = displayable(text)
            why = f"it is a symbolic link to {to}, which is not in the directory that is sent"
            self._leave_out(shown, WhyLeftOut.LINK, why, offered)
        else:
            self._take(shown, _entry(offered, EntryKind.SYMLINK, status, target=target))

    def _take(self, shown: str, entry: Entry) -> bool:
        """Apply the receiver's rules, so that an offer is never refused for a name."""
        try:
            self._names.check(entry)
        except ForbiddenName as broken:
            self._leave_out(shown, WhyLeftOut.NAME, _explain(broken, self._rules), entry.path)
            return False
        self._offer_bytes += encoded_entry_bytes(entry)
        if len(self.found.entries) == self._bound.entries:
            raise LocalFileError(f"More than {self._bound.entries:,} files and directories {_TOO_MUCH}")
        if self._offer_bytes > self._bound.manifest_bytes:
            raise LocalFileError(f"Names of more than {self._bound.manifest_bytes >> 20} MiB {_TOO_MUCH}")
        self.found.entries.append(entry)
        return True

    def _leave_out_for(self, problem: OSError, shown: str, offered: str) -> None:
        if is_gone(problem):
            self._leave_out(shown, WhyLeftOut.VANISHED, "it vanished while it was looked at", offered)
        else:
            self._leave_out(shown, WhyLeftOut.UNREADABLE, reason(problem), offered)

    def _leave_out(self, shown: str, why: WhyLeftOut, because: str, offered: str) -> None:
        self.found.left_out.append(NotSent(shown, why, because, offered))


_TOO_MUCH: Final = (
    "are too many for one transfer. Send them in parts, leave some out with --exclude, "
    "or pack them: tar c DIRECTORY | tallow send -"
)


def _explain(broken: ForbiddenName, rules: NameRules) -> str:
    if broken.rule is NameRule.COLLISION and broken.other is not None:
        return f"it differs from {displayable(broken.other)} only in case or Unicode form, which are one file there"
    if broken.rule is NameRule.FORBIDDEN:
        found = sorted(set(broken.name) & set(rules.forbids))
        return f"no name there may contain {' '.join(found)}"
    return broken.rule.explanation


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _shown(directory: SourceDirectory, name: str) -> str:
    return displayable(os.path.join(directory.path, name))


def _size_is_doubtful(status: os.stat_result) -> bool:
    """Whether only reading tells how long it is: what claims to be empty, and /sys, where all are one page long."""
    if status.st_size == 0:
        return True
    return status.st_size == mmap.PAGESIZE and getattr(status, "st_blocks", 1) == 0


def _entry(
    name: str,
    kind: EntryKind,
    status: os.stat_result,
    target: str | None = None,
    holes: Sequence[tuple[int, int]] = (),
    size: int | None = None,
) -> Entry:
    if size is None:
        size = status.st_size if kind is EntryKind.FILE else 0
    mtime_ns = min(max(status.st_mtime_ns, -MAX_ABS_MTIME_NS), MAX_ABS_MTIME_NS)
    return Entry(name, kind, size, status.st_mode & PERMISSION_BITS, mtime_ns, target, pack_holes(holes))


def _special_kind(mode: int) -> str:
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "neither a file nor a directory")
