"""Sources without a disk: a text, and random bytes for benchmarks."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Final

from tallow_cli.errors import BadOption
from tallow_cli.offer.manifest import MAX_TEXT_BYTES, Entry, EntryKind, Manifest
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.ranges import RangeSet
from tallow_cli.store.digests import DigestPass, PieceDigests
from tallow_cli.store.source import Range, SingleSource

_BLOCK_BYTES: Final = 4 * 1024 * 1024  # longer than the window of zstd's usual levels: it finds nothing
_COUNTER_BYTES: Final = 8


class _ComputedSource(SingleSource):
    """What both have in common: any bytes of it can be had again at any time, by `_bytes`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._total = sum(span.size for span in manifest.file_spans)
        self._pass = DigestPass(manifest.file_spans)
        self._pieces = PieceDigests()
        self._settle_ended()

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def prepare(self, names: NameRules) -> None:
        pass  # names of ours, which every receiver can hold

    def begin(self, kept: RangeSet | None = None, pieces: Sequence[Range] = ()) -> None:
        self._pass.begin(kept or RangeSet())
        self._pieces = PieceDigests(pieces)
        self._settle_ended()

    @property
    def files_read(self) -> int:
        return self._pass.index

    def read_at(self, offset: int, size: int) -> bytes:
        data = self._bytes(offset, min(offset + size, self._total))
        if offset == self._pass.position:
            self._hash(data)
        return data

    def release(self, offset: int) -> None:
        pass

    def settle(self, until: int, budget_bytes: int) -> bool:
        while True:
            needed, position = self._pieces.position, self._pass.position
            if position < until and (needed is None or needed >= position):
                start, stop = position, min(until, self._total)
            elif needed is not None:
                start, stop = needed, self._pieces.end
            else:
                return False
            if budget_bytes <= 0:
                return True
            data = self._bytes(start, min(stop, start + budget_bytes))
            budget_bytes -= len(data)
            self._pieces.feed(start, data)
            if start == position:
                self._hash(data)

    def piece_digests(self) -> tuple[int, list[bytes]]:
        return self._pieces.take()

    def digest(self, file_index: int) -> bytes:
        return self._pass.digest(file_index)

    def close(self) -> None:
        pass

    def _bytes(self, start: int, stop: int) -> bytes:
        """Of the stream."""
        raise NotImplementedError

    def _hash(self, data: bytes) -> None:
        """What lies where the hashing stands; it may reach over several files."""
        view = memoryview(data)
        while len(view):
            size = min(len(view), self._pass.left_bytes)
            position = self._pass.position
            self._pass.pass_over(view[:size])
            self._settle_ended()
            view = view[self._pass.position - position :]  # further on by the files that are kept

    def _settle_ended(self) -> None:
        while self._pass.at_end:
            self._pass.settle()


class TextSource(_ComputedSource):
    """A Source of one text (`--text`)."""

    def __init__(self, text: str) -> None:
        """Raises BadOption if it is longer than MAX_TEXT_BYTES, or holds bytes that were no text when it was typed."""
        try:
            self._data = text.encode()
        except UnicodeEncodeError:
            raise BadOption(
                "--text", "it is not UTF-8 text; send it as a file, or with `tallow send -`"
            ) from None
        if len(self._data) > MAX_TEXT_BYTES:
            raise BadOption("--text", f"it is longer than {MAX_TEXT_BYTES:,} bytes; send it as a file")
        entry = Entry("message.txt", EntryKind.FILE, len(self._data), 0o644, time.time_ns())
        super().__init__(Manifest("text", (entry,)))

    def _bytes(self, start: int, stop: int) -> bytes:
        return self._data[start:stop]


class RandomSource(_ComputedSource):
    """A Source of `size` bytes that cannot be compressed, made as fast as memory is copied.

    One random block of 4 MiB comes again and again with a counter at its head, so that no two blocks are
    equal and bytes that land at the wrong place change the digest. The same `seed` gives the same bytes.
    With `files`, the bytes are those of so many files of nearly equal size.
    """

    def __init__(self, size: int, seed: int = 0, *, files: int = 1) -> None:
        block = random.Random(seed).randbytes(_BLOCK_BYTES)
        self._tail = memoryview(block)[_COUNTER_BYTES:]
        share, rest = divmod(size, files)
        mtime_ns = time.time_ns()
        digits = len(str(files - 1))
        names = (f"random-{i:0{digits}}.bin" for i in range(files))
        entries = (
            Entry(name, EntryKind.FILE, share + (i < rest), 0o644, mtime_ns) for i, name in enumerate(names)
        )
        super().__init__(Manifest("files", tuple(entries)))

    def _bytes(self, start: int, stop: int) -> bytes:
        pieces: list[bytes | memoryview] = []
        position = start
        while position < stop:
            number, within = divmod(position, _BLOCK_BYTES)
            length = min(_BLOCK_BYTES - within, stop - position)
            head = number.to_bytes(_COUNTER_BYTES, "big")[within : within + length]
            pieces.append(head)
            tail_start = max(within - _COUNTER_BYTES, 0)
            pieces.append(self._tail[tail_start : tail_start + length - len(head)])
            position += length
        return b"".join(pieces)
