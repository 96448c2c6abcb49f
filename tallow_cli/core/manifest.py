"""What a transfer offers: the list of files, and how they lie one after another in the transfer's byte
stream.

Driver contract (sans-IO, pure): the sender builds a `Manifest` and sends `encode_manifest(manifest)`; the
receiver passes the bytes to `decode_manifest_untrusted`, which validates the whole of it, names included,
before anyone may create anything. Wire form: docs/spec/manifest.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from tallow_cli.core.names import EntryKind, check_manifest_names
from tallow_cli.errors import PeerProtocolError

__all__ = [
    "MAX_ENTRIES",
    "MAX_MANIFEST_BYTES",
    "MAX_TEXT_BYTES",
    "MAX_TOTAL_BYTES",
    "PERMISSION_BITS",
    "Entry",
    "EntryKind",
    "FileSlice",
    "FileSpan",
    "Manifest",
    "ManifestKind",
    "decode_manifest_untrusted",
    "encode_manifest",
]

MAX_ENTRIES: Final = 100_000  # a consent list nobody reads any more; 32 MiB of names; seconds to create
MAX_MANIFEST_BYTES: Final = 32 * 1024 * 1024  # MAX_ENTRIES at some 300 bytes each
MAX_TOTAL_BYTES: Final = 2**62  # offsets travel in 64 bits; sums of them stay below 2^63
MAX_TEXT_BYTES: Final = 1024 * 1024  # --text is held in memory and shown on a terminal
MAX_ABS_MTIME_NS: Final = 2**62  # 1823 to 2116; beyond, file systems clamp or fail
PERMISSION_BITS: Final = 0o777  # setuid, setgid and sticky are never granted to a peer

ManifestKind = Literal["files", "text", "stream"]


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One file, directory or symbolic link. `path` is untrusted until core.names has made a SafePath of
    it.
    """

    path: Annotated[str, msgspec.Meta(min_length=1)]
    kind: EntryKind
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOTAL_BYTES)] = 0  # bytes; 0 unless a FILE
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o7777)] = 0o644  # only PERMISSION_BITS are ever applied
    mtime_ns: Annotated[int, msgspec.Meta(ge=-MAX_ABS_MTIME_NS, le=MAX_ABS_MTIME_NS)] = (
        0  # since the Unix epoch
    )
    target: str | None = None  # of a SYMLINK, relative


@dataclass(frozen=True, slots=True)
class FileSpan:
    """Where one FILE lies in the stream: [start, start + size). `index` counts FILE entries only, in order.

    The one file of a stream of unknown length spans MAX_TOTAL_BYTES.
    """

    index: int
    entry_index: int
    entry: Entry
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


class FileSlice(NamedTuple):
    """The part of a stream range that falls into one file."""

    span: FileSpan
    offset: int  # within the file
    size: int


class Manifest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """The offer. The payload of the transfer is the contents of all FILE entries in this order, end to end.

    kind "files": any entries. "text": one FILE entry of at most MAX_TEXT_BYTES, UTF-8, meant for the screen.
    "stream": one FILE entry whose size is 0 here and known only when the stream ends.
    """

    kind: ManifestKind
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1, max_length=MAX_ENTRIES)]

    @cached_property
    def total_bytes(self) -> int | None:
        """Length of the payload; None for a stream of unknown length."""
        return None if self.kind == "stream" else sum(entry.size for entry in self.entries)

    @cached_property
    def file_spans(self) -> tuple[FileSpan, ...]:
        """One span per FILE entry, in order; a *file index* anywhere in Tallow is an index into this."""
        spans: list[FileSpan] = []
        start = 0
        for entry_index, entry in enumerate(self.entries):
            if entry.kind is EntryKind.FILE:
                size = MAX_TOTAL_BYTES if self.kind == "stream" else entry.size
                spans.append(FileSpan(len(spans), entry_index, entry, start, size))
                start += size
        return tuple(spans)

    @cached_property
    def _starts(self) -> list[int]:
        return [span.start for span in self.file_spans]

    def slices(self, offset: int, size: int) -> Iterator[FileSlice]:
        """Cut the stream range [offset, offset + size) at file boundaries; stops at the end of the stream."""
        stop = offset + size
        index = max(bisect_right(self._starts, offset) - 1, 0)
        spans = self.file_spans
        while index < len(spans) and offset < stop:
            span = spans[index]
            length = min(stop, span.end) - offset
            if length > 0:
                yield FileSlice(span, offset - span.start, length)
                offset += length
            index += 1


_DECODER: Final = msgspec.msgpack.Decoder(Manifest)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode_manifest(manifest: Manifest) -> bytes:
    """The wire form. Raises nothing: keeping the limits is the business of whoever built the manifest."""
    return _ENCODER.encode(manifest)


def decode_manifest_untrusted(data: bytes) -> Manifest:
    """Decode and validate an offer whole: types, counts, sizes, then every name rule.

    Raises PeerProtocolError saying which rule was broken. The caller need not check the manifest again, but
    must obtain paths for the disk from `core.names.check_manifest_names`.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise PeerProtocolError(f"an offer of {len(data):,} bytes; {MAX_MANIFEST_BYTES:,} is the most")
    try:
        manifest = _DECODER.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as problem:
        raise PeerProtocolError(f"a malformed offer: {problem}") from None
    _check_shape(manifest)
    check_manifest_names(manifest)
    return manifest


def _check_shape(manifest: Manifest) -> None:
    total = 0
    for entry in manifest.entries:
        if entry.kind is not EntryKind.FILE and entry.size:
            raise PeerProtocolError(f"a {entry.kind.value} with a size: {entry.path[:120]!a}")
        if (entry.target is not None) != (entry.kind is EntryKind.SYMLINK):
            raise PeerProtocolError(f"a link target where none belongs, or none: {entry.path[:120]!a}")
        total += entry.size
    if total > MAX_TOTAL_BYTES:
        raise PeerProtocolError(f"an offer of {total:,} bytes in all; {MAX_TOTAL_BYTES:,} is the most")
    if manifest.kind == "files":
        return
    if len(manifest.entries) != 1 or manifest.entries[0].kind is not EntryKind.FILE:
        raise PeerProtocolError(f"an offer of kind {manifest.kind} that is not exactly one file")
    if manifest.kind == "text" and total > MAX_TEXT_BYTES:
        raise PeerProtocolError(f"a text of {total:,} bytes; {MAX_TEXT_BYTES:,} is the most")
    if manifest.kind == "stream" and total:
        raise PeerProtocolError("a stream of unknown length with a size")
