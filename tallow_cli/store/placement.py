"""Where the entries of an offer come to stand under a receive root, and what stands there already.

The rule is about the names a person sees: those at the top of the offer. One that is taken is a conflict,
whatever its kind, so that a transfer never mixes with what is there (`.ssh/authorized_keys` into an
existing `.ssh`) unless the user said so. Below a top directory that we made ourselves nothing can be
taken; what an earlier receive of the same offer made is ours as well (store.resuming), but for what others put there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tallow_cli.errors import TargetChanged, TargetExists, TargetUnwritable
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest
from tallow_cli.offer.names import SafePath, fold, numbered
from tallow_cli.ranges import RangeSet
from tallow_cli.store.receive_root import ReceiveRoot, Standing
from tallow_cli.store.resuming import Found, Ours, existing, is_as_offered
from tallow_cli.store.sink import AtHand, Conflict, OnConflict

_MERGES = (OnConflict.OVERWRITE, OnConflict.UPDATE, OnConflict.SKIP)  # directories with what is in them
_KEEPS = (OnConflict.UPDATE, OnConflict.SKIP)  # what is there and as it is offered
_BLOCK_BYTES = 4096  # a file takes whole blocks: 10,000 files of 1 KiB need 40 MB


@dataclass(frozen=True, slots=True)
class _Top:
    """A name at the top of the offer."""

    path: SafePath
    entry: Entry | None  # None for a directory
    standing: Standing | None
    is_ours: bool

    @property
    def is_directory(self) -> bool:
        return self.entry is None

    @property
    def is_taken(self) -> bool:
        return self.standing is not None and not self.is_ours

    @property
    def existing_kind(self) -> str | None:
        return None if self.standing is None else self.standing.kind

    @property
    def kind(self) -> str:
        return "directory" if self.is_directory else "file"


def disk_bytes(manifest: Manifest) -> int:
    """What the files will take on the disk, in whole blocks, without their holes; 0 for a stream of unknown length."""
    return sum(-(-entry.data_bytes // _BLOCK_BYTES) * _BLOCK_BYTES for entry in manifest.entries)


@dataclass(slots=True)
class Placement:
    """Where everything goes."""

    paths: Sequence[SafePath]  # one per entry
    replaced: dict[SafePath, Standing]  # what stands where something comes, and may go
    renamed: dict[SafePath, SafePath] = field(default_factory=dict)  # tops
    kept: RangeSet = field(default_factory=RangeSet)  # of file indexes: those that stay as they are
    found: dict[int, Found] = field(default_factory=dict)  # what is there, by file index

    def at_hand(self, manifest: Manifest) -> AtHand:
        """What of the offer is there, as far as it can be told without reading it."""
        spans = manifest.file_spans
        others = [found for found in self.found.values() if found.standing is not None and not found.is_ours]
        return AtHand(
            resumed_bytes=sum(found.left_bytes for found in self.found.values()),
            kept_files=self.kept.total,
            kept_bytes=sum(spans[index].size for start, end in self.kept for index in range(start, end)),
            compared_files=len(others),
            compared_bytes=sum(found.claims().total - found.left_bytes for found in others),
        )


def find_conflicts(
    root: ReceiveRoot, manifest: Manifest, ours: Ours, policy: OnConflict
) -> tuple[list[Conflict], dict[SafePath, Standing]]:
    """Names that are taken, at the top and below what is merged; and what stands under those that may be replaced.

    Under SKIP and UPDATE what has the size and the time of what is offered is no conflict. Raises OSError.
    """
    tops = _tops(root, manifest, ours)
    names = _renamed(root, tops) if policy is OnConflict.RENAME else {}
    found = [
        Conflict(str(top.path), top.existing_kind, str(names[top.path]) if top.path in names else None)
        for top in tops
        if top.is_taken
        and top.existing_kind is not None
        and not (policy in _KEEPS and top.is_directory and top.existing_kind == "directory")
        and not (policy in _KEEPS and _stays(root, top.entry, top.path, top.standing))
    ]
    if policy is OnConflict.RENAME:
        return found, {}
    replaced = dict(ours.published)
    if policy in _MERGES:
        replaced |= _standing_at_top(tops)
    for entry, path in _below_existing(manifest, ours.paths, tops, policy):
        standing = root.standing(path)
        if standing is None or standing == ours.published.get(path) or _is_merged(entry, standing):
            continue
        replaced[path] = standing
        if not (policy in _KEEPS and _stays(root, entry, path, standing)):
            found.append(Conflict(str(path), standing.kind))
    return found, replaced


def place(root: ReceiveRoot, manifest: Manifest, ours: Ours, policy: OnConflict) -> Placement:
    """Where every entry goes, and what is there. Raises TargetExists, TargetUnwritable and OSError."""
    tops = _tops(root, manifest, ours)
    taken = [top for top in tops if top.is_taken]
    placement = Placement(ours.paths, dict(ours.published), found=dict(ours.files))
    if not taken and not any(top.is_ours for top in tops):
        return placement
    if policy is OnConflict.RENAME:
        names = _renamed(root, tops)
        placement.renamed = names
        placement.paths = [path.under(names[path.top]) if path.top in names else path for path in ours.paths]
        return placement
    if policy is OnConflict.REFUSE and taken:
        raise TargetExists(root.shown(taken[0].path))
    for top in taken:
        _check_replaceable(root, top.path, top.kind, top.existing_kind)
    for entry, path in _below_existing(manifest, ours.paths, tops, policy, with_tops=True):
        standing = root.standing(path)
        if standing is None or standing == ours.published.get(path) or _is_merged(entry, standing):
            continue
        if policy is OnConflict.REFUSE and not _points_there(root, entry, path, standing):
            raise TargetExists(root.shown(path))
        kind = "directory" if entry.kind is EntryKind.DIRECTORY else "file"
        _check_replaceable(root, path, kind, standing.kind)
        if policy is OnConflict.SKIP and not _stays(root, entry, path, standing):
            raise TargetExists(root.shown(path))
        placement.replaced[path] = standing
    if policy in _KEEPS:
        _keep(manifest, placement, policy)
    return placement


def _keep(manifest: Manifest, placement: Placement, policy: OnConflict) -> None:
    """What stands there is kept, or has some of what is offered."""
    for span in manifest.file_spans:
        standing = placement.replaced.get(placement.paths[span.entry_index])
        if standing is None or standing.kind != "file":
            continue
        if policy is OnConflict.SKIP and is_as_offered(span.entry, standing):
            placement.kept.add(span.index, span.index + 1)
            placement.found.pop(span.index, None)
            continue
        there = placement.found.get(span.index)
        if there is None:
            placement.found[span.index] = existing(span, standing, is_ours=False)
        elif there.standing is None:
            at_hand = existing(span, standing, is_ours=False)
            there.standing, there.standing_ranges = standing, at_hand.standing_ranges


def _stays(root: ReceiveRoot, entry: Entry | None, path: SafePath, standing: Standing | None) -> bool:
    """Whether what stands there has every sign of what is offered."""
    if entry is None or standing is None:
        return False
    if entry.kind is EntryKind.FILE:
        return is_as_offered(entry, standing)
    return _points_there(root, entry, path, standing)


def _points_there(root: ReceiveRoot, entry: Entry, path: SafePath, standing: Standing) -> bool:
    """Whether it is the very link that is offered."""
    return (
        entry.kind is EntryKind.SYMLINK
        and standing.kind == "symlink"
        and root.filesystem.readlink(root.parent(path), path.name) == entry.target
    )


def _is_merged(entry: Entry, standing: Standing) -> bool:
    return standing.kind == "directory" and entry.kind is EntryKind.DIRECTORY


def check_agreed(
    root: ReceiveRoot, agreed: Mapping[SafePath, Standing], replaced: Mapping[SafePath, Standing]
) -> None:
    """Raises TargetChanged if anything in `replaced` was made or changed since `agreed` was found."""
    for path, standing in replaced.items():
        if agreed.get(path) != standing:
            raise TargetChanged(root.shown(path))


def _standing_at_top(tops: Iterable[_Top]) -> dict[SafePath, Standing]:
    """What is there and no directory: those are merged."""
    return {
        top.path: top.standing
        for top in tops
        if top.standing is not None and top.standing.kind != "directory"
    }


def _tops(root: ReceiveRoot, manifest: Manifest, ours: Ours) -> list[_Top]:
    kinds: dict[SafePath, Entry | None] = {}
    for entry, path in zip(manifest.entries, ours.paths, strict=True):
        if len(path.components) > 1 or entry.kind is EntryKind.DIRECTORY:
            kinds[path.top] = None
        else:
            kinds[path] = entry
    tops = []
    for path, file in kinds.items():
        standing = root.standing(path)
        is_ours = False
        if standing is not None and ours.is_related:
            if file is None:
                is_ours = standing.kind == "directory" and path.name in ours.tops
            else:
                is_ours = standing == ours.published.get(path) or _points_there(root, file, path, standing)
        tops.append(_Top(path, file, standing, is_ours))
    return tops


def _renamed(root: ReceiveRoot, tops: Iterable[_Top]) -> dict[SafePath, SafePath]:
    """A free name for each that is taken: free on the disk, in the offer, and among the new names."""
    tops = list(tops)
    offered = {fold(top.path.name) for top in tops}
    names = {}
    for top in tops:
        if top.is_taken:
            new = next_free(top.path, top.is_directory, lambda path: _is_free(root, path, offered))
            offered.add(fold(new.name))
            names[top.path] = new
    return names


def _is_free(root: ReceiveRoot, path: SafePath, offered: set[str]) -> bool:
    return fold(path.name) not in offered and root.existing_kind(path) is None


def next_free(path: SafePath, is_directory: bool, is_free: Callable[[SafePath], bool]) -> SafePath:
    """`name (1)`, `name (2)`, …: the first that `is_free`."""
    candidates = (numbered(path, number, is_directory=is_directory) for number in itertools.count(1))
    return next(filter(is_free, candidates))


def _below_existing(
    manifest: Manifest,
    paths: Sequence[SafePath],
    tops: Iterable[_Top],
    policy: OnConflict,
    *,
    with_tops: bool = False,
) -> Iterator[tuple[Entry, SafePath]]:
    """The entries that lie in a top directory which is there already, and will be used; `with_tops`: or are at the top,
    and what stands there is not a directory.
    """
    merged = {
        top.path
        for top in tops
        if top.existing_kind == "directory" and top.is_directory and (top.is_ours or policy in _MERGES)
    }
    taken = {top.path for top in tops if with_tops and top.is_taken and not top.is_directory}
    for entry, path in zip(manifest.entries, paths, strict=True):
        if (path.top in merged) if len(path.components) > 1 else (path in taken):
            yield entry, path


def _check_replaceable(root: ReceiveRoot, path: SafePath, kind: str, existing: str | None) -> None:
    """Files and links are replaced by files and links, directories are merged; nothing else."""
    if existing is None or (kind == "directory" and existing == "directory"):
        return
    if kind == "file" and existing in ("file", "symlink"):
        return
    raise TargetUnwritable(root.shown(path), f"a {existing} of that name is in the way of a {kind}")
