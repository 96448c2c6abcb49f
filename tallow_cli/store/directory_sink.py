"""Receiving into a directory, or into one named file.

A file's life: temporary made on its first byte → written and hashed → `finish`: digest compared → attributes
set, synced, with others in a batch → published under its name (store.publishing). `complete` then makes links,
gives directories their modes and times, and syncs directories. A crash at any point leaves a final name
absent or complete, and a journal (store.journaling) by which the next receive of the same things goes on; whatever else
ends the transfer, what was verified is published first.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from time import monotonic

from tallow_cli.errors import BadOption, DigestMismatch, DiskFull, TallowError
from tallow_cli.offer.manifest import EntryKind, FileSpan, Manifest
from tallow_cli.offer.names import ForbiddenName, SafePath, check_manifest_names, local_name
from tallow_cli.ranges import RangeSet
from tallow_cli.store import leftovers
from tallow_cli.store.failures import displayable
from tallow_cli.store.filesystem import Data, Filesystem, default_filesystem
from tallow_cli.store.journaling import Journal, in_a_thread, path_of
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.partial import WRITEBACK_BYTES, PartialFile, as_view
from tallow_cli.store.partials import Partials
from tallow_cli.store.placement import Placement, check_agreed, disk_bytes, find_conflicts, place
from tallow_cli.store.publishing import Publisher, blaming
from tallow_cli.store.receive_root import ReceiveRoot, Standing
from tallow_cli.store.resuming import EarlierReceives, Ours
from tallow_cli.store.sink import AtHand, Conflict, Holding, OnConflict, Published, Suspended
from tallow_cli.store.tree import ReceivedTree

_REPLACES = (OnConflict.OVERWRITE, OnConflict.UPDATE)
_MERGES = (*_REPLACES, OnConflict.SKIP)


class DirectorySink:
    """A Sink that makes the offered tree below `path`.

    `on_conflict` may be changed until `open` (a user may be asked in between). With `make`, a missing
    directory is made by `open`, with those above it; otherwise a missing one raises TargetMissing. Unless `resume`,
    nothing that an earlier receive left is gone on with, and nothing is left to be gone on with.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        on_conflict: OnConflict = OnConflict.REFUSE,
        *,
        make: bool = False,
        resume: bool = False,
        filesystem: Filesystem | None = None,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = time.time,
        in_background: Callable[[Callable[[], None]], None] = in_a_thread,
        limits: ReceiveLimits | None = None,
    ) -> None:
        """`clock` gives seconds, `wall_clock` since the epoch, as the times of files are. `in_background` does a job
        that nobody waits for.
        """
        self.on_conflict = on_conflict
        self._path = os.fspath(path)
        self._make = make
        self._resume = resume
        self._filesystem = filesystem or default_filesystem()
        self._clock = clock
        self._wall_clock = wall_clock
        self._in_background = in_background
        self._limits = limits or ReceiveLimits()
        self._root: ReceiveRoot | None = None
        self._earlier: EarlierReceives | None = None
        self._foreseen: Ours | None = None  # as it was before consent
        self._lock: leftovers.ReceiveLock | None = None
        self._journal: Journal | None = None
        self._agreed: dict[SafePath, Standing] | None = None  # what may be replaced, as the user saw it
        self._replaced: dict[SafePath, Standing] = {}
        self._tree: ReceivedTree | None = None
        self._publisher: Publisher | None = None
        self._manifest = Manifest("files", ())
        self._partials: Partials | None = None
        self._last: FileSpan | None = None
        self._finished: set[int] = set()  # or skipped, or kept
        self._skipped: set[int] = set()
        self._told = RangeSet()  # of file indexes: returned as Published, or kept
        self._interrupted: tuple[int, int] | None = None  # a write that failed: its offset, and what it did
        self._stream_unchecked = 0  # bytes of a stream written since the disk's room was looked at
        self._made_roots: list[str] = []  # the directory itself last
        self._goes_on = False  # with files that an earlier receive published
        self._has_ended = False
        self._notices: list[str] = []

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(self._notices)

    def conflicts(self, manifest: Manifest) -> list[Conflict]:
        if self._make and not os.path.lexists(self._path):
            self._agreed = {} if self._replaces else None
            return []
        paths = self._names(manifest)
        root = self._opened_root()
        with blaming(displayable(self._path)):
            ours = self._ours(root, manifest, paths)
            found, replaced = find_conflicts(root, manifest, ours, self.on_conflict)
            self._agreed = replaced if self._replaces else None
        self._foreseen = ours
        return found

    def at_hand(self, manifest: Manifest) -> AtHand:
        if self._root is None or self._foreseen is None:
            return AtHand()
        try:
            return place(self._root, manifest, self._foreseen, self.on_conflict).at_hand(manifest)
        except (TallowError, OSError):
            return AtHand()

    def open(self, manifest: Manifest) -> Holding:
        paths = self._names(manifest)
        if self._make and not os.path.lexists(self._path):
            with blaming(displayable(self._path)):
                self._make_root()
        root = self._opened_root()
        with blaming(displayable(self._path)):
            ours = self._ours(root, manifest, paths)
            placement = place(root, manifest, ours, self.on_conflict)
            if self._agreed is not None and self._replaces:
                check_agreed(root, self._agreed, placement.replaced)
            self._check_room(root, manifest, placement)
            self._manifest = manifest
            self._tree = ReceivedTree(root, manifest.entries, placement.paths)
            self._begin(root, manifest, paths, ours, placement, self._tree)
        return self.holding()

    def _begin(
        self,
        root: ReceiveRoot,
        manifest: Manifest,
        paths: list[SafePath],
        ours: Ours,
        placement: Placement,
        tree: ReceivedTree,
    ) -> None:
        """Make the lock before anything else, then all that is needed. Raises OSError, TargetUnwritable."""
        dead = ours.dead
        made, merged = (set(names) for names in tree.tops())
        if dead is not None and self._earlier is not None:
            renames = self.on_conflict is OnConflict.RENAME
            self._earlier.choose(ours, manifest, paths, renames=renames)
            self._tell_swept(self._earlier)
            root.go_on_as(dead.token)
            merged -= dead.made
            made, merged = made | dead.made, merged | dead.merged
        self._lock = leftovers.ReceiveLock(root, sorted(made), sorted(merged), dead=dead)
        if self._resume and self._lock.is_held and manifest.kind == "files":
            contents = None if dead is None else dead.contents
            self._journal = Journal(
                root,
                beside=self._lock.path,
                contents=contents,
                clock=self._clock,
                in_background=self._in_background,
                limits=self._limits,
            )
            for offered, local in placement.renamed.items():
                self._journal.renamed(offered, local)
        self._goes_on = bool(ours.published)
        self._partials = Partials(
            root, manifest, placement.paths, placement.found, self._journal, self._limits
        )
        self._replaced = placement.replaced
        self._publisher = Publisher(
            root, self.on_conflict, self._replaced, self._clock, self._journal, self._limits
        )
        root.check_writable(placement.paths)
        for start, end in placement.kept:
            self._finished.update(range(start, end))
            self._told.add(start, end)
        if dead is not None:
            names = {found.temporary for found in placement.found.values() if found.temporary}
            leftovers.sweep_rest(root, dead, names)
        new = tree.make_directories(
            merges=lambda path: self.on_conflict in _MERGES or path.top.name in ours.tops,
            is_ours=lambda path: path.top.name in ours.tops or path_of(path) in ours.made,
        )
        if self._journal is not None:
            for path in new:
                if path.top.name in merged:
                    self._journal.made(path)

    def holding(self) -> Holding:
        held, claims = RangeSet(), RangeSet()
        if self._partials is not None:
            for index, there in self._partials.known():
                start = self._manifest.file_spans[index].start
                for first, last in there.claims():
                    claims.add(start + first, start + last)
                if isinstance(there, PartialFile):
                    for first, last in there.held():
                        held.add(start + first, start + last)
        return Holding(held, RangeSet(self._told), claims)

    def prove(self, start: int, end: int) -> bytes:
        span = self._span_of(start, end)
        return self._opened_partials().prove(span, start - span.start, end - span.start)

    def proved(self, start: int, end: int) -> None:
        span = self._span_of(start, end)
        partials = self._opened_partials()
        try:
            partials.proved(span, start - span.start, end - span.start)
        except OSError as problem:
            raise partials.failure(span, problem) from problem

    def refuted(self, start: int, end: int) -> None:
        for span, offset, size in self._manifest.slices(start, end - start):
            self._opened_partials().get(span).refuted(offset, offset + size)

    def catch_up(self, file_index: int, budget_bytes: int) -> bool:
        if file_index in self._finished:
            return True
        partials, span = self._opened_partials(), self._manifest.file_spans[file_index]
        try:
            return partials.catch_up(span, budget_bytes)
        except OSError as problem:
            raise partials.failure(span, problem) from problem

    def write(self, offset: int, data: Data) -> int:
        view = as_view(data)
        last = self._last  # most writes go where the one before went
        if last is not None and len(view) and last.start <= offset and offset + len(view) <= last.end:
            self._write_file(last, offset - last.start, view)
            return len(view)
        taken, before = 0, 0
        if self._interrupted is not None and self._interrupted[0] == offset:  # the same call again
            before, self._interrupted = self._interrupted[1], None
        try:
            for span, file_offset, size in self._manifest.slices(offset, len(view)):
                if taken >= before:
                    self._write_file(span, file_offset, view[taken : taken + size])
                taken += size
                self._last = span
        except DiskFull:
            self._interrupted = (offset, taken)
            raise
        if taken != len(view):
            raise ValueError(f"bytes {offset} to {offset + len(view)} reach beyond the end of the stream")
        return taken

    def finish(self, file_index: int, digest: bytes) -> tuple[Published, ...]:
        span = self._manifest.file_spans[file_index]
        if (
            file_index in self._finished
        ):  # its digest came again, over another connection, or the disk was full
            return self.publish_due()
        partials = self._opened_partials()
        partial = partials.get(span)
        try:
            partials.catch_up(span, span.size)
            if partial.digest() != digest:
                partials.drop(span)
                raise DigestMismatch(span.entry.path)
            if partial.temporary is None and not partial.stands:  # an empty file has had no write
                partials.use(span, partial)
        except OSError as problem:
            raise partials.failure(span, problem) from problem
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
        self._opened_partials().drop(self._manifest.file_spans[file_index])
        return 0

    def publish_due(self) -> tuple[Published, ...]:
        publisher = self._opened_publisher()
        if self._journal is not None and self._partials is not None:
            self._journal.sync_due(self._partials.open_files)
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
        self._leave_nothing()
        return self._take_published(publisher)

    def suspend(self) -> Suspended:
        if self._has_ended or self._root is None:
            return Suspended()
        if self._journal is None or self._tree is None or self._partials is None:
            return Suspended(self.abort())
        published = self._keep_verified()
        self._journal.flush()
        if not self._journal.is_there:  # it could not be written
            return Suspended(published + self.abort())
        files = size = 0
        for index, there in list(self._partials.known()):
            has = there.claims().total + (there.held().total if isinstance(there, PartialFile) else 0)
            if there.temporary is not None and has:
                files, size = files + 1, size + has
            elif there.temporary is not None:
                self._partials.drop(self._manifest.file_spans[index])
        is_less = len(self._finished) < len(self._manifest.file_spans) or self._tree.has_links
        if not files and not (is_less and (self._told or self._goes_on)):
            return Suspended(published + self.abort())
        self._has_ended = True
        self._partials.close_all()
        self._tree.suspend(self._root.new_file_bits)
        self._journal.close()
        if self._lock is not None:
            self._lock.leave()
        return Suspended(published, files, size, displayable(self._path))

    def abort(self) -> tuple[Published, ...]:
        if self._has_ended or self._root is None:
            return ()
        published = self._keep_verified()
        if self._partials is not None:
            self._partials.drop_all()
        if self._tree is not None:
            self._tree.give_up(self._root.new_file_bits)
        self._leave_nothing()
        with contextlib.suppress(OSError):  # something is in it
            while self._made_roots:
                os.rmdir(self._made_roots.pop())
        return published

    def close(self) -> None:
        if self._root is not None:
            self.suspend()
            if self._earlier is not None:
                self._earlier.release()
            root, self._root = self._root, None
            root.close()

    def _keep_verified(self) -> tuple[Published, ...]:
        if self._publisher is None:
            return ()
        self._publisher.keep()
        return self._take_published(self._publisher)

    def _leave_nothing(self) -> None:
        """The journal first: a lock alone is a leftover."""
        self._has_ended = True
        if self._journal is not None:
            self._journal.remove()
        if self._lock is not None:
            self._lock.close()

    # Where things go

    def _make_root(self) -> None:
        """Make the directory and those above it that are missing. Raises OSError."""
        missing = [self._path.rstrip(os.sep)]
        while (above := os.path.dirname(missing[-1])) and not os.path.lexists(above):
            missing.append(above)
        for directory in reversed(missing):
            os.mkdir(directory)
            self._made_roots.append(directory)

    @property
    def _replaces(self) -> bool:
        return self.on_conflict in _REPLACES

    def _names(self, manifest: Manifest) -> list[SafePath]:
        """One path per entry, before conflicts are resolved."""
        return check_manifest_names(manifest)

    def _ours(self, root: ReceiveRoot, manifest: Manifest, paths: list[SafePath]) -> Ours:
        """What an earlier receive made of this offer. What is found later is somebody's who died meanwhile."""
        if self._earlier is None:
            self._earlier = EarlierReceives(root, self._wall_clock())
        ours = self._earlier.best(
            manifest,
            paths,
            renames=self.on_conflict is OnConflict.RENAME,
            resume=self._resume and manifest.kind == "files",
        )
        self._tell_swept(self._earlier)
        return ours

    def _tell_swept(self, earlier: EarlierReceives) -> None:
        if sentence := earlier.swept_sentence():
            self._notices.append(sentence)

    def _check_room(self, root: ReceiveRoot, manifest: Manifest, placement: Placement) -> None:
        """Raises DiskFull, OSError."""
        there = sum(found.disk_bytes for found in placement.found.values())
        spans = manifest.file_spans
        there += sum(spans[index].size for start, end in placement.kept for index in range(start, end))
        root.check_room(max(disk_bytes(manifest) - there, 0))
        if manifest.kind == "stream":
            root.check_reserve()

    def _opened_root(self) -> ReceiveRoot:
        if self._root is None:
            self._root = ReceiveRoot(self._path, self._filesystem, self._limits)
        return self._root

    def _opened_publisher(self) -> Publisher:
        if self._publisher is None:
            raise ValueError("the sink was not opened")
        return self._publisher

    def _opened_partials(self) -> Partials:
        if self._partials is None:
            raise ValueError("the sink was not opened")
        return self._partials

    # One file

    def _span_of(self, start: int, end: int) -> FileSpan:
        """The file that a piece lies in. Raises ValueError if there is none such."""
        span, _, size = next(self._manifest.slices(start, end - start), (None, 0, 0))
        if span is None or size != end - start or span.index in self._finished:
            raise ValueError(f"bytes {start} to {end} are no piece of a file")
        return span

    def _write_file(self, span: FileSpan, offset: int, data: memoryview) -> None:
        partials = self._opened_partials()
        if span.index in self._finished or self._has_ended:
            raise ValueError(f"file {span.index} is finished already, or the transfer has ended")
        try:  # not `blaming`: this runs per message, and a context manager costs a tenth of it
            partial = partials.write(span, offset, data)
            if partial.size is None:
                self._leave_room(len(data))
        except OSError as problem:
            if self._manifest.kind == "stream":
                self._opened_root().check_reserve()  # there is less than nothing to be waited for
            raise partials.failure(span, problem) from problem

    def _leave_room(self, written: int) -> None:
        """Nobody knows how much of a stream will come. Raises DiskNearlyFull, OSError."""
        self._stream_unchecked += written
        if self._stream_unchecked >= WRITEBACK_BYTES:
            self._stream_unchecked = 0
            self._opened_root().check_reserve()

    def _take_published(self, publisher: Publisher) -> tuple[Published, ...]:
        published = publisher.take()
        for file in published:
            self._opened_partials().forget(file.file_index)
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
        resume: bool = False,
        filesystem: Filesystem | None = None,
    ) -> None:
        """Raises BadOption if `path` names no file."""
        directory, name = os.path.split(os.fspath(path))
        super().__init__(directory or os.curdir, on_conflict, resume=resume, filesystem=filesystem)
        try:
            self._name_wanted = local_name(name)
        except ForbiddenName:
            raise BadOption("--output", f"{displayable(path)} is not the name of a file") from None

    def _names(self, manifest: Manifest) -> list[SafePath]:
        if len(manifest.entries) != 1 or manifest.entries[0].kind is not EntryKind.FILE:
            raise BadOption("--output", "it names one file, and more is offered; name a directory instead")
        return [self._name_wanted]
