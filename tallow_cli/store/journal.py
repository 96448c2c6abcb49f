"""What a receiver writes down about its unfinished files, so that the next one can go on with them: the format.

A header, and then records that are only ever appended, each with its length and its checksum. The end may be missing
or torn, as a kill or a power cut leaves it: what was read up to there counts. Nothing in a journal is believed: paths
in it are compared with those of an offer and never opened, names of temporaries are made from eight bytes and a token,
and the bytes it claims are compared with the sender's digests before they count. So it may say less than is there, and
after a power cut even more. Normative: docs/spec/journal.md.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec

from tallow_cli.ranges import RangeSet

VERSION: Final = 1
HEADER: Final = b"tallow-journal\n" + bytes([VERSION])
NAME_BYTES: Final = 8  # of chance, in a temporary's name
# A million files with paths of 100 bytes; a file of 10 TiB in records of a MiB.
MOST_BYTES: Final = 256 * 1024 * 1024
MOST_RECORD_BYTES: Final = 128 * 1024  # a path of 256 names of 255 bytes, and what else a record has
MOST_RANGES: Final = (
    65_536  # of all files, beside those in `Opened`; each costs some hundred bytes to remember
)
RANGES_IN_A_RECORD: Final = 256

_FRAME: Final = struct.Struct(">II")  # length and CRC-32 of what follows
_Number = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Path = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MOST_RECORD_BYTES)]
_Ranges = Annotated[tuple[tuple[_Size, _Size], ...], msgspec.Meta(max_length=RANGES_IN_A_RECORD)]


class Opened(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag=1, gc=False):
    """A temporary was made for a file, whose final path and attributes are these. `number` is its name from here on."""

    number: _Number
    path: _Path  # below the receive root, where it is to stand, "/" between the components
    size: _Size  # with its holes
    mtime_ns: Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
    holes: Annotated[
        bytes, msgspec.Meta(max_length=32)
    ]  # `Entry.packed_holes`, hashed; empty if there are none
    temporary: Annotated[bytes, msgspec.Meta(min_length=NAME_BYTES, max_length=NAME_BYTES)]
    device: Annotated[int, msgspec.Meta(ge=0)]
    inode: Annotated[int, msgspec.Meta(ge=0)]
    ranges: _Ranges = ()  # of its data, written by then


class Wrote(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag=2, gc=False):
    """These ranges of a file's data are in its temporary."""

    number: _Number
    ranges: _Ranges


class Named(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag=3, gc=False):
    """It was published under another path than its own, which was taken."""

    number: _Number
    path: _Path


class Dropped(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag=4, gc=False):
    """Its temporary was removed."""

    number: _Number


class Renamed(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag=5, gc=False):
    """A name at the top of the offer was taken, so what it names is received under another."""

    offered: _Path
    local: _Path


class Made(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag=6, gc=False):
    """A directory was made, in one that was there before."""

    path: _Path


Record = Opened | Wrote | Named | Dropped | Renamed | Made

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Record)


class UnusableJournal(Exception):
    """It is none, or one of another version."""


def encode(record: Record) -> bytes:
    """One record, to be appended."""
    payload = _ENCODER.encode(record)
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


@dataclass(slots=True)
class JournaledFile:
    """What a journal says of one file."""

    opened: Opened
    later: RangeSet | None = None  # beside those that `opened` names; most files have none
    named: bytes | None = None

    def ranges(self) -> RangeSet:
        """All that it has, of its data."""
        return RangeSet([*self.opened.ranges, *(self.later or ())])


@dataclass(slots=True)
class Contents:
    """What a journal says."""

    files: dict[int, JournaledFile] = field(default_factory=dict)
    renamed: dict[bytes, bytes] = field(default_factory=dict)
    made: set[bytes] = field(default_factory=set)
    valid_bytes: int = len(HEADER)  # what follows is torn, and to be written over

    @property
    def next_number(self) -> int:
        """The first that no file has."""
        return max(self.files, default=-1) + 1


class JournalReader:
    """Reads a journal that anybody may have written. `feed` it in pieces; then `contents` is what it says.

    It stops for good at the first record that is torn, malformed, or of no sense.
    """

    def __init__(self) -> None:
        self.contents: Final = Contents()
        self._buffer = bytearray()
        self._is_begun = False
        self._is_over = False
        self._ranges = 0
        self._dropped: set[int] = set()

    def feed_untrusted(self, data: bytes) -> bool:
        """False once it is of no use to feed more. Raises UnusableJournal for what is none of this version."""
        self._buffer += data
        if not self._is_begun:
            if not HEADER.startswith(self._buffer[: len(HEADER)]):
                raise UnusableJournal
            if len(self._buffer) < len(HEADER):
                return True
            del self._buffer[: len(HEADER)]
            self._is_begun = True
        position = 0
        while not self._is_over and len(self._buffer) - position >= _FRAME.size:
            length, checksum = _FRAME.unpack_from(self._buffer, position)
            if length > MOST_RECORD_BYTES:
                self._is_over = True
                break
            end = position + _FRAME.size + length
            if end > len(self._buffer):
                break
            payload = bytes(self._buffer[position + _FRAME.size : end])
            if zlib.crc32(payload) != checksum or not self._take(payload):
                self._is_over = True
                break
            position = end
        self.contents.valid_bytes += position
        del self._buffer[:position]
        return not self._is_over

    def _take(self, payload: bytes) -> bool:
        try:
            record = _DECODER.decode(payload)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
            return False
        contents = self.contents
        match record:
            case Opened():
                if record.number in contents.files or record.number in self._dropped:
                    return False
                contents.files[record.number] = JournaledFile(record)
                return _are_within(record.ranges, record.size)
            case Wrote():
                found = contents.files.get(record.number)
                return found is not None and self._add_ranges(found, record.ranges)
            case Named():
                found = contents.files.get(record.number)
                if found is None:
                    return False
                found.named = record.path
            case Dropped():
                if contents.files.pop(record.number, None) is None:
                    return False
                self._dropped.add(record.number)
            case Renamed():
                contents.renamed[record.offered] = record.local
            case Made():
                contents.made.add(record.path)
        return True

    def _add_ranges(self, file: JournaledFile, ranges: tuple[tuple[int, int], ...]) -> bool:
        if not _are_within(ranges, file.opened.size):
            return False
        if file.later is None:
            file.later = RangeSet()
        before = len(file.later)
        for start, end in ranges:
            file.later.add(start, end)
        self._ranges += len(file.later) - before
        return self._ranges <= MOST_RANGES


def _are_within(ranges: tuple[tuple[int, int], ...], size: int) -> bool:
    return all(start < end <= size for start, end in ranges)
