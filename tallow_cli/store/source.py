"""Where the bytes of a transfer come from: the `Source` protocol, which every kind of source keeps.

files and directories   store.file_source.FileSource
standard input          store.stream_source.StreamSource
--text, benchmarks      store.memory_source.TextSource, RandomSource
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from blake3 import blake3

from tallow_cli.errors import LocalFileError
from tallow_cli.offer.manifest import Manifest
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.store.scan import NotSent
from tallow_cli.transfer.messages import Why

EMPTY_DIGEST: Final = blake3(b"").digest()


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A file that was offered and does not come. `error` has the whole sentence, for a transfer of nothing else."""

    why: Why
    error: LocalFileError


@runtime_checkable
class Source(Protocol):
    """One transfer's payload, read once from front to back.

    Caller's duties: construct it (construction does the scan and may block), `prepare` it once the receiver is there,
    offer `manifest`, then call `read` with increasing offsets, each where the last ended, from one thread at a time;
    settle every file index below `files_read`: send its `digest`, or withdraw it if it is in `withdrawn`; `close()` in
    the end, whatever happened. Nothing here touches the event loop: every method may block on the disk, so run them
    in a worker thread.
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

    @property
    def files_read(self) -> int:
        """How many files, from the first, have been read to their end or given up.

        For a stream it becomes 1 when `read` has returned b"".
        """

    @property
    def withdrawn(self) -> Mapping[int, Withdrawn]:
        """The files given up so far, by index: gone, not to be read, or changed while they were read."""

    def read(self, offset: int, size: int) -> bytes:
        """The next bytes of the stream: exactly `size`, fewer only where the stream ends, b"" at its end.

        What a withdrawn file lacks is zeros; `offset` may leave out the rest of one. With a `size` of 0 the empty files
        whose turn it is are read. A stream of unknown length blocks for at least one byte and then returns what is
        there, up to `size`.
        Raises SourceUnreadable where nothing can be read any more. Raises ValueError if `offset` is not where the last
        read ended.
        """

    def digest(self, file_index: int) -> bytes:
        """The 32-byte BLAKE3 of a file of `manifest.file_spans`, of its data without its holes.

        Raises ValueError unless file_index < files_read, and for a withdrawn file.
        """

    def close(self) -> None:
        """Release descriptors. May be called twice, and from another thread to wake a blocked `read`, which
        then returns b"" without completing its file."""


class SingleSource:
    """What sources of one thing that is not on a disk have in common: nothing of it is left out or withdrawn."""

    left_out: tuple[NotSent, ...] = ()
    notices: tuple[str, ...] = ()
    withdrawn: Mapping[int, Withdrawn] = MappingProxyType({})
