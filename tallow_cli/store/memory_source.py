"""Sources without a disk: a text, and random bytes for benchmarks."""

from __future__ import annotations

import random
import time
from typing import Final

from blake3 import blake3

from tallow_cli.errors import BadOption
from tallow_cli.offer.manifest import MAX_TEXT_BYTES, Entry, EntryKind, Manifest
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.store.source import EMPTY_DIGEST, SingleSource

_BLOCK_BYTES: Final = 4 * 1024 * 1024  # longer than the window of zstd's usual levels: it finds nothing
_COUNTER_BYTES: Final = 8


class TextSource(SingleSource):
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
        self._manifest = Manifest("text", (entry,))
        self._position = 0

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def prepare(self, names: NameRules) -> None:
        pass  # a name of ours, which every receiver can hold

    @property
    def files_read(self) -> int:
        return 1 if self._position == len(self._data) else 0

    def read(self, offset: int, size: int) -> bytes:
        if offset != self._position:
            raise ValueError(f"read at {offset}, but the last read ended at {self._position}")
        data = self._data[offset : offset + size]
        self._position += len(data)
        return data

    def digest(self, file_index: int) -> bytes:
        if file_index != 0 or not self.files_read:
            raise ValueError("the text has not been read to its end")
        return blake3(self._data).digest()

    def close(self) -> None:
        pass


class RandomSource(SingleSource):
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
        self._manifest = Manifest(
            "files",
            tuple(
                Entry(f"random-{i:0{digits}}.bin", EntryKind.FILE, share + (i < rest), 0o644, mtime_ns)
                for i in range(files)
            ),
        )
        self._size = size
        self._position = 0
        self._hasher = blake3()
        self._digests: list[bytes] = []
        self._pass_finished()

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def prepare(self, names: NameRules) -> None:
        pass  # a name of ours, which every receiver can hold

    @property
    def files_read(self) -> int:
        return len(self._digests)

    def read(self, offset: int, size: int) -> bytes:
        if offset != self._position:
            raise ValueError(f"read at {offset}, but the last read ended at {self._position}")
        stop = min(offset + size, self._size)
        data = self._bytes(offset, stop)
        view = memoryview(data)
        done = 0
        for _, _, length in self._manifest.slices(offset, len(data)):
            self._hasher.update(view[done : done + length])
            done += length
            self._position += length
            self._pass_finished()
        return data

    def digest(self, file_index: int) -> bytes:
        if not 0 <= file_index < len(self._digests):
            raise ValueError(f"file {file_index} has not been read to its end")
        return self._digests[file_index]

    def close(self) -> None:
        pass

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

    def _pass_finished(self) -> None:
        spans = self._manifest.file_spans
        while len(self._digests) < len(spans) and spans[len(self._digests)].end <= self._position:
            empty = spans[len(self._digests)].size == 0
            self._digests.append(EMPTY_DIGEST if empty else self._hasher.digest())
            if not empty:
                self._hasher.reset()
