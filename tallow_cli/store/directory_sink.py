"""Receiving into a directory, or into one named file.

A file's life: temporary made on its first byte → written and hashed → `finish`: digest compared → attributes
set, synced, with others in a batch → published under its name (store.publishing). `complete` then makes links,
gives directories their modes and times, and syncs directories. A crash at any point leaves a final name
absent or complete; whatever else ends the transfer, what was verified is published first.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final

from tallow_cli.errors import BadOption, DigestMismatch, LocalFileError
from tallow_cli.offer.manifest import EntryKind, FileSpan, Manifest
from tallow_cli.offer.names import ForbiddenName, SafePath, check_manifest_names, local_name
from tallow_cli.ranges import RangeSet
from tallow_cli.store import leftovers
from tallow_cli.store.failures import displayable, target_error
from tallow_cli.store.filesystem import Data, Filesystem, default_filesystem
from tallow_cli.store.partial import WRITEBACK_BYTES, PartialFile, as_view
from tallow_cli.store.placement import check_agreed, disk_bytes, find_conflicts, place
from tallow_cli.store.publishing import Publisher, blaming
from tallow_cli.store.receive_root import ReceiveRoot, Standing
from tallow_cli.store.sink import Conflict, Holding, OnConflict, Published, Suspended
from tallow_cli.store.sparse import layout_of
from tallow_cli.store.tree import ReceivedTree

MAX_OPEN_FILES: Final = 64
KEEP_OPEN_FROM: Final = 1024 * 1024  # a smaller file is closed once whole; it is cheaper to open it again


class DirectorySink:
    """A Sink that makes the offered tree below `path`.

    `on_conflict` may be changed until `open` (a user may be asked in between). With `make`, a missing
    directory is made by `open`, with those above it; otherwise a missing one raises TargetMissing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        on_conflict: OnConflict = OnConflict.REFUSE,
        *,
        make: bool = False,
        filesystem: Filesystem | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.on_conflict = on_conflict
        self._path = os.fspath(path)
        self._make = make
        self._filesystem = filesystem or default_filesystem()
        self._clock = clock
        self._root: ReceiveRoot | None = None
        self._lock: leftovers.ReceiveLock | None = None
        self._swept = False
        self._agreed: dict[SafePath, Standing] | None = None  # what may be replaced, as the user saw it
        self._replaced: dict[SafePath, Standing] = {}
        self._tree: ReceivedTree | None = None
        self._publisher: Publisher | None = None
        self._manifest = Manifest("files", ())
        self._paths: list[SafePath] = []  # one per entry
        self._partials: dict[int, PartialFile] = {}  # by file index, until published
        self._open_files: OrderedDict[int, PartialFile] = OrderedDict()
        self._last: FileSpan | None = None
        self._finished: set[int] = set()  # or skipped
        self._skipped: set[int] = set()
        self._told = RangeSet()  # of file indexes: returned as Published
        self._stream_unchecked = 0  # bytes of a stream written since the disk's room was looked at
        self._made_roots: list[str] = []  # the directory itself last
        self._completed = False
        self._notices: list[str] = []

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(self._notices)

    def conflicts(self, manifest: Manifest) -> list[Conflict]:
        if self._make and not os.path.lexists(self._path):
            self._agreed = {} if self._overwrites else None
            return []
        paths = self._names(manifest)
        root = self._opened_root()
        self._sweep(root)
        with blaming(displayable(self._path)):
            found, replaced = find_conflicts(root, manifest, paths, self.on_conflict)
            self._agreed = replaced if self._overwrites else None
        return found

    def open(self, manifest: Manifest) -> Holding:
        paths = self._names(manifest)
        if self._make and not os.path.lexists(self._path):
            with blaming(displayable(self._path)):
                self._make_root()
        root = self._opened_root()
        self._sweep(root)
        with blaming(displayable(self._path)):
            self._paths, replaced = place(root, manifest, paths, self.on_conflict)
            if self._agreed is not None and self._overwrites:
                check_agreed(root, self._agreed, replaced)
            root.check_room(disk_bytes(manifest))
            if manifest.kind == "stream":
                root.check_reserve()
            self._manifest = manifest
            self._tree = ReceivedTree(root, manifest.entries, self._paths)
            self._lock = leftovers.ReceiveLock(root, *self._tree.tops())  # before anything else is made
            root.check_writable(self._paths)
            self._publisher = Publisher(root, self.on_conflict, replaced, self._clock)
            self._replaced = replaced
            self._tree.make_directories(merge=self._overwrites)
        return Holding()

    def holding(self) -> Holding:
        held = RangeSet()
        for index, partial in sorted(self._partials.items()):
            start = self._manifest.file_spans[index].start
            for first, last in partial.held():
                held.add(start + first, start + last)
        return Holding(held=held, kept=RangeSet(self._told))

    def prove(self, start: int, end: int) -> bytes:
        raise ValueError("nothing was claimed")

    def proved(self, start: int, end: int) -> None:
        raise ValueError("nothing was claimed")

    def refuted(self, start: int, end: int) -> None:
        raise ValueError("nothing was claimed")

    def catch_up(self, file_index: int, budget_bytes: int) -> bool:
        return True

    def write(self, offset: int, data: Data) -> int:
        view = as_view(data)
        last = self._last  # most writes go where the one before went
        if last is not None and len(view) and last.start <= offset and offset + len(view) <= last.end:
            self._write_file(last, offset - last.start, view)
            return len(view)
        taken = 0
        for span, file_offset, size in self._manifest.slices(offset, len(view)):
            self._write_file(span, file_offset, view[taken : taken + size])
            taken += size
            self._last = span
        if taken != len(view):
            raise ValueError(f"bytes {offset} to {offset + len(view)} reach beyond the end of the stream")
        return taken

    def finish(self, file_index: int, digest: bytes) -> tuple[Published, ...]:
        span = self._manifest.file_spans[file_index]
        if file_index in self._finished:  # its digest came again, over another connection
            return self.publish_due()
        partial = self._partial(span)
        if partial.digest() != digest:
            self._drop(file_index)
            raise DigestMismatch(span.entry.path)
        if partial.temporary is None:  # an empty file has had no write
            try:
                self._use(span, partial)
            except OSError as problem:
                raise self._failure(span, problem) from problem
        self._finished.add(file_index)
        self._opened_publisher().add(span, partial)
        return self.publish_due()

    def forget_waiting(self) -> None:
        """Nothing waits here."""

    def skip(self, file_index: int) -> int:
        if file_index in self._skipped:
            return 0
        if file_index in self._finished:
            raise ValueError(f"file {file_index} is finished already")
        self._finished.add(file_index)
        self._skipped.add(file_index)
        if file_index in self._partials:
            self._drop(file_index)
        return 0

    def publish_due(self) -> tuple[Published, ...]:
        publisher = self._opened_publisher()
        # The last waits for complete(): nobody may report before links are made and directories are synced.
        if not publisher.is_due or len(self._finished) == len(self._manifest.file_spans):
            return ()
        publisher.publish()
        return self._take_published(publisher)

    def complete(self) -> tuple[Published, ...]:
        missing = len(self._manifest.file_spans) - len(self._finished)
        if missing or self._tree is None:
            raise ValueError(f"{missing} files are not finished, or the sink was not opened")
        publisher, root = self._opened_publisher(), self._opened_root()
        publisher.publish()
        with blaming(displayable(self._path)):
            self._notices += self._tree.make_links(self._replaced)
            kept = self._tree.settle(root.new_file_bits)
        if not (kept and publisher.attributes_kept):
            self._notices.append(
                f"{displayable(self._path)} does not keep modes and times, so some were lost"
            )
        self._completed = True
        self._unlock()
        return self._take_published(publisher)

    def suspend(self) -> Suspended:
        return Suspended(self.abort())

    def abort(self) -> tuple[Published, ...]:
        if self._completed or self._root is None:
            return ()
        published: tuple[Published, ...] = ()
        if self._publisher is not None:
            self._publisher.keep()
            published = self._take_published(self._publisher)
        for index in list(self._partials):
            self._drop(index)
        if self._tree is not None:
            self._tree.give_up(self._root.new_file_bits)
        self._unlock()
        with contextlib.suppress(OSError):  # something is in it
            while self._made_roots:
                os.rmdir(self._made_roots.pop())
        return published

    def _make_root(self) -> None:
        """Make the directory and those above it that are missing. Raises OSError."""
        missing = [self._path.rstrip(os.sep)]
        while (above := os.path.dirname(missing[-1])) and not os.path.lexists(above):
            missing.append(above)
        for directory in reversed(missing):
            os.mkdir(directory)
            self._made_roots.append(directory)

    def close(self) -> None:
        if self._root is not None:
            self.abort()
            root, self._root = self._root, None
            root.close()

    # Where things go

    @property
    def _overwrites(self) -> bool:
        return self.on_conflict is OnConflict.OVERWRITE

    def _names(self, manifest: Manifest) -> list[SafePath]:
        """One path per entry, before conflicts are resolved."""
        return check_manifest_names(manifest)

    def _opened_root(self) -> ReceiveRoot:
        if self._root is None:
            self._root = ReceiveRoot(self._path, self._filesystem)
        return self._root

    def _opened_publisher(self) -> Publisher:
        if self._publisher is None:
            raise ValueError("the sink was not opened")
        return self._publisher

    def _sweep(self, root: ReceiveRoot) -> None:
        """Once: what is found later is somebody's who died meanwhile."""
        if self._swept:
            return
        self._swept = True
        swept = leftovers.sweep(root)
        if swept.files:
            self._notices.append(leftovers.sentence(swept, self._path))

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _failure(self, span: FileSpan, problem: OSError) -> LocalFileError:
        partial = self._partials.get(span.index)
        missing = partial.size - partial.written if partial and partial.size is not None else None
        return target_error(problem, self._opened_root().shown(self._paths[span.entry_index]), missing)

    # One file

    def _partial(self, span: FileSpan) -> PartialFile:
        partial = self._partials.get(span.index)
        if partial is None:
            if span.index in self._finished:
                raise ValueError(f"file {span.index} is finished already")
            size = None if self._manifest.kind == "stream" else span.size
            partial = PartialFile(
                self._opened_root(), self._paths[span.entry_index], size, layout_of(span.entry)
            )
            self._partials[span.index] = partial
        return partial

    def _write_file(self, span: FileSpan, offset: int, data: memoryview) -> None:
        partial = self._partials.get(span.index) or self._partial(span)
        try:  # not _blaming: this runs per message, and a context manager costs a tenth of it
            self._use(span, partial)
            partial.write(offset, data)
            if partial.size is None:
                self._leave_room(len(data))
            elif partial.written == partial.size and partial.size < KEEP_OPEN_FROM:
                self._open_files.pop(span.index, None)
                partial.close()
        except OSError as problem:
            raise self._failure(span, problem) from problem

    def _leave_room(self, written: int) -> None:
        """Nobody knows how much of a stream will come. Raises DiskNearlyFull, OSError."""
        self._stream_unchecked += written
        if self._stream_unchecked >= WRITEBACK_BYTES:
            self._stream_unchecked = 0
            self._opened_root().check_reserve()

    def _use(self, span: FileSpan, partial: PartialFile) -> None:
        """Have it open, and not too many others."""
        if partial.is_open:
            if len(self._open_files) > 1:
                self._open_files.move_to_end(span.index)
            return
        partial.open()
        self._open_files[span.index] = partial
        if len(self._open_files) > MAX_OPEN_FILES:
            _, oldest = self._open_files.popitem(last=False)
            oldest.close()

    def _drop(self, index: int) -> None:
        self._open_files.pop(index, None)
        self._partials.pop(index).discard()

    def _take_published(self, publisher: Publisher) -> tuple[Published, ...]:
        published = publisher.take()
        for file in published:
            self._open_files.pop(file.file_index, None)
            self._partials.pop(file.file_index, None)
            self._told.add(file.file_index, file.file_index + 1)
        return published


class FileSink(DirectorySink):
    """A Sink that receives one offered file under the name the user gave (`-o FILE`), whatever the peer
    calls it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        on_conflict: OnConflict = OnConflict.REFUSE,
        *,
        filesystem: Filesystem | None = None,
    ) -> None:
        """Raises BadOption if `path` names no file."""
        directory, name = os.path.split(os.fspath(path))
        super().__init__(directory or os.curdir, on_conflict, filesystem=filesystem)
        try:
            self._name_wanted = local_name(name)
        except ForbiddenName:
            raise BadOption("--output", f"{displayable(path)} is not the name of a file") from None

    def _names(self, manifest: Manifest) -> list[SafePath]:
        if len(manifest.entries) != 1 or manifest.entries[0].kind is not EntryKind.FILE:
            raise BadOption("--output", "it names one file, and more is offered; name a directory instead")
        return [self._name_wanted]
