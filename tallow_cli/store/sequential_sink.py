"""Sinks that take the stream in order only: standard output, a text for the screen, and nowhere.

Bytes out of order wait in memory and are not credited before their turn, so what waits is bounded by the
credit that the peer was given. These sinks cannot take anything back: their bytes are gone when the digest is
compared.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from blake3 import blake3

from tallow_cli.errors import BadOption, DigestMismatch, PeerProtocolError, ReaderGone, TargetUnwritable
from tallow_cli.offer.manifest import EntryKind, Manifest
from tallow_cli.offer.names import check_manifest_names
from tallow_cli.ranges import RangeSet
from tallow_cli.store.failures import target_error
from tallow_cli.store.filesystem import Data, use_bytes
from tallow_cli.store.ordering import InOrder
from tallow_cli.store.partial import as_view
from tallow_cli.store.sink import AtHand, Conflict, Holding, Published, Suspended

_ZEROS: Final = memoryview(bytes(1024 * 1024))
PIPE_STEP: Final = (
    4096  # what a pipe that polls writable takes without blocking (POSIX: PIPE_BUF, at least 512)
)
CLOSE_WAIT_S: Final = 1.0
STANDARD_OUTPUT: Final = "standard output"


class SequentialSink:
    """The common part: order, digests, counting. Subclasses say where bytes go (`take`)."""

    def __init__(self) -> None:
        self.bytes_received = 0  # in order
        self.files_verified = 0
        self._finished: set[int] = set()
        self._skipped: set[int] = set()
        self._manifest = Manifest("files", ())
        self._order = InOrder()
        self._hasher = blake3()
        self._digests: list[bytes] = []  # of the files whose every byte came

    @property
    def notices(self) -> tuple[str, ...]:
        return ()

    def conflicts(self, manifest: Manifest) -> list[Conflict]:
        return []

    def at_hand(self, manifest: Manifest) -> AtHand:
        return AtHand()

    def open(self, manifest: Manifest) -> Holding:
        check_manifest_names(manifest)
        self._manifest = manifest
        return Holding()

    def holding(self) -> Holding:
        """What has come out of order is held as well: it waits in memory, and is not sent again."""
        return Holding(held=RangeSet([(0, self.bytes_received), *self._order.waiting()]))

    def prove(self, start: int, end: int) -> bytes:
        raise ValueError("nothing was claimed")

    def proved(self, start: int, end: int) -> None:
        raise ValueError("nothing was claimed")

    def refuted(self, start: int, end: int) -> None:
        raise ValueError("nothing was claimed")

    def catch_up(self, file_index: int, budget_bytes: int) -> bool:
        return True

    def write(self, offset: int, data: Data) -> int:
        before = self.bytes_received
        self._take_pieces(self._order.push(offset, data))
        return self.bytes_received - before

    def forget_waiting(self) -> None:
        self._order.forget()

    def skip(self, file_index: int) -> int:
        span = self._manifest.file_spans[file_index]
        before = self.bytes_received
        self._skipped.add(file_index)
        if self.bytes_received < span.end:
            self._end_files(file_index)
            self.bytes_received = span.end
            self._take_pieces(self._order.jump(span.end))
        return self.bytes_received - before

    def _take_pieces(self, pieces: Iterable[Data]) -> None:
        for piece in pieces:
            view = as_view(piece)
            done = 0
            for span, _, size in self._manifest.slices(self.bytes_received, len(view)):
                self._end_files(span.index)
                part = view[done : done + size]
                self._hasher.update(part)
                self.take(part)
                done += size
                self.bytes_received += size
            if done != len(view):
                raise ValueError("bytes reach beyond the end of the stream")

    def finish(self, file_index: int, digest: bytes) -> tuple[Published, ...]:
        span = self._manifest.file_spans[file_index]
        if file_index in self._finished:
            return ()
        is_stream = self._manifest.kind == "stream"
        if self._order.held if is_stream else span.end > self.bytes_received:
            raise ValueError(f"file {file_index} is not whole")
        self._end_files(file_index + 1)
        if self._digests[file_index] != digest:
            raise DigestMismatch(self.shown(file_index))
        self.files_verified += 1
        self._finished.add(file_index)
        return ()

    def complete(self) -> tuple[Published, ...]:
        spans = self._manifest.file_spans
        if self.files_verified + len(self._skipped) != len(spans):
            raise ValueError(f"{len(spans) - self.files_verified} files are not finished")
        is_stream = self._manifest.kind == "stream"
        return tuple(
            Published(
                span.index, span.entry.path, self.bytes_received if is_stream else span.entry.size, None
            )
            for span in spans
            if span.index not in self._skipped
        )

    def publish_due(self) -> tuple[Published, ...]:
        return ()

    def suspend(self) -> Suspended:
        """Nothing is kept: what was passed on is gone, and what was not is of no use alone."""
        return Suspended(self.abort())

    def abort(self) -> tuple[Published, ...]:
        return ()

    def close(self) -> None:
        pass

    def take(self, data: memoryview) -> None:
        """The next bytes of the stream, all of one file."""
        raise NotImplementedError

    def shown(self, file_index: int) -> str:
        """What to call a file whose digest is wrong."""
        return self._manifest.file_spans[file_index].entry.path

    def _end_files(self, count: int) -> None:
        """The first `count` files have come whole."""
        while len(self._digests) < count:
            self._digests.append(self._hasher.digest())
            self._hasher.reset()


class NullSink(SequentialSink):
    """A Sink that verifies digests, counts (`bytes_received`, `files_verified`) and keeps nothing."""

    def take(self, data: memoryview) -> None:
        pass


class TextSink(SequentialSink):
    """A Sink for an offer of kind "text": `text` is it, once `complete` has returned."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._data = bytearray()

    def open(self, manifest: Manifest) -> Holding:
        if manifest.kind != "text":
            raise PeerProtocolError("files where a text was offered")
        return super().open(manifest)

    def take(self, data: memoryview) -> None:
        self._data += data

    def complete(self) -> tuple[Published, ...]:
        published = super().complete()
        try:
            self.text = self._data.decode()
        except UnicodeDecodeError:
            raise PeerProtocolError("a text that is not UTF-8") from None
        return published


class StdoutSink(SequentialSink):
    """A Sink that writes one offered file to a descriptor (`-o -`), which stays open: it is the caller's.

    A digest that does not match can only be told at the end (DigestMismatch, exit code 9), when the bytes are
    out: whoever reads the pipe must look at the exit code. `close` from another thread wakes a `write` that
    waits for the reader; it then raises TargetUnwritable.
    """

    def __init__(self, fd: int = 1) -> None:
        super().__init__()
        self._fd = fd
        use_bytes(fd)
        self._holes: deque[tuple[int, int]] = deque()  # of the file, those that are still to come
        self._written = 0  # bytes of the file, holes among them
        self._closed = False
        self._writing = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        # Only what can make us wait is polled. A regular file takes any piece at once.
        self._polled = sys.platform != "win32" and not stat.S_ISREG(os.fstat(fd).st_mode)

    def open(self, manifest: Manifest) -> Holding:
        if len(manifest.entries) != 1 or manifest.entries[0].kind is not EntryKind.FILE:
            raise BadOption(
                "--output -", "standard output takes one file, and more is offered; name a directory"
            )
        self._holes.extend(manifest.entries[0].holes)
        return super().open(manifest)

    def finish(self, file_index: int, digest: bytes) -> tuple[Published, ...]:
        published = super().finish(file_index, digest)
        self._fill_holes()
        return published

    def take(self, data: memoryview) -> None:
        while len(data):
            self._fill_holes()
            until = self._holes[0][0] if self._holes else self._written + len(data)
            part = data[: until - self._written]
            self._pass_on(part)
            data = data[len(part) :]

    def _fill_holes(self) -> None:
        """Whoever reads a file from a pipe gets its holes as zeros."""
        while self._holes and self._holes[0][0] == self._written:
            _, end = self._holes.popleft()
            while self._written < end:
                self._pass_on(_ZEROS[: end - self._written])

    def _pass_on(self, data: memoryview) -> None:
        self._written += len(data)
        try:
            with self._writing:
                self._write_all(data)
        except BrokenPipeError as problem:
            raise ReaderGone from problem
        except OSError as problem:
            raise target_error(problem, STANDARD_OUTPUT) from problem

    def shown(self, file_index: int) -> str:
        return STANDARD_OUTPUT

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        os.write(self._wake_write, b"\0")
        if self._writing.acquire(
            timeout=CLOSE_WAIT_S
        ):  # a blocked terminal may keep it; then the pipe is left open
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._writing.release()

    def _write_all(self, data: memoryview) -> None:
        while len(data):
            if self._closed:
                raise TargetUnwritable(STANDARD_OUTPUT, "it was closed")
            if not self._polled:
                data = data[os.write(self._fd, data) :]
                continue
            _, ready, _ = select.select([self._wake_read], [self._fd], [])
            if ready:
                try:
                    data = data[os.write(self._fd, data[:PIPE_STEP]) :]
                except BlockingIOError:  # somebody else made it non-blocking and filled it
                    continue
