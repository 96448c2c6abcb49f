"""What of an offer lies at the destination already: left by an earlier receive of the same things, or simply there.

Whatever is found is claimed, and proven before it counts (Sink.prove). An earlier receive's file is known by its path,
size, time and layout; a file that it published by its inode as well: one that was changed since is not ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from tallow_cli.offer.manifest import Entry, FileSpan, Manifest
from tallow_cli.offer.names import SafePath, numbered
from tallow_cli.ranges import RangeSet
from tallow_cli.store import leftovers
from tallow_cli.store.failures import is_gone
from tallow_cli.store.journal import JournaledFile
from tallow_cli.store.journaling import holes_of, path_of
from tallow_cli.store.leftovers import DeadReceive, Swept
from tallow_cli.store.partial import PartialFile, is_ours_alone
from tallow_cli.store.receive_root import TEMPORARY_PREFIX, ReceiveRoot, Standing

T = TypeVar("T")

_MOST_NUMBERS: Final = 1000  # of "name (1)" to look through; nobody has more
# What file systems round times to: 100 ns (NTFS), a microsecond, a second (ext3, many archives), two (FAT).
_GRAINS_NS: Final = (1, 100, 1_000, 1_000_000_000, 2_000_000_000)


@dataclass(slots=True)
class Found:
    """What there is of one file."""

    temporary: str | None = None  # that an earlier receive left
    ranges: RangeSet = field(default_factory=RangeSet)  # of the data that it claims to have
    standing: Standing | None = None  # under the final name
    standing_ranges: RangeSet = field(default_factory=RangeSet)  # that this may have
    number: int = -1  # in the journal that is gone on with
    is_ours: bool = False  # an earlier receive made what stands there
    disk_bytes: int = 0  # that it takes already

    def give(self, partial: PartialFile) -> None:
        """Let the file begin with it."""
        if self.temporary is not None:
            partial.adopt(self.temporary, self.ranges)
            partial.number = self.number
        if self.standing is not None:
            partial.build_on(self.standing, self.standing_ranges, is_ours=self.is_ours)

    @property
    def left_bytes(self) -> int:
        """Of its data, what an earlier receive left."""
        return (self.claims() if self.is_ours else self.ranges).total

    def claims(self) -> RangeSet:
        """Of its data, what is to be proven."""
        return RangeSet([*self.ranges, *self.standing_ranges])


@dataclass(slots=True)
class Ours:
    """What an earlier receive made of the same offer."""

    paths: Sequence[SafePath]  # where the entries are received: as they were then
    dead: DeadReceive | None = None
    files: dict[int, Found] = field(default_factory=dict)  # by file index
    published: dict[SafePath, Standing] = field(default_factory=dict)
    tops: frozenset[str] = frozenset()  # directories that it made
    renamed: Mapping[SafePath, SafePath] = field(default_factory=dict)
    made: frozenset[bytes] = frozenset()  # directories in those that were there
    is_related: bool = False  # it has to do with this offer, even if nothing of it is of use

    @property
    def bytes(self) -> int:
        return sum(found.claims().total for found in self.files.values())


class EarlierReceives:
    """Those into one root that are no longer alive. Release them."""

    def __init__(self, root: ReceiveRoot, now_s: float) -> None:
        """Removes what cannot be gone on with; `swept` says what. `now_s` is since the epoch."""
        self._root = root
        self.swept: Swept
        self.swept, self._dead = leftovers.survey(root, now_s)

    def swept_sentence(self) -> str | None:
        """What was removed, for people; None if nothing was. Once."""
        swept, self.swept = self.swept, Swept()
        return leftovers.sentence(swept, self._root.path) if swept.files else None

    def best(self, manifest: Manifest, paths: Sequence[SafePath], *, renames: bool, resume: bool) -> Ours:
        """The one that has most of an offer. `renames`: names that were taken then have the names they got then.

        Unless `resume`, those that have to do with it are removed.
        """
        matches = []
        for dead in self._dead:
            match = _match(self._root, dead, manifest, paths, renames=renames)
            if match.is_related:
                matches.append(match)
        if not resume:
            for match in matches:
                self._remove(match)
            matches = []
        return max(matches, key=lambda match: match.bytes, default=Ours(paths))

    def choose(self, ours: Ours, manifest: Manifest, paths: Sequence[SafePath], *, renames: bool) -> None:
        """Go on with `ours`: others that have to do with the same offer are in its way, and are removed."""
        for dead in list(self._dead):
            if dead is ours.dead:
                self._dead.remove(dead)
                continue
            match = _match(self._root, dead, manifest, paths, renames=renames)
            if match.is_related:
                self._remove(match)

    def _remove(self, match: Ours) -> None:
        if match.dead is not None:
            self._dead.remove(match.dead)
            leftovers.sweep(self._root, match.dead, self.swept)

    def release(self) -> None:
        """Leave those that were not chosen to the next receive."""
        for dead in self._dead:
            dead.release(self._root.filesystem)
        self._dead.clear()


def _match(
    root: ReceiveRoot, dead: DeadReceive, manifest: Manifest, paths: Sequence[SafePath], *, renames: bool
) -> Ours:
    contents = dead.contents
    renamed = _renamed(contents.renamed, paths) if renames and contents.renamed else {}
    local = [path.under(renamed[path.top]) if path.top in renamed else path for path in paths]
    by_path = {path_of(local[span.entry_index]): span for span in manifest.file_spans}
    ours = Ours(local, dead, tops=frozenset(dead.made), renamed=renamed, made=frozenset(contents.made))
    ours.is_related = any(path.top.name in dead.made for path in local)
    for number, file in contents.files.items():
        span = by_path.get(file.opened.path)
        if span is None:
            continue
        ours.is_related = True
        found = _find(root, dead.token, number, file, span, local[span.entry_index])
        if found is None:
            continue
        path, what = found
        if path != local[span.entry_index]:
            local[span.entry_index] = path
        ours.files[span.index] = what
        if what.standing is not None:
            ours.published[path] = what.standing
    return ours


def _renamed(recorded: Mapping[bytes, bytes], paths: Sequence[SafePath]) -> dict[SafePath, SafePath]:
    """The tops that were received under another name, and that name."""
    found = {}
    for path in dict.fromkeys(path.top for path in paths):
        wanted = recorded.get(path_of(path))
        if wanted is not None:
            new = _numbered(path, wanted)
            if new is not None:
                found[path] = new
    return found


def _numbered(path: SafePath, wanted: bytes) -> SafePath | None:
    """The `name (1)` that a journal means, as a name that passed the rules."""
    for number in range(1, _MOST_NUMBERS):
        for is_directory in (True, False):
            candidate = numbered(path, number, is_directory=is_directory)
            if path_of(candidate) == wanted:
                return candidate
    return None


def _find(
    root: ReceiveRoot, token: str, number: int, file: JournaledFile, span: FileSpan, path: SafePath
) -> tuple[SafePath, Found] | None:
    """What is left of one file, and where it stands or is to stand. Raises OSError."""
    opened = file.opened
    is_same = (opened.size, opened.mtime_ns, opened.holes) == (
        span.entry.size,
        span.entry.mtime_ns,
        holes_of(span.entry),
    )
    name = f"{TEMPORARY_PREFIX}{token}-{opened.temporary.hex()}.part"
    status = _status(root, path, name)
    if status is not None:
        if not (is_same and is_ours_alone(status)):
            return None
        ranges = file.ranges()
        end = span.size if span.entry.packed_holes else min(span.size, status.st_size)
        ranges.remove(end, 2**64)
        disk_bytes = getattr(status, "st_blocks", 0) * 512
        return path, Found(name, ranges, number=number, disk_bytes=disk_bytes)
    if file.named is not None:
        other = _numbered(path, file.named)
        if other is None:
            return None
        path = other
    standing = _standing(root, path)
    if standing is None or standing.kind != "file":
        return None
    signs = (standing.device, standing.inode, standing.size)
    if signs != (opened.device, opened.inode, opened.size) or not same_time(
        standing.mtime_ns, opened.mtime_ns
    ):
        return None
    return path, existing(span, standing, is_ours=True)


def existing(span: FileSpan, standing: Standing, *, is_ours: bool) -> Found:
    """Claim what a regular file under the final name may have of a file."""
    end = span.size if span.entry.packed_holes else min(span.size, standing.size)
    return Found(
        standing=standing,
        standing_ranges=RangeSet([(0, end)]),
        is_ours=is_ours,
        disk_bytes=min(standing.size, span.entry.size),
    )


def is_as_offered(entry: Entry, standing: Standing) -> bool:
    """Whether what stands there has the size and the time of what is offered."""
    return (
        standing.kind == "file"
        and standing.size == entry.size
        and same_time(standing.mtime_ns, entry.mtime_ns)
    )


def same_time(found_ns: int, wanted_ns: int) -> bool:
    """Whether this is the time that was set, as far as a file system keeps it."""
    return any(found_ns == wanted_ns // grain * grain for grain in _GRAINS_NS)


def _status(root: ReceiveRoot, path: SafePath, name: str) -> os.stat_result | None:
    return _unless_gone(lambda: root.filesystem.stat(root.parent(path), name))


def _standing(root: ReceiveRoot, path: SafePath) -> Standing | None:
    return _unless_gone(lambda: root.standing(path))


def _unless_gone(look: Callable[[], T | None]) -> T | None:
    """None where the directory is not there, or is none. Raises OSError."""
    try:
        return look()
    except OSError as problem:
        if not is_gone(problem):
            raise
        return None
