"""The directories and links of a received tree: made, given their modes and times, made durable, cleared
away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tallow_cli.errors import TargetExists
from tallow_cli.offer.manifest import PERMISSION_BITS, Entry, EntryKind
from tallow_cli.offer.names import SafePath
from tallow_cli.store.filesystem import NOT_SUPPORTED
from tallow_cli.store.receive_root import ReceiveRoot, Standing, temporary_name
from tallow_cli.store.syncing import sync_directories

OWNER_BITS: Final = 0o700  # whatever the peer says, the owner can look into a directory and clear it away


def _need_parents(path: SafePath, needed: dict[SafePath, None]) -> None:
    """The directories that `path` lies in, from the top down; those above one that is known are known."""
    missing = []
    above = path.directory
    while above is not None and above not in needed:
        missing.append(above)
        above = above.directory
    needed.update(dict.fromkeys(reversed(missing)))


class ReceivedTree:
    """What of the offer is not a file. All methods raise OSError unless they say otherwise."""

    def __init__(self, root: ReceiveRoot, entries: Sequence[Entry], paths: Sequence[SafePath]) -> None:
        self._root = root
        self._directories = [
            (entry, path)
            for entry, path in zip(entries, paths, strict=True)
            if entry.kind is EntryKind.DIRECTORY
        ]
        self._links = [
            (entry, path)
            for entry, path in zip(entries, paths, strict=True)
            if entry.kind is EntryKind.SYMLINK
        ]
        needed: dict[SafePath, None] = {}
        for entry, path in zip(entries, paths, strict=True):
            _need_parents(path, needed)
            if entry.kind is EntryKind.DIRECTORY:
                needed[path] = None
        self._needed = list(needed)  # parents before children
        self._made: dict[SafePath, None] = {}

    @property
    def has_links(self) -> bool:
        return bool(self._links)

    def make_directories(
        self, *, merges: Callable[[SafePath], bool], is_ours: Callable[[SafePath], bool]
    ) -> list[SafePath]:
        """Make every directory, and return those that were made. One that is there already is used where it `merges`,
        else FileExistsError; where it `is_ours` an earlier receive of the same offer made it.
        """
        made = []
        for path in self._needed:
            try:
                self._root.filesystem.make_directory(self._root.parent(path), path.name)
                self._made[path] = None
                made.append(path)
            except FileExistsError:
                if not merges(path):
                    raise
                self._root.itself(path)  # a directory, not a link to one
                if is_ours(path):
                    self._made[path] = None
        return made

    def make_links(self, replaced: Mapping[SafePath, Standing]) -> list[str]:
        """Make the symbolic links, when everything they may point to is there.

        Nothing is replaced but what is in `replaced`, if it still stands there. Raises TargetExists, TargetChanged.
        Returns a sentence for each that this file system cannot have.
        """
        notices = []
        filesystem = self._root.filesystem
        for entry, path in self._links:
            directory = self._root.parent(path)
            standing = replaced.get(path)
            if self._is_there(entry, path):  # made by an earlier attempt
                continue
            name = path.name if standing is None else temporary_name(self._root.token)
            try:
                filesystem.symlink(entry.target or "", directory, name)
            except FileExistsError:
                raise TargetExists(self._root.shown(path)) from None
            except (OSError, NotImplementedError) as problem:
                if isinstance(problem, OSError) and problem.errno not in NOT_SUPPORTED:
                    raise
                notices.append(f"{self._root.shown(path)} was not made: symbolic links cannot be made here")
                continue
            if standing is not None:
                try:
                    self._root.publish(path, name, None, replaces=standing)
                except BaseException:
                    with contextlib.suppress(OSError):
                        filesystem.unlink(directory, name)
                    raise
        return notices

    def _is_there(self, entry: Entry, path: SafePath) -> bool:
        if self._root.existing_kind(path) != "symlink":
            return False
        return self._root.filesystem.readlink(self._root.parent(path), path.name) == entry.target

    def tops(self) -> tuple[list[str], list[str]]:
        """The directories at the top: those that are to be made, and those that are there."""
        to_make: list[str] = []
        there: list[str] = []
        for path in self._needed:
            if len(path.components) == 1:
                (there if self._root.standing(path) else to_make).append(path.name)
        return to_make, there

    def settle(self, allowed_bits: int) -> bool:
        """Give the directories that we made their modes and times, and sync every directory that changed.

        `allowed_bits` are the permissions that new files get here. Returns False if this file system does not keep
        modes and times.
        """
        kept = self._set_attributes(allowed_bits)
        sync_directories(self._root, self._needed)
        return kept

    def _set_attributes(self, allowed_bits: int) -> bool:
        kept = True
        for entry, path in reversed(self._directories):  # a name made in a directory changes its time
            if path in self._made:
                mode = (entry.mode & PERMISSION_BITS & allowed_bits) | OWNER_BITS
                try:
                    self._root.filesystem.set_directory_attributes(
                        self._root.itself(path), mode, entry.mtime_ns
                    )
                except OSError as problem:
                    if problem.errno not in NOT_SUPPORTED:
                        raise
                    kept = False
        return kept

    def suspend(self, allowed_bits: int) -> None:
        """Leave the directories to the next receive of the same things, usable meanwhile. Never raises."""
        with contextlib.suppress(OSError):
            self.settle(allowed_bits)

    def give_up(self, allowed_bits: int) -> None:
        """Remove the directories that we made and that are empty; the others get what `settle` gives them.

        Never raises for what cannot be done.
        """
        for path in reversed(list(self._made)):
            with contextlib.suppress(OSError):
                self._root.filesystem.remove_directory(self._root.parent(path), path.name)
                del self._made[path]
        self._needed = [path for path in self._needed if path in self._made]
        if self._made:
            with contextlib.suppress(OSError):
                self.settle(allowed_bits)
        self._made.clear()
