"""Sending files and directories, each read to its end, whatever its size claims.

What becomes of a file between the offer and its last byte:

    written to before it is opened     sent as it is then; as much of it as was offered
    grown while it was read            the part that was offered is sent, and its user is told
    gone, unreadable, cut short,       withdrawn: the rest goes on, and both users are told
    rewritten, replaced
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tallow_cli.offer.manifest import Manifest
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.ranges import RangeSet
from tallow_cli.store.digests import DigestPass, PieceDigests
from tallow_cli.store.failures import displayable
from tallow_cli.store.opened_file import Change, Looks, Lost, OpenedFile, Reread
from tallow_cli.store.page_cache import LARGE_FILE_BYTES
from tallow_cli.store.scan import DEFAULT_BOUND, NotSent, OfferBound
from tallow_cli.store.selection import Selection
from tallow_cli.store.source import Range, Withdrawn
from tallow_cli.store.source_tree import SourceTree

CLOSE_WAIT_S: Final = 1.0
MAX_OPEN_FILES: Final = 3  # one that is read, one that is hashed, one of a piece or that is read again
READ_BYTES: Final = 1024 * 1024  # at once, where nobody but a digest wants it
# What opening a file and looking at it costs, in bytes that could be read and hashed meanwhile: about 30 us.
FILE_COST_BYTES: Final = 64 * 1024


class FileSource:
    """A Source of files and directories (see store.scan for what is taken and what is left out).

    Read in order, one file is open at a time. `excludes` are the user's patterns; with `skip_unsendable` what cannot
    be read, or cannot have its name at the receiver, is left out where it would otherwise end the transfer.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        excludes: Sequence[str] = (),
        skip_unsendable: bool = False,
        large_file_bytes: int = LARGE_FILE_BYTES,
        bound: OfferBound = DEFAULT_BOUND,
    ) -> None:
        """Scan. Raises SourceMissing, SourceUnreadable, Unsendable, LocalFileError, UsageError."""
        self._tree = SourceTree()
        self._large_file_bytes = large_file_bytes
        self._selection = Selection(
            paths, self._tree, excludes=excludes, skip_unsendable=skip_unsendable, bound=bound
        )
        self._withdrawn: dict[int, Withdrawn] = {}
        self._notices: list[str] = []
        self._open: dict[int, OpenedFile] = {}
        self._buffer = memoryview(b"")
        self._reading = threading.Lock()
        self._closed = False
        self._begun = False
        try:
            self._selection.look()
        except BaseException:
            self.close()
            raise
        self._start_over()

    def _start_over(self) -> None:
        self._files = self._selection.files
        self._spans = spans = self._selection.manifest.file_spans
        self._pass = DigestPass(spans, given_up=self._withdrawn)
        self._pieces = PieceDigests()
        self._looks = Looks(len(spans))
        self._seen_again: int | None = (
            None  # of the files hashed in earlier attempts: those looked at in this one
        )
        self._read_ahead: set[int] = set()  # files of which something was read before it was hashed
        self._reread: Reread | None = None

    @property
    def manifest(self) -> Manifest:
        return self._selection.manifest

    @property
    def left_out(self) -> tuple[NotSent, ...]:
        return self._selection.left_out

    @property
    def notices(self) -> tuple[str, ...]:
        return (*self._selection.notices, *self._notices)

    @property
    def withdrawn(self) -> Mapping[int, Withdrawn]:
        return self._withdrawn

    @property
    def files_read(self) -> int:
        return self._pass.index if self._seen_again is None else self._seen_again

    def prepare(self, names: NameRules) -> None:
        if self._begun:
            raise ValueError("what was read in part is not looked at again")
        self._selection.look_again(names)
        self._start_over()

    def begin(self, kept: RangeSet | None = None, pieces: Sequence[Range] = ()) -> None:
        with self._reading:
            self._pass.begin(kept or RangeSet())
            self._pieces = PieceDigests(pieces)
            self._seen_again = 0 if self._begun else None
            self._begun = True

    def release(self, offset: int) -> None:
        pass  # files can be read again

    def piece_digests(self) -> tuple[int, list[bytes]]:
        return self._pieces.take()

    def digest(self, file_index: int) -> bytes:
        if file_index >= self.files_read or file_index in self._withdrawn:
            raise ValueError(f"file {file_index} has not been read to its end")
        return self._pass.digest(file_index)

    def close(self) -> None:
        self._closed = True
        # A descriptor closed under a read could be another file's by the time it is used. A disk that does
        # not answer keeps it.
        if self._reading.acquire(timeout=CLOSE_WAIT_S):
            for index in list(self._open):
                self._close_file(index)
            self._tree.close()
            self._selection.close()
            self._reading.release()

    # Reading

    def read_at(self, offset: int, size: int) -> bytes:
        with self._reading:
            self._begun = True
            data = self._read_some(offset, size)
            if len(data) == size:  # the usual case: all of one file
                return data
            parts = []
            while data:
                parts.append(data)
                offset += len(data)
                size -= len(data)
                data = self._read_some(offset, size)
        return b"".join(parts)

    def _read_some(self, offset: int, wanted: int) -> bytes:
        """Of one file; b"" for nothing, at the end of all, and when closed."""
        if wanted <= 0 or self._closed:
            return b""
        digests = self._pass
        if offset == digests.position and not digests.left_bytes:
            self._judge_ended()
        left_bytes = digests.left_bytes
        if offset != digests.position or not left_bytes:
            return self._read_apart(offset, wanted)
        index = digests.index
        try:
            data = self._opened(index).read(offset - self._spans[index].start, min(wanted, left_bytes))
        except Lost as lost:
            self._withdraw(index, lost)
            return bytes(min(wanted, left_bytes))
        digests.pass_over(data)
        if len(data) == left_bytes:
            self._judge_ended()
        return data

    def _read_apart(self, offset: int, wanted: int) -> bytes:
        """From elsewhere than where the hashing stands."""
        part = next(self.manifest.slices(offset, wanted), None)
        if part is None:
            return b""
        index = part.span.index
        if index in self._withdrawn:
            return bytes(part.size)
        try:
            opened = self._opened(index)
            data = opened.read(part.offset, part.size)
            if self._pass.has_digest(index):
                self._check_hashed(index, opened)
        except Lost as lost:
            self._withdraw(index, lost)
            return bytes(part.size)
        self._note_apart(index, offset, data)
        return data

    def _check_hashed(self, index: int, opened: OpenedFile) -> None:
        """What was read of a file must be what its digest was made of. Raises Lost."""
        self._check(index, opened, self._pass.digest(index))
        self._end_reread()

    def _note_apart(self, index: int, offset: int, data: bytes | memoryview) -> None:
        """Hash what lies where the hashing stands, and remember what lies beyond."""
        position = self._pass.position
        if index == self._pass.index and offset <= position < offset + len(data):
            self._pass.pass_over(memoryview(data)[position - offset :])
            self._judge_ended()
        elif offset >= position:
            self._read_ahead.add(index)

    def _opened(self, index: int) -> OpenedFile:
        """Raises Lost, SourceUnreadable."""
        opened = self._open.get(index)
        if opened is None:
            while len(self._open) >= MAX_OPEN_FILES:
                self._close_file(next(other for other in self._open if other != self._pass.index))
            # Without a look, nothing was read yet: what was written since the offer is as good as what was before.
            file, entry, look = self._files[index], self._spans[index].entry, self._looks[index]
            opened = OpenedFile(
                file, entry, self._tree, self._selection.snapshots, look, self._large_file_bytes
            )
            self._open[index] = opened
        return opened

    def _scratch(self, size: int) -> memoryview:
        """Memory for what is only hashed, for `size` bytes at most."""
        if not self._buffer:
            self._buffer = memoryview(bytearray(READ_BYTES))
        return self._buffer[:size]

    def _close_file(self, index: int) -> None:
        opened = self._open.pop(index, None)
        if opened is not None:
            self._looks.keep(index, opened.look)
            opened.close()
        if self._pass.index == len(self._files):
            self._tree.close()  # opened again if a file is needed once more

    # Hashing what nobody reads

    def settle(self, until: int, budget_bytes: int) -> bool:
        with self._reading:
            self._begun = True
            while (step := self._next_step(until)) is not None:
                if budget_bytes <= 0:
                    return True
                budget_bytes -= step()
        return False

    def _next_step(self, until: int) -> Callable[[], int] | None:
        """What to do next; it returns what it costs, in bytes."""
        if self._closed:
            return None
        if self._reread is not None:
            return self._reread_some
        if self._seen_again is not None:
            return self._see_again
        if self._pass.at_end:
            return self._judge
        position, needed = self._pass.position, self._pieces.position
        if needed is not None and (needed < position or position >= until):
            return self._hash_piece
        if position < until and self._pass.left_bytes:
            return lambda: self._hash_on(until)
        return None

    def _hash_on(self, until: int) -> int:
        index, position = self._pass.index, self._pass.position
        size = min(self._pass.left_bytes, until - position)
        try:
            data = self._opened(index).read_into(position - self._spans[index].start, self._scratch(size))
        except Lost as lost:
            self._withdraw(index, lost)
            return FILE_COST_BYTES
        self._pieces.feed(position, data)
        self._pass.pass_over(data)
        return len(data)

    def _hash_piece(self) -> int:
        """Some of a piece that the hashing does not come by, or not soon."""
        offset = self._pieces.position
        if offset is None:
            return 0
        part = next(self.manifest.slices(offset, min(READ_BYTES, self._pieces.end - offset)))
        index = part.span.index
        if index in self._withdrawn:
            self._pieces.give_up()
            return 0
        try:
            data = self._opened(index).read_into(part.offset, self._scratch(part.size))
        except Lost as lost:
            self._withdraw(index, lost)
            return FILE_COST_BYTES
        self._pieces.feed(offset, data)
        self._note_apart(index, offset, data)
        return len(data)

    def _see_again(self) -> int:
        """The next file that was hashed in an earlier attempt: is it as it was?"""
        index = self._seen_again
        if index is None:
            return 0
        while index < self._pass.index and (self._pass.is_kept(index) or index in self._withdrawn):
            index += 1
        self._seen_again = index
        if index == self._pass.index:
            self._seen_again = None
            return 0
        try:
            self._check(index, self._opened(index), self._pass.digest(index))
        except Lost as lost:
            self._withdraw(index, lost)
        if self._reread is None:
            self._close_file(index)
            self._seen_again = index + 1
        return FILE_COST_BYTES

    # Judging

    def _judge_ended(self) -> None:
        while self._pass.at_end and self._reread is None and not self._closed:
            self._judge()

    def _judge(self) -> int:
        """A file was hashed to its end: that must be the end of what was offered, and nothing rewritten meanwhile."""
        index = self._pass.index
        try:
            opened = self._opened(index)
            self._check(index, opened, self._pass.computed())
        except Lost as lost:
            self._withdraw(index, lost)
            return FILE_COST_BYTES
        if self._reread is None:
            if opened.has_grown:
                file = self._files[index]
                self._notices.append(
                    f"{displayable(file.path)} has grown since it was offered: "
                    f"its first {file.size:,} bytes were sent."
                )
            self._read_ahead.discard(index)
            self._pass.settle()
            self._close_file(index)
        return FILE_COST_BYTES

    def _check(self, index: int, opened: OpenedFile, digest: bytes) -> None:
        """Whether a file still has the digest it had. Where only reading tells, `_reread` is there afterwards.

        A large file that was written to is not read twice. One that is longer by now is taken for a log or a download,
        which are written at their end; in one of the same size something else was written. Raises Lost.
        """
        change = opened.change()
        if change is Change.NONE:
            return
        span = self._spans[index]
        is_large = span.size >= self._large_file_bytes
        if not opened.has_grown and (index in self._read_ahead or (is_large and change is Change.WRITTEN)):
            raise opened.changed("it was written to")
        if is_large and change is Change.WRITTEN:
            opened.accept()
            return
        opened.accept()  # that it changed once more meanwhile shall be seen
        self._reread = Reread(index, digest, span.size)
        if not is_large:
            self._end_reread()

    def _end_reread(self) -> None:
        """Raises Lost."""
        try:
            while self._reread is not None:
                self._reread_on(self._reread)
        except Lost:
            self._reread = None
            raise

    def _reread_some(self) -> int:
        reread = self._reread
        if reread is None:
            return 0
        try:
            return self._reread_on(reread)
        except Lost as lost:
            self._reread = None
            self._lose(reread.index, lost)
            return FILE_COST_BYTES

    def _reread_on(self, reread: Reread) -> int:
        """Raises Lost."""
        opened = self._opened(reread.index)
        if not reread.is_over:
            return reread.read_some(opened, self._scratch(READ_BYTES))
        change = opened.change()
        if not reread.is_same or (change is Change.WRITTEN and not opened.has_grown):
            raise opened.changed("it was written to")
        opened.accept()
        self._reread = None
        return 0

    def _lose(self, index: int, lost: Lost) -> None:
        """Withdraw a file of which all may have been read, or raise its error where that is too late: its digest was
        given.
        """
        if index < self.files_read:
            raise lost.error from lost
        self._withdraw(index, lost)

    def _withdraw(self, index: int, lost: Lost) -> None:
        self._withdrawn[index] = Withdrawn(lost.why, lost.error)
        self._read_ahead.discard(index)
        if self._pass.index == index:
            self._pass.skip()
        self._close_file(index)
