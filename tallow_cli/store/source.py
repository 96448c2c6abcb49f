"""Where the bytes of a transfer come from: the `Source` protocol, which every kind of source keeps.

files and directories   store.file_source.FileSource
standard input          store.stream_source.StreamSource
--text, benchmarks      store.memory_source.TextSource, RandomSource
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from blake3 import blake3

from tallow_cli.errors import LocalFileError
from tallow_cli.offer.manifest import Manifest
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.ranges import RangeSet
from tallow_cli.store.scan import NotSent
from tallow_cli.transfer.messages import Why

EMPTY_DIGEST: Final = blake3(b"").digest()
Range = tuple[int, int]  # of the stream; half-open


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A file that was offered and does not come. `error` has the whole sentence, for a transfer of nothing else."""

    why: Why
    error: LocalFileError


@runtime_checkable
class Source(Protocol):
    """One transfer's payload, a stream of bytes that may be read in several attempts, and the digests of its files.

    Reading and hashing go their own ways. The hashing goes over the stream once, from front to back: what is read
    in order from where it stands is hashed on the way; what nobody reads, since the receiver has it already, and what
    was read ahead of it, `settle` reads and hashes, a little at a time.

    Caller's duties: construct it (construction does the scan and may block), `prepare` it once the receiver is there,
    offer `manifest`. For each attempt `begin`, then `read_at` what is wanted and `settle` when nothing is, from one
    thread at a time; settle with the peer every file index below `files_read` that is not kept: send its `digest`, or
    withdraw it if it is in `withdrawn`; `close()` in the end, whatever happened. Nothing here touches the event loop:
    every method may block on the disk, so run them in a worker thread.
    """

    def prepare(self, names: NameRules) -> None:
        """Look again at what is to be sent, which may have changed while the code was read out, and judge the names by
        the receiver's rules. From now on sizes, modes and mtimes are frozen. May be called again before the first read.

        Raises LocalFileError: something that was named is gone, or cannot go there and may not be left out.
        """

    @property
    def manifest(self) -> Manifest:
        """What is offered; before `prepare`, what would be if nothing changed."""

    @property
    def left_out(self) -> tuple[NotSent, ...]:
        """What is not in the manifest although it was named, or lies in what was."""

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about what a user may wonder at, so far. Show each once; nothing failed."""

    def begin(self, kept: RangeSet | None = None, pieces: Sequence[Range] = ()) -> None:
        """A receiver has accepted. The files `kept` are neither read nor hashed; the digest of each of `pieces`,
        disjoint ranges in order, none across the end of a file, will be asked for.

        For the first attempt without either it may be left out. Raises ValueError for pieces of a stream.
        """

    @property
    def files_read(self) -> int:
        """How many files, from the first, are kept, given up, or have been hashed to their end and are as they were.

        In an attempt after the first it begins at 0 again: whoever was told must be told anew, and every file
        that was read before is looked at once more. For a stream it becomes 1 when `read_at` has returned b"".
        """

    @property
    def withdrawn(self) -> Mapping[int, Withdrawn]:
        """The files given up so far, by index: gone, not to be read, or changed while they were read."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes of the stream: exactly `size`, fewer only where the stream ends, b"" at its end.

        Any offset, in any order; fastest in order. What a withdrawn file lacks is zeros. A stream of unknown
        length blocks for at least one byte and then returns what is there, up to `size`; it gives no byte again that
        lies before what was `release`d.
        Raises SourceUnreadable where nothing can be read any more, and SourceChanged or its like where a file whose
        digest was given cannot give the same bytes again.
        """

    def release(self, offset: int) -> None:
        """What lies before `offset` will never be read again."""

    def settle(self, until: int, budget_bytes: int) -> bool:
        """Hash a little: what lies between where the hashing stands and `until`, files without data, pieces.

        `until` is where the caller would read next in order: all before it was read, or is not wanted. About
        `budget_bytes` are read; none at all with 0. Returns whether there is more to do.
        Raises SourceUnreadable where nothing can be read any more.
        """

    def piece_digests(self) -> tuple[int, list[bytes]]:
        """The index of a piece among those of this attempt, and the digests of it and the next that are there by
        now and were not given before. NOT_PROVEN for what cannot be read."""

    def digest(self, file_index: int) -> bytes:
        """The 32-byte BLAKE3 of a file of `manifest.file_spans`, of its data without its holes.

        Raises ValueError unless file_index < files_read, and for a withdrawn or kept file.
        """

    def close(self) -> None:
        """Release descriptors. May be called twice, and from another thread to wake a blocked `read_at`, which
        then returns b"" without completing its file."""


class SingleSource:
    """What sources of one thing that is not on a disk have in common: nothing of it is left out or withdrawn."""

    left_out: tuple[NotSent, ...] = ()
    notices: tuple[str, ...] = ()
    withdrawn: Mapping[int, Withdrawn] = MappingProxyType({})
