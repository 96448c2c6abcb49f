"""Where the bytes of a transfer come from: the `Source` protocol, which every kind of source keeps.

files and directories   store.file_source.FileSource
standard input          store.stream_source.StreamSource
--text, benchmarks      store.memory_source.TextSource, RandomSource
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tallow_cli.core.manifest import Manifest


@runtime_checkable
class Source(Protocol):
    """One transfer's payload, read once from front to back.

    Caller's duties: construct it (construction does the scan and may block), send `manifest`, then call
    `read` with increasing offsets, each where the last ended, from one thread at a time; send `digest(i)` for
    every file index below `files_read`; `close()` in the end, whatever happened. Nothing here touches the
    event loop: every method may block on the disk, so run them in a worker thread.
    """

    @property
    def manifest(self) -> Manifest:
        """What is offered. Sizes, modes and mtimes are frozen at construction."""

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about what was left out (special files, links that lead outside). Show them; nothing
        failed.
        """

    @property
    def files_read(self) -> int:
        """How many files, from the first, have been read to their end, so that their digests are known.

        Empty files count as soon as the ones before them are done (so it may be > 0 before the first read).
        For a stream it becomes 1 when `read` has returned b"".
        """

    def read(self, offset: int, size: int) -> bytes:
        """The next bytes of the stream: exactly `size`, fewer only where the stream ends, b"" at its end.

        A stream of unknown length blocks for at least one byte and then returns what is there, up to `size`.
        Raises SourceMissing, SourceUnreadable or SourceChanged: the file is not what the manifest promised.
        Raises ValueError if `offset` is not where the last read ended.
        """

    def digest(self, file_index: int) -> bytes:
        """The 32-byte BLAKE3 of a file of `manifest.file_spans`. Raises ValueError unless file_index <
        files_read.
        """

    def close(self) -> None:
        """Release descriptors. May be called twice, and from another thread to wake a blocked `read`, which
        then returns b"" without completing its file."""
