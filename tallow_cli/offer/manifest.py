"""What a transfer offers: the list of files, and how they lie one after another in the transfer's byte
stream.

Driver contract (sans-IO, pure): the sender builds a `Manifest` and sends `encode_manifest(manifest)`; the
receiver passes the bytes to `decode_manifest_untrusted`, which validates the whole of it, names included,
before anyone may create anything. Wire form: docs/spec/manifest.md.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from tallow_cli.errors import PeerProtocolError
from tallow_cli.offer.name_rules import POSIX, NameRules
from tallow_cli.offer.names import EntryKind, ForbiddenName, NameChecker, name_bytes

__all__ = [
    "MAX_ENTRIES",
    "MAX_HOLES",
    "MAX_MANIFEST_BYTES",
    "MAX_TEXT_BYTES",
    "MAX_TOTAL_BYTES",
    "PERMISSION_BITS",
    "Entry",
    "EntryKind",
    "FileSlice",
    "FileSpan",
    "LeftOut",
    "Manifest",
    "ManifestKind",
    "WhyLeftOut",
    "decode_manifest_untrusted",
    "encode_manifest",
    "encoded_entry_bytes",
    "pack_holes",
]

# More than anybody's tree that is not a store of objects; some 250 MiB to remember at either end, 5 s to check.
MAX_ENTRIES: Final = 1_000_000
MAX_MANIFEST_BYTES: Final = (
    128 * 1024 * 1024
)  # MAX_ENTRIES at some 130 bytes each; ssh and rsync keep no such bound
MAX_TOTAL_BYTES: Final = (
    2**62
)  # two of them still add up to less than an offset's 2^63 (docs/spec/transfer.md)
MAX_TEXT_BYTES: Final = 1024 * 1024  # --text is held in memory and shown on a terminal
MAX_ABS_MTIME_NS: Final = 2**62  # 1823 to 2116; beyond, file systems clamp or fail
PERMISSION_BITS: Final = 0o777  # setuid, setgid and sticky are never granted to a peer
MAX_HOLES: Final = 65_536  # of all files together; each costs both ends some hundred bytes

_HOLE: Final = struct.Struct(">QQ")
HOLE_BYTES: Final = _HOLE.size

ManifestKind = Literal["files", "text", "stream"]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOTAL_BYTES)]


class WhyLeftOut(StrEnum):
    """Why something the user named, or that lies in it, is not in the offer."""

    EXCLUDED = "excluded"  # the user said so
    SPECIAL = "special"  # devices, pipes, sockets: they have no contents
    LINK = "link"  # a symbolic link that leads out of what is sent
    UNREADABLE = "unreadable"  # it cannot be read here
    NAME = "name"  # it cannot have its name at the receiver
    VANISHED = "vanished"  # it was there when the code was shown, and is gone

    @property
    def is_missed(self) -> bool:
        """Whether the user will miss it: whoever excluded it, or sends a directory with a socket in it, does not."""
        return self in (WhyLeftOut.UNREADABLE, WhyLeftOut.NAME, WhyLeftOut.VANISHED)


class LeftOut(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How many the sender left out for one reason. Their names are its own business."""

    why: WhyLeftOut
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOTAL_BYTES)]


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One file, directory or symbolic link. `path` is untrusted until offer.names has made a SafePath of
    it.

    Bytes of `path` and `target` that are no UTF-8 are lone surrogates (PEP 383).
    """

    path: Annotated[str, msgspec.Meta(min_length=1)]
    kind: EntryKind
    size: _Bytes = 0  # bytes; 0 unless a FILE
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o7777)] = 0o644  # only PERMISSION_BITS are ever applied
    mtime_ns: Annotated[int, msgspec.Meta(ge=-MAX_ABS_MTIME_NS, le=MAX_ABS_MTIME_NS)] = (
        0  # since the Unix epoch
    )
    target: str | None = None  # of a SYMLINK, relative
    # Of a FILE: half-open ranges without data, ascending, apart, as `pack_holes` makes them. Packed, so that an offer
    # takes no more memory than it has bytes before anybody has looked at it.
    packed_holes: Annotated[bytes, msgspec.Meta(max_length=MAX_HOLES * HOLE_BYTES)] = b""

    @property
    def holes(self) -> tuple[tuple[int, int], ...]:
        """The holes as (start, end)."""
        return tuple(_HOLE.iter_unpack(self.packed_holes)) if self.packed_holes else ()

    @property
    def data_bytes(self) -> int:
        """What of a FILE is in the stream: all but its holes."""
        return self.size - sum(end - start for start, end in self.holes) if self.packed_holes else self.size


class _WireEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An Entry whose names may be bytes, as one that are no UTF-8 travel."""

    path: Any  # str or bytes: msgspec has no union of the two
    kind: EntryKind
    size: _Bytes = 0
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o7777)] = 0o644
    mtime_ns: Annotated[int, msgspec.Meta(ge=-MAX_ABS_MTIME_NS, le=MAX_ABS_MTIME_NS)] = 0
    target: Any = None
    packed_holes: Annotated[bytes, msgspec.Meta(max_length=MAX_HOLES * HOLE_BYTES)] = b""

    def entry_untrusted(self) -> Entry:
        """Raises ValidationError."""
        target = None if self.target is None else _text(self.target)
        return Entry(
            _text(self.path), self.kind, self.size, self.mode, self.mtime_ns, target, self.packed_holes
        )


def _text(name: object) -> str:
    if isinstance(name, bytes):
        text = name.decode("utf-8", "surrogateescape")
        if _is_utf8(text):
            raise msgspec.ValidationError("a name as bytes that is UTF-8")
        return text
    if isinstance(name, str) and name:
        return name
    raise msgspec.ValidationError("a name that is neither text nor bytes, or is empty")


def _wire(name: str) -> str | bytes:
    """Raises UnicodeEncodeError for surrogates that are no bytes: no such name comes from a disk."""
    return name if _is_utf8(name) else name.encode("utf-8", "surrogateescape")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def pack_holes(holes: Iterable[tuple[int, int]]) -> bytes:
    """The wire form of (start, end) pairs."""
    return b"".join(_HOLE.pack(start, end) for start, end in holes)


@dataclass(frozen=True, slots=True)
class FileSpan:
    """Where one FILE lies in the stream: [start, start + size). `index` counts FILE entries only, in order.

    `size` is what is in the stream: holes are not. The one file of a stream of unknown length spans MAX_TOTAL_BYTES.
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

    `left_out` says what the sender did not offer, each reason once.

    kind "files": any entries. "text": one FILE entry of at most MAX_TEXT_BYTES, UTF-8, meant for the screen.
    "stream": one FILE entry whose size is 0 here and known only when the stream ends.
    """

    kind: ManifestKind
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1, max_length=MAX_ENTRIES)]
    left_out: Annotated[tuple[LeftOut, ...], msgspec.Meta(max_length=len(WhyLeftOut))] = ()

    @cached_property
    def total_bytes(self) -> int | None:
        """Length of the payload, which has no holes; None for a stream of unknown length."""
        return None if self.kind == "stream" else sum(entry.data_bytes for entry in self.entries)

    @cached_property
    def hole_bytes(self) -> int:
        """What the files hold beside the payload: empty space, which is not in the stream."""
        return sum(entry.size - entry.data_bytes for entry in self.entries)

    @cached_property
    def missed(self) -> int:
        """How many things are left out that the sender's user may miss."""
        return sum(group.count for group in self.left_out if group.why.is_missed)

    @cached_property
    def file_spans(self) -> tuple[FileSpan, ...]:
        """One span per FILE entry, in order; a *file index* anywhere in Tallow is an index into this."""
        spans: list[FileSpan] = []
        start = 0
        for entry_index, entry in enumerate(self.entries):
            if entry.kind is EntryKind.FILE:
                size = MAX_TOTAL_BYTES if self.kind == "stream" else entry.data_bytes
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


class _WireManifest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    kind: ManifestKind
    entries: Annotated[tuple[_WireEntry, ...], msgspec.Meta(min_length=1, max_length=MAX_ENTRIES)]
    left_out: Annotated[tuple[LeftOut, ...], msgspec.Meta(max_length=len(WhyLeftOut))] = ()


_DECODER: Final = msgspec.msgpack.Decoder(Manifest)
_WIRE_DECODER: Final = msgspec.msgpack.Decoder(_WireManifest)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode_manifest(manifest: Manifest) -> bytes:
    """The wire form. Keeping the limits is the business of whoever built the manifest."""
    try:
        return _ENCODER.encode(manifest)
    except UnicodeEncodeError:  # a name that is no UTF-8; most trees have none
        entries = tuple(
            _WireEntry(
                _wire(entry.path),
                entry.kind,
                entry.size,
                entry.mode,
                entry.mtime_ns,
                None if entry.target is None else _wire(entry.target),
                entry.packed_holes,
            )
            for entry in manifest.entries
        )
        return _ENCODER.encode(_WireManifest(manifest.kind, entries, manifest.left_out))


def encoded_entry_bytes(entry: Entry) -> int:
    """What `entry` adds to the wire form, or a little more."""
    names = name_bytes(entry.path) + (0 if entry.target is None else name_bytes(entry.target))
    return names + _ENTRY_OVERHEAD_BYTES + len(entry.packed_holes)


# One header of the array, two of strings and one of holes, "directory", size, mode and time at 9 bytes each.
_ENTRY_OVERHEAD_BYTES: Final = 60


def decode_manifest_untrusted(data: bytes, rules: NameRules = POSIX) -> Manifest:
    """Decode and validate an offer whole: types, counts, sizes, then every name rule, those of `rules` among them.

    Raises PeerProtocolError saying which rule was broken. The caller need not check the manifest again, but
    must obtain paths for the disk from `offer.names.check_manifest_names`. May take seconds: not on an event loop.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise PeerProtocolError(f"an offer of {len(data):,} bytes; {MAX_MANIFEST_BYTES:,} is the most")
    manifest = _decode(data)
    _check_shape(manifest)
    checker = NameChecker(rules)
    try:
        for entry in manifest.entries:
            checker.check(entry)
    except ForbiddenName as broken:
        raise PeerProtocolError(f"a file name it offers is not allowed, {broken}") from None
    return manifest


def _decode(data: bytes) -> Manifest:
    try:
        try:
            return _DECODER.decode(data)
        except msgspec.ValidationError:  # a name that is no UTF-8, or a malformed offer
            wire = _WIRE_DECODER.decode(data)
            entries = tuple(entry.entry_untrusted() for entry in wire.entries)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as problem:
        raise PeerProtocolError(f"a malformed offer: {problem}") from None
    return Manifest(wire.kind, entries, wire.left_out)


def _check_shape(manifest: Manifest) -> None:
    total = holes = 0
    for entry in manifest.entries:
        if entry.kind is not EntryKind.FILE and (entry.size or entry.packed_holes):
            raise PeerProtocolError(f"a {entry.kind.value} with a size: {entry.path[:120]!a}")
        if (entry.target is not None) != (entry.kind is EntryKind.SYMLINK):
            raise PeerProtocolError(f"a link target where none belongs, or none: {entry.path[:120]!a}")
        total += entry.size
        if entry.packed_holes:
            holes += len(entry.packed_holes) // HOLE_BYTES
            if holes > MAX_HOLES:
                raise PeerProtocolError(f"an offer with more than {MAX_HOLES:,} holes in its files")
            _check_holes(entry)
    if total > MAX_TOTAL_BYTES:
        raise PeerProtocolError(f"an offer of {total:,} bytes in all; {MAX_TOTAL_BYTES:,} is the most")
    if len({group.why for group in manifest.left_out}) != len(manifest.left_out):
        raise PeerProtocolError("a reason to leave something out that is given twice")
    if manifest.kind == "files":
        return
    if len(manifest.entries) != 1 or manifest.entries[0].kind is not EntryKind.FILE or holes:
        raise PeerProtocolError(f"an offer of kind {manifest.kind} that is not exactly one file")
    if manifest.kind == "text" and total > MAX_TEXT_BYTES:
        raise PeerProtocolError(f"a text of {total:,} bytes; {MAX_TEXT_BYTES:,} is the most")
    if manifest.kind == "stream" and total:
        raise PeerProtocolError("a stream of unknown length with a size")


def _check_holes(entry: Entry) -> None:
    if len(entry.packed_holes) % HOLE_BYTES:
        raise PeerProtocolError(f"a hole in pieces: {entry.path[:120]!a}")
    previous = -1
    for start, end in entry.holes:
        if not previous < start < end <= entry.size:
            raise PeerProtocolError(f"holes out of order or beyond the end: {entry.path[:120]!a}")
        previous = end
