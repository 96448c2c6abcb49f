"""What is offered of what the user named: looked at when the command is given, and again when the receiver is there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tallow_cli.errors import LocalFileError, SourceMissing, SourceUnreadable, Unsendable, UsageError
from tallow_cli.offer.manifest import LeftOut, Manifest, WhyLeftOut
from tallow_cli.offer.name_rules import POSIX, NameRules
from tallow_cli.store.excludes import Excludes
from tallow_cli.store.failures import displayable
from tallow_cli.store.scan import DEFAULT_BOUND, LocalFile, NotSent, OfferBound, Scan, scan
from tallow_cli.store.snapshots import Snapshots
from tallow_cli.store.source_tree import SourceTree

_NOTHING: Final = Manifest("files", ())


class Selection:
    """`manifest`, with a LocalFile in `files` for each of its spans, and what is `left_out`.

    `excludes` are the user's patterns; with `skip_unsendable` what cannot be read, or cannot have its name at the
    receiver, is left out where it would otherwise end the transfer. Close it.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        tree: SourceTree,
        *,
        excludes: Sequence[str],
        skip_unsendable: bool,
        bound: OfferBound = DEFAULT_BOUND,
    ) -> None:
        """Nothing is looked at yet. Raises UsageError."""
        if not paths:
            raise UsageError("There is nothing to send. Name files or directories.")
        self._paths = paths
        self._tree = tree
        self._excludes = Excludes(excludes)
        self._skip_unsendable = skip_unsendable
        self._bound = bound
        self.snapshots = Snapshots()
        self.manifest = _NOTHING
        self.files: list[LocalFile] = []
        self.left_out: tuple[NotSent, ...] = ()
        self.notices: list[str] = []

    def look(self) -> None:
        """Raises SourceMissing, SourceUnreadable, Unsendable, LocalFileError, UsageError."""
        self._keep(self._scan(POSIX), fatal=(WhyLeftOut.UNREADABLE, WhyLeftOut.NAME))

    def look_again(self, names: NameRules) -> None:
        """By the receiver's rules; what vanished since the last look is left out. Raises what `look` raises."""
        # One string, and the first look forgotten before the second: a million entries take 700 MB less so.
        offered_before = "\0".join(entry.path for entry in self.manifest.entries)
        self.manifest, self.files = _NOTHING, []
        self.snapshots.close()
        self.snapshots = Snapshots()
        found = self._scan(names)
        found.left_out += _vanished(offered_before, found)
        self._keep(found, fatal=() if self._skip_unsendable else (WhyLeftOut.NAME,))

    def close(self) -> None:
        self.snapshots.close()

    def _scan(self, names: NameRules) -> Scan:
        try:
            return scan(
                self._paths,
                tree=self._tree,
                snapshots=self.snapshots,
                excludes=self._excludes,
                names=names,
                bound=self._bound,
            )
        finally:
            self._tree.close()  # a code may wait for hours; a directory must not be kept busy meanwhile

    def _keep(self, found: Scan, fatal: Sequence[WhyLeftOut]) -> None:
        """Keep what was found. Raises Unsendable or its like if something is left out for a reason in `fatal`."""
        if not self._skip_unsendable or not found.entries:
            problems = [item for item in found.left_out if item.why in fatal]
            if problems:
                raise _unsendable(problems)
        if not found.entries:
            if any(item.why.is_missed for item in found.left_out):
                raise _unsendable(found.left_out)
            raise UsageError("There is nothing to send: everything that was named is excluded.")
        counts = Counter(item.why for item in found.left_out)
        left_out = tuple(LeftOut(why, counts[why]) for why in WhyLeftOut if why in counts)
        self.manifest = Manifest("files", tuple(found.entries), left_out)
        self.files = found.files
        self.left_out = tuple(found.left_out)
        self.notices += [notice for notice in found.notices if notice not in self.notices]


def _unsendable(problems: Sequence[NotSent]) -> LocalFileError:
    if len(problems) == 1 and problems[0].why is WhyLeftOut.UNREADABLE:
        return SourceUnreadable(problems[0].path, problems[0].reason)
    if len(problems) == 1 and problems[0].why is WhyLeftOut.VANISHED:
        return SourceMissing(problems[0].path)
    return Unsendable([(item.path, item.reason) for item in problems])


def _vanished(before: str, found: Scan) -> list[NotSent]:
    """What was there at the first look and is not found now, nor left out for a reason of its own.

    Of a directory that is gone with all it held, the directory alone is named.
    """
    here = {entry.path for entry in found.entries}
    gone: set[str] = {item.offered for item in found.left_out}
    vanished = []
    for path in before.split("\0"):
        if path in here:
            continue
        if path not in gone and not _lies_in_one(path, gone):
            vanished.append(
                NotSent(
                    displayable(path), WhyLeftOut.VANISHED, "it vanished while the code was waiting", path
                )
            )
        gone.add(path)
    return vanished


def _lies_in_one(path: str, directories: set[str]) -> bool:
    end = path.rfind("/")
    while end > 0:
        if path[:end] in directories:
            return True
        end = path.rfind("/", 0, end)
    return False
