"""An offer, and what is not in it, as events. Their texts are the peer's, or names from a disk: untrusted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tallow_cli.offer.manifest import Entry, Manifest
from tallow_cli.session.events import LeftOut, LeftOutItem, Offered, OfferedEntry
from tallow_cli.store.failures import displayable
from tallow_cli.store.scan import NotSent
from tallow_cli.transfer.messages import Why

_WITHDRAWN: Final = {
    Why.VANISHED: "it vanished before it was sent",
    Why.UNREADABLE: "it could not be read",
    Why.CHANGED: "it was changed while it was sent",
}


def describe(manifest: Manifest) -> Offered:
    """The offer. Takes a second for a million entries."""
    return Offered(
        kind=manifest.kind,
        entries=tuple(map(described, manifest.entries)),
        total_bytes=manifest.total_bytes,
        hole_bytes=manifest.hole_bytes,
        left_out={group.why.value: group.count for group in manifest.left_out},
    )


def described(entry: Entry) -> OfferedEntry:
    """One entry of it."""
    return OfferedEntry(
        displayable(entry.path),
        entry.kind.value,
        entry.size,
        None if entry.target is None else displayable(entry.target),
    )


def hole_bytes(manifest: Manifest, file_index: int) -> int:
    """How much of one file is empty space."""
    entry = manifest.file_spans[file_index].entry
    return entry.size - entry.data_bytes


def left_out(items: Iterable[NotSent]) -> LeftOut:
    """What the sender does not offer."""
    return LeftOut(tuple(LeftOutItem(item.path, item.why.value, item.reason) for item in items))


def withdrawn_item(path: str, why: Why) -> LeftOutItem:
    """A file that was offered and does not come."""
    return LeftOutItem(displayable(path), why.value, _WITHDRAWN[why])
