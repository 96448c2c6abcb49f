"""Sending files and directories, each read to its end, whatever its size claims.

What becomes of a file between the offer and its last byte:

    written to before it is opened     sent as it is then; as much of it as was offered
    grown while it was read            the part that was offered is sent, and its user is told
    gone, unreadable, cut short,       withdrawn: the rest goes on, and both users are told
    rewritten, replaced
"""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from blake3 import blake3

from tallow_cli.errors import (
    LocalFileError,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    Unsendable,
    UsageError,
)
from tallow_cli.offer.manifest import Entry, LeftOut, Manifest, WhyLeftOut
from tallow_cli.offer.name_rules import POSIX, NameRules
from tallow_cli.store.excludes import Excludes
from tallow_cli.store.failures import displayable, is_gone, source_error
from tallow_cli.store.page_cache import LARGE_FILE_BYTES, UncachedReader, pread
from tallow_cli.store.scan import LocalFile, NotSent, Scan, scan
from tallow_cli.store.snapshots import Snapshots
from tallow_cli.store.source import EMPTY_DIGEST, Withdrawn
from tallow_cli.store.source_tree import SourceTree
from tallow_cli.transfer.messages import Why

CLOSE_WAIT_S: Final = 1.0
_NOTHING: Final = Manifest("files", ())
READ_AHEAD_FROM: Final = 1024 * 1024  # a smaller file is read in one or two calls anyway
REREAD_BYTES: Final = 1024 * 1024

# This machine is short of something: no reason to give a file up.
_OUR_TROUBLE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class FileSource:
    """A Source of files and directories (see store.scan for what is taken and what is left out).

    One file is open at a time. `excludes` are the user's patterns; with `skip_unsendable` what cannot be read, or
    cannot have its name at the receiver, is left out where it would otherwise end the transfer.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        excludes: Sequence[str] = (),
        skip_unsendable: bool = False,
    ) -> None:
        """Scan. Raises SourceMissing, SourceUnreadable, Unsendable, LocalFileError, UsageError."""
        if not paths:
            raise UsageError("There is nothing to send. Name files or directories.")
        self._paths = paths
        self._excludes = Excludes(excludes)
        self._skip_unsendable = skip_unsendable
        self._tree = SourceTree()
        self._snapshots = Snapshots()
        self._notices: list[str] = []
        self._manifest = _NOTHING
        self._files: list[LocalFile] = []
        self._left_out: tuple[NotSent, ...] = ()
        self._offered_before = ""
        self._settled = 0  # files read or withdrawn
        self._digests: list[bytes] = []  # of the settled ones; b"" for a withdrawn one
        self._withdrawn: dict[int, Withdrawn] = {}
        self._position = 0  # in the stream
        self._void_until = 0  # a withdrawn file's range reaches so far
        self._current: _OpenFile | None = None
        self._reading = threading.Lock()
        self._closed = False
        try:
            self._keep(self._scan(POSIX), fatal=(WhyLeftOut.UNREADABLE, WhyLeftOut.NAME))
        except BaseException:
            self.close()
            raise

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def left_out(self) -> tuple[NotSent, ...]:
        return self._left_out

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(self._notices)

    @property
    def files_read(self) -> int:
        return self._settled

    @property
    def withdrawn(self) -> Mapping[int, Withdrawn]:
        return self._withdrawn

    def prepare(self, names: NameRules) -> None:
        if self._position or self._settled:
            raise ValueError("what was read in part is not looked at again")
        # One string, and the first look forgotten before the second: a million entries take 700 MB less so.
        self._offered_before = "\0".join(entry.path for entry in self._manifest.entries)
        self._manifest, self._files = _NOTHING, []
        self._snapshots.close()
        self._snapshots = Snapshots()
        found = self._scan(names)
        found.left_out += _vanished(self._offered_before, found)
        self._keep(found, fatal=() if self._skip_unsendable else (WhyLeftOut.NAME,))

    def read(self, offset: int, size: int) -> bytes:
        if self._position < offset <= self._void_until:
            self._position = offset
        if offset != self._position:
            raise ValueError(f"read at {offset}, but the last read ended at {self._position}")
        with self._reading:
            self._settle_what_has_ended()
            data = self._take(size)
            if len(data) == size:  # the usual case: all of one file
                return data
            pieces = [data]
            while (size := size - len(data)) > 0 and (data := self._take(size)):
                pieces.append(data)
        return b"".join(pieces)

    def _take(self, size: int) -> bytes:
        """The next bytes of the stream, of one file; b"" at the end of all, and for nothing."""
        if size == 0 or self._closed:
            return b""
        piece = self._next_piece(size)
        self._position += len(piece)
        self._settle_what_has_ended()
        return piece

    def digest(self, file_index: int) -> bytes:
        if not 0 <= file_index < self._settled or file_index in self._withdrawn:
            raise ValueError(f"file {file_index} has not been read to its end")
        return self._digests[file_index]

    def close(self) -> None:
        self._closed = True
        # A descriptor closed under a read could be another file's by the time it is used. A disk that does
        # not answer keeps it.
        if self._reading.acquire(timeout=CLOSE_WAIT_S):
            if self._current is not None:
                self._current.close()
                self._current = None
            self._tree.close()
            self._snapshots.close()
            self._reading.release()

    # Scanning

    def _scan(self, names: NameRules) -> Scan:
        try:
            return scan(
                self._paths, tree=self._tree, snapshots=self._snapshots, excludes=self._excludes, names=names
            )
        finally:
            self._tree.close()  # a code may wait for hours; a directory must not be kept busy meanwhile

    def _keep(self, found: Scan, fatal: Sequence[WhyLeftOut]) -> None:
        """Keep what was found. Raises Unsendable or its like if something is left out for a reason in `fatal`."""
        if not self._skip_unsendable or not found.entries:
            problems = [item for item in found.left_out if item.why in fatal]
            if problems:
                raise _unsendable(problems)
        if not found.entries:
            if any(item.why.is_missed for item in found.left_out):
                raise _unsendable(found.left_out)
            raise UsageError("There is nothing to send: everything that was named is excluded.")
        counts = Counter(item.why for item in found.left_out)
        left_out = tuple(LeftOut(why, counts[why]) for why in WhyLeftOut if why in counts)
        self._manifest = Manifest("files", tuple(found.entries), left_out)
        self._files = found.files
        self._left_out = tuple(found.left_out)
        self._notices += [notice for notice in found.notices if notice not in self._notices]

    # Reading

    def _next_piece(self, wanted: int) -> bytes:
        """The next bytes of the stream, of one file; b"" at the end of all."""
        if self._position < self._void_until:
            return bytes(min(wanted, self._void_until - self._position))
        if self._settled == len(self._files):
            return b""
        try:
            piece = self._opened().read(wanted)
        except _Lost as lost:
            self._withdraw(lost)
            return bytes(min(wanted, self._void_until - self._position))
        return piece

    def _settle_what_has_ended(self) -> None:
        """Close and judge the files of which every offered byte was read, the empty ones among them."""
        while not self._closed and self._settled < len(self._files) and self._position >= self._void_until:
            try:
                current = self._opened()
                if current.missing:
                    return
                digest, notice = current.end()
            except _Lost as lost:
                self._withdraw(lost)
                continue
            self._digests.append(digest)
            if notice:
                self._notices.append(notice)
            self._next_file()

    def _opened(self) -> _OpenFile:
        """The file whose turn it is. Raises _Lost, SourceUnreadable."""
        if self._current is None:
            span = self._manifest.file_spans[self._settled]
            self._current = _OpenFile(self._files[self._settled], span.entry, self._tree, self._snapshots)
        return self._current

    def _withdraw(self, lost: _Lost) -> None:
        self._void_until = self._manifest.file_spans[self._settled].end
        self._withdrawn[self._settled] = Withdrawn(lost.why, lost.error)
        self._digests.append(b"")
        self._next_file()

    def _next_file(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None
        self._settled += 1
        if self._settled == len(self._files):
            self._tree.close()


class _Lost(Exception):
    """A file cannot be sent as it was offered."""

    def __init__(self, why: Why, error: LocalFileError) -> None:
        super().__init__(str(error))
        self.why = why
        self.error = error


class _OpenFile:
    """One file, read from front to back, and hashed; its holes are passed over."""

    def __init__(self, file: LocalFile, entry: Entry, tree: SourceTree, snapshots: Snapshots) -> None:
        """Raises _Lost if it is not there or too short, SourceUnreadable if this machine is short of something."""
        self._file = file
        self._entry = entry
        self._snapshots = snapshots
        self.missing = entry.data_bytes  # bytes of its data still to be read
        self._data_bytes = entry.data_bytes
        self._segments = _segments(entry)
        self._offset, self._segment_end = next(self._segments, (0, 0))
        self._hasher: blake3 | None = None
        self._digest = EMPTY_DIGEST
        self._uncached = UncachedReader() if entry.data_bytes >= LARGE_FILE_BYTES else None
        self._fd = -1
        if file.snapshot is not None:
            return
        try:
            self._fd = tree.open_file(file.directory, file.name, file.identity)
            status = os.fstat(self._fd)
        except OSError as problem:
            raise self._lost(problem) from problem
        # Nothing was read yet: what was written to it since the offer is as good as what was there before.
        self._mtime_ns = status.st_mtime_ns
        if status.st_size < file.size:
            self.close()
            raise self._changed("it became shorter")
        if self._data_bytes >= READ_AHEAD_FROM and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, wanted: int) -> bytes:
        """The next bytes of its data, all of them from one call in the usual case. Raises _Lost."""
        if self._offset == self._segment_end:
            self._offset, self._segment_end = next(self._segments)
        size = min(wanted, self._segment_end - self._offset)
        try:
            data = self._pread(size, self._offset)
        except OSError as problem:
            raise self._lost(problem) from problem
        if not data:
            raise self._changed("it became shorter")
        self._offset += len(data)
        self.missing -= len(data)
        if len(data) == self._data_bytes:
            self._digest = blake3(data).digest()
            return data
        if self._hasher is None:
            self._hasher = blake3()
        self._hasher.update(data)
        return data

    def end(self) -> tuple[bytes, str | None]:
        """The last offered byte was read: it must also be the last there is, and nothing rewritten meanwhile.

        Returns the digest, and a sentence if there is more by now. Raises _Lost.
        """
        digest = self._digest if self._hasher is None else self._hasher.digest()
        if self._fd < 0:
            return digest, None
        try:
            status = os.fstat(self._fd)
            is_longer = status.st_size > self._file.size or bool(self._pread(1, self._file.size))
            if status.st_size < self._file.size:
                raise self._changed("it became shorter")
            if (is_longer or status.st_mtime_ns != self._mtime_ns) and not self._reads_the_same(digest):
                raise self._changed("it was written to")
        except OSError as problem:
            raise self._lost(problem) from problem
        if not is_longer:
            return digest, None
        shown = displayable(self._file.path)
        return (
            digest,
            f"{shown} has grown since it was offered: its first {self._file.size:,} bytes were sent.",
        )

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _pread(self, size: int, offset: int) -> bytes:
        if self._file.snapshot is not None:
            return self._snapshots.read(self._file.snapshot, offset, size)
        if self._uncached is not None:
            return self._uncached.pread(self._fd, size, offset)
        return pread(self._fd, size, offset)

    def _reads_the_same(self, digest: bytes) -> bool:
        """Whether what was read is there still: something was appended, or only the time was changed.

        A large file is not read twice. One that is longer by now is taken for a log or a download, which are written at
        their end; in one of the same size something else was written.
        """
        if self._data_bytes >= LARGE_FILE_BYTES:
            return os.fstat(self._fd).st_size > self._file.size
        hasher = blake3()
        for start, end in _segments(self._entry):
            while start < end:
                data = self._pread(min(REREAD_BYTES, end - start), start)
                if not data:
                    return False
                hasher.update(data)
                start += len(data)
        return hasher.digest() == digest

    def _lost(self, problem: OSError) -> Exception:
        shown = displayable(self._file.path)
        self.close()
        if problem.errno in _OUR_TROUBLE:
            return source_error(problem, shown)
        if problem.errno == errno.ESTALE:
            return self._changed("another file took its place")
        error = source_error(problem, shown)
        return _Lost(Why.VANISHED if is_gone(problem) else Why.UNREADABLE, error)

    def _changed(self, how: str) -> _Lost:
        return _Lost(Why.CHANGED, SourceChanged(displayable(self._file.path), how))


def _segments(entry: Entry) -> Iterator[tuple[int, int]]:
    """Where the data of a file lies, between its holes."""
    position = 0
    for start, end in entry.holes:
        if position < start:
            yield position, start
        position = end
    if position < entry.size:
        yield position, entry.size


def _unsendable(problems: Sequence[NotSent]) -> LocalFileError:
    if len(problems) == 1 and problems[0].why is WhyLeftOut.UNREADABLE:
        return SourceUnreadable(problems[0].path, problems[0].reason)
    if len(problems) == 1 and problems[0].why is WhyLeftOut.VANISHED:
        return SourceMissing(problems[0].path)
    return Unsendable([(item.path, item.reason) for item in problems])


def _vanished(before: str, found: Scan) -> list[NotSent]:
    """What was there at the first look and is not found now, nor left out for a reason of its own.

    Of a directory that is gone with all it held, the directory alone is named.
    """
    here = {entry.path for entry in found.entries}
    gone: set[str] = {item.offered for item in found.left_out}
    vanished = []
    for path in before.split("\0"):
        if path in here:
            continue
        if path not in gone and not _lies_in_one(path, gone):
            vanished.append(
                NotSent(
                    displayable(path), WhyLeftOut.VANISHED, "it vanished while the code was waiting", path
                )
            )
        gone.add(path)
    return vanished


def _lies_in_one(path: str, directories: set[str]) -> bool:
    end = path.rfind("/")
    while end > 0:
        if path[:end] in directories:
            return True
        end = path.rfind("/", 0, end)
    return False
