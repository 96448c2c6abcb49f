"""Where the entries of an offer come to stand under a receive root, and what stands there already.

The rule is about the names a person sees: those at the top of the offer. One that is taken is a conflict,
whatever its kind, so that a transfer never mixes with what is there (`.ssh/authorized_keys` into an
existing `.ssh`) unless the user said overwrite. Below a top directory that we made ourselves nothing can be
taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tallow_cli.errors import TargetChanged, TargetExists, TargetUnwritable
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest
from tallow_cli.offer.names import SafePath, fold, numbered
from tallow_cli.store.receive_root import ReceiveRoot, Standing
from tallow_cli.store.sink import Conflict, OnConflict

_BLOCK_BYTES = 4096  # a file takes whole blocks: 10,000 files of 1 KiB need 40 MB


@dataclass(frozen=True, slots=True)
class _Top:
    """A name at the top of the offer."""

    path: SafePath
    is_directory: bool
    standing: Standing | None

    @property
    def existing_kind(self) -> str | None:
        return None if self.standing is None else self.standing.kind

    @property
    def kind(self) -> str:
        return "directory" if self.is_directory else "file"


def disk_bytes(manifest: Manifest) -> int:
    """What the files will take on the disk, in whole blocks, without their holes; 0 for a stream of unknown length."""
    return sum(-(-entry.data_bytes // _BLOCK_BYTES) * _BLOCK_BYTES for entry in manifest.entries)


def find_conflicts(
    root: ReceiveRoot, manifest: Manifest, paths: Sequence[SafePath], policy: OnConflict
) -> tuple[list[Conflict], dict[SafePath, Standing]]:
    """Names that are taken: at the top, and under OVERWRITE every file below that would be replaced; and what
    stands under those that would be replaced.

    Raises OSError.
    """
    tops = _tops(root, manifest, paths)
    names = _renamed(root, tops) if policy is OnConflict.RENAME else {}
    found = [
        Conflict(str(top.path), top.existing_kind, str(names[top.path]) if top.path in names else None)
        for top in tops
        if top.existing_kind is not None
    ]
    replaced: dict[SafePath, Standing] = {}
    if policy is OnConflict.OVERWRITE:
        replaced = _standing_at_top(tops)
        for entry, path in _below_existing(manifest, paths, tops):
            standing = root.standing(path)
            if standing is not None and not (
                standing.kind == "directory" and entry.kind is EntryKind.DIRECTORY
            ):
                found.append(Conflict(str(path), standing.kind))
                replaced[path] = standing
    return found, replaced


def place(
    root: ReceiveRoot, manifest: Manifest, paths: Sequence[SafePath], policy: OnConflict
) -> tuple[list[SafePath], dict[SafePath, Standing]]:
    """The final path of every entry, in order, and what stands under those that are to be replaced.

    Raises TargetExists, TargetUnwritable and OSError.
    """
    tops = _tops(root, manifest, paths)
    taken = [top for top in tops if top.existing_kind is not None]
    if not taken:
        return list(paths), {}
    if policy is OnConflict.REFUSE:
        raise TargetExists(root.shown(taken[0].path))
    if policy is OnConflict.RENAME:
        names = _renamed(root, tops)
        return [path.under(names[path.top]) if path.top in names else path for path in paths], {}
    for top in taken:
        _check_replaceable(root, top.path, top.kind, top.existing_kind)
    replaced = _standing_at_top(taken)
    for entry, path in _below_existing(manifest, paths, taken):
        kind = "directory" if entry.kind is EntryKind.DIRECTORY else "file"
        standing = root.standing(path)
        if standing is not None:
            _check_replaceable(root, path, kind, standing.kind)
            if standing.kind != "directory":
                replaced[path] = standing
    return list(paths), replaced


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


def _tops(root: ReceiveRoot, manifest: Manifest, paths: Sequence[SafePath]) -> list[_Top]:
    kinds: dict[SafePath, bool] = {}
    for entry, path in zip(manifest.entries, paths, strict=True):
        if len(path.components) > 1 or entry.kind is EntryKind.DIRECTORY:
            kinds[path.top] = True
        else:
            kinds[path] = False
    return [_Top(path, is_directory, root.standing(path)) for path, is_directory in kinds.items()]


def _renamed(root: ReceiveRoot, tops: Iterable[_Top]) -> dict[SafePath, SafePath]:
    """A free name for each that is taken: free on the disk, in the offer, and among the new names."""
    tops = list(tops)
    offered = {fold(top.path.name) for top in tops}
    names = {}
    for top in tops:
        if top.existing_kind is not None:
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
    manifest: Manifest, paths: Sequence[SafePath], tops: Iterable[_Top]
) -> Iterator[tuple[Entry, SafePath]]:
    """The entries that lie in a top directory which is there already."""
    merged = {top.path for top in tops if top.existing_kind == "directory" and top.is_directory}
    for entry, path in zip(manifest.entries, paths, strict=True):
        if len(path.components) > 1 and path.top in merged:
            yield entry, path


def _check_replaceable(root: ReceiveRoot, path: SafePath, kind: str, existing: str | None) -> None:
    """Files and links are replaced by files and links, directories are merged; nothing else."""
    if existing is None or (kind == "directory" and existing == "directory"):
        return
    if kind == "file" and existing in ("file", "symlink"):
        return
    raise TargetUnwritable(root.shown(path), f"a {existing} of that name is in the way of a {kind}")
