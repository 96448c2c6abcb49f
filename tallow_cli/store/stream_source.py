"""Sending standard input, or any descriptor, whose length nobody knows before it ends."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from blake3 import blake3

from tallow_cli.errors import SourceUnreadable, Unsendable
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.offer.names import ForbiddenName, check_component
from tallow_cli.ranges import RangeSet
from tallow_cli.store.failures import displayable, reason
from tallow_cli.store.filesystem import use_bytes
from tallow_cli.store.source import Range, SingleSource

PIPE_BYTES: Final = 1024 * 1024  # the most an unprivileged process may ask for (fs.pipe-max-size)
CLOSE_WAIT_S: Final = 1.0


class StreamSource(SingleSource):
    """A Source of what comes from `fd` until it ends. The descriptor is not closed: it is the caller's.

    `read_at` takes all that is there, up to its size, and waits only for the first byte, so that `tail -f` flows
    and a fast pipe fills whole chunks. `close` from another thread wakes it.

    What was read is kept until it is `release`d, since the descriptor does not give it again: another attempt reads it
    from here. These are the very chunks that `read_at` gave out, so whoever holds them, too, shares the memory.
    """

    def __init__(self, fd: int, name: str = "stdin") -> None:
        entry = Entry(name, EntryKind.FILE, 0, 0o644, time.time_ns())
        self._manifest = Manifest("stream", (entry,))
        self._fd = fd
        self._name = name
        self._position = 0
        self._retained = _Retained(name)
        self._hasher = blake3()
        self._digest: bytes | None = None
        self._closed = False
        self._reading = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        use_bytes(fd)
        _widen_pipe(fd)

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def prepare(self, names: NameRules) -> None:
        try:
            check_component(self._name, names)
        except ForbiddenName as broken:
            raise Unsendable([(displayable(self._name), broken.rule.explanation)]) from None

    @property
    def files_read(self) -> int:
        return 0 if self._digest is None else 1

    def begin(self, kept: RangeSet | None = None, pieces: Sequence[Range] = ()) -> None:
        if pieces:
            raise ValueError("a stream has no pieces that could be proven")

    def read_at(self, offset: int, size: int) -> bytes:
        if offset < self._position:
            return self._retained.read(offset, size)
        if offset > self._position:
            raise ValueError(f"a stream read at {offset}, but it was read to {self._position}")
        if self._digest is not None or size == 0:
            return b""
        try:
            with self._reading:
                data = self._read_available(size) if not self._closed else b""
        except OSError as problem:
            raise SourceUnreadable(self._name, reason(problem)) from problem
        self._hasher.update(data)
        self._position += len(data)
        self._retained.append(data)
        if not data and not self._closed:
            self._digest = self._hasher.digest()
        return data

    def release(self, offset: int) -> None:
        self._retained.release(offset)

    def settle(self, until: int, budget_bytes: int) -> bool:
        return False  # all of it is hashed when it is read first

    def piece_digests(self) -> tuple[int, list[bytes]]:
        return 0, []

    def digest(self, file_index: int) -> bytes:
        if file_index != 0 or self._digest is None:
            raise ValueError("the stream has not ended")
        return self._digest

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        os.write(self._wake_write, b"\0")
        # On Windows nothing wakes a blocked read; then the pipe is left to the end of the process.
        if self._reading.acquire(timeout=CLOSE_WAIT_S):
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._reading.release()

    def _read_available(self, size: int) -> bytes:
        """b"" at the end, or when closed."""
        pieces: list[bytes] = []
        wanted = size
        while wanted > 0 and self._is_readable(wait=not pieces):
            piece = os.read(self._fd, wanted)
            if not piece:
                break
            pieces.append(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _is_readable(self, *, wait: bool) -> bool:
        if self._closed:
            return False
        if sys.platform == "win32":  # select takes sockets only: block in read, once
            return wait
        ready, _, _ = select.select([self._fd, self._wake_read], [], [], None if wait else 0)
        return self._fd in ready and not self._closed


class _Retained:
    """The last bytes of a stream, in the chunks they came in."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._chunks: deque[bytes] = deque()
        self._start = 0  # in the stream

    def append(self, chunk: bytes) -> None:
        if chunk:
            self._chunks.append(chunk)

    def release(self, offset: int) -> None:
        while self._chunks and self._start + len(self._chunks[0]) <= offset:
            self._start += len(self._chunks.popleft())

    def read(self, offset: int, size: int) -> bytes:
        """What is left of the chunk that holds `offset`, up to `size`: whole chunks are not copied."""
        start = self._start
        if offset < start:
            raise SourceUnreadable(self._name, "what was received of it before cannot be read again")
        for chunk in self._chunks:
            if offset < start + len(chunk):
                return chunk[offset - start : offset - start + size]
            start += len(chunk)
        return b""


def _widen_pipe(fd: int) -> None:
    """A 64 KiB pipe costs a switch of processes for every 64 KiB."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # not a pipe, or the user's pipes hold too much already
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
