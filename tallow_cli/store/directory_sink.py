"""Receiving into a directory, or into one named file.

A file's life: temporary made on its first byte → written and hashed → whole: attributes set → `finish`:
digest compared → synced, with others in a batch → published under its name. `complete` then makes links,
gives directories their modes and times, and syncs directories. A crash at any point leaves a final name
absent or complete.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from tallow_cli.core.manifest import PERMISSION_BITS, EntryKind, FileSpan, Manifest
from tallow_cli.core.names import ForbiddenName, SafePath, check_manifest_names, local_name
from tallow_cli.errors import BadOption, DigestMismatch, LocalFileError, TargetExists
from tallow_cli.store.failures import displayable, target_error
from tallow_cli.store.filesystem import Data, Filesystem, default_filesystem
from tallow_cli.store.partial import PartialFile, as_view
from tallow_cli.store.placement import disk_bytes, find_conflicts, next_free, place
from tallow_cli.store.receive_root import ReceiveRoot
from tallow_cli.store.sink import Conflict, OnConflict, Published
from tallow_cli.store.syncing import current_umask, sync_files
from tallow_cli.store.tree import ReceivedTree

MAX_OPEN_FILES: Final = 64
KEEP_OPEN_FROM: Final = 1024 * 1024  # a smaller file is closed once whole; it is cheaper to open it again
BATCH_BYTES: Final = 64 * 1024 * 1024  # about half a second of a disk's time
BATCH_FILES: Final = 4096
OWNER_BITS: Final = 0o400  # whatever the peer says, the owner can read what was received
PUBLISH_TRIES: Final = 100  # numbers to go through when others take names as fast as we find them free


class DirectorySink:
    """A Sink that makes the offered tree below `path`.

    `on_conflict` may be changed until `open` (a user may be asked in between). With `make`, a missing
    directory is made by `open`, in an existing parent; otherwise a missing one raises TargetNotDirectory.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        on_conflict: OnConflict = OnConflict.REFUSE,
        *,
        make: bool = False,
        filesystem: Filesystem | None = None,
    ) -> None:
        self.on_conflict = on_conflict
        self._path = os.fspath(path)
        self._make = make
        self._filesystem = filesystem or default_filesystem()
        self._root: ReceiveRoot | None = None
        self._tree: ReceivedTree | None = None
        self._manifest = Manifest("files", ())
        self._paths: list[SafePath] = []  # one per entry
        self._partials: dict[int, PartialFile] = {}  # by file index, until published
        self._open_files: OrderedDict[int, PartialFile] = OrderedDict()
        self._last: FileSpan | None = None
        self._pending: list[int] = []  # verified, to be synced and published
        self._pending_bytes = 0
        self._finished: set[int] = set()
        self._made_root = False
        self._completed = False
        self._notices: list[str] = []
        self._attributes_kept = True
        self._umask = current_umask()

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(self._notices)

    def conflicts(self, manifest: Manifest) -> list[Conflict]:
        if self._make and not os.path.lexists(self._path):
            return []
        paths = self._names(manifest)
        root = self._opened_root()
        with _sentences(displayable(self._path)):
            return find_conflicts(root, manifest, paths, self.on_conflict)

    def open(self, manifest: Manifest) -> None:
        paths = self._names(manifest)
        if self._make and not os.path.lexists(self._path):
            with _sentences(displayable(self._path)):
                os.mkdir(self._path)
                self._made_root = True
        root = self._opened_root()
        with _sentences(displayable(self._path)):
            self._paths = place(root, manifest, paths, self.on_conflict)
            root.check_room(disk_bytes(manifest))
            root.check_writable(self._paths)
            self._manifest = manifest
            self._tree = ReceivedTree(root, manifest.entries, self._paths)
            self._tree.make_directories(merge=self._overwrites)

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
        if file_index in self._finished:
            raise ValueError(f"file {file_index} is finished twice")
        partial = self._partial(span)
        with self._blaming(span):
            found = partial.digest()
            if found == digest and (partial.temporary is None or partial.size is None):
                self._use(span, partial)  # an empty file has had no write, a stream no end
                self._settle(span, partial)
        if found != digest:
            self._drop(file_index)
            raise DigestMismatch(span.entry.path)
        self._finished.add(file_index)
        self._pending.append(file_index)
        self._pending_bytes += partial.written
        if len(self._finished) == len(self._manifest.file_spans):
            return ()  # the rest waits for complete(): nobody may report before directories are synced
        if len(self._pending) >= BATCH_FILES or self._pending_bytes >= BATCH_BYTES:
            return self._publish_pending()
        return ()

    def complete(self) -> tuple[Published, ...]:
        missing = len(self._manifest.file_spans) - len(self._finished)
        if missing or self._tree is None:
            raise ValueError(f"{missing} files are not finished, or the sink was not opened")
        published = self._publish_pending()
        with _sentences(displayable(self._path)):
            self._notices += self._tree.make_links(replace=self._overwrites)
            self._attributes_kept &= self._tree.settle(self._umask)
        if not self._attributes_kept:
            self._notices.append(
                f"{displayable(self._path)} does not keep modes and times, so some were lost"
            )
        self._completed = True
        return published

    def abort(self) -> None:
        if self._completed or self._root is None:
            return
        for index in list(self._partials):
            self._drop(index)
        self._pending.clear()
        if self._tree is not None:
            self._tree.clear()
        if self._made_root:
            with contextlib.suppress(OSError):  # something is in it
                os.rmdir(self._path)

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

    def _shown(self, span: FileSpan) -> str:
        return self._opened_root().shown(self._paths[span.entry_index])

    @contextlib.contextmanager
    def _blaming(self, span: FileSpan) -> Iterator[None]:
        """Turns an OSError into the LocalFileError for this file."""
        try:
            yield
        except OSError as problem:
            raise self._failure(span, problem) from problem

    def _failure(self, span: FileSpan, problem: OSError) -> LocalFileError:
        partial = self._partials.get(span.index)
        missing = partial.size - partial.written if partial and partial.size is not None else None
        return target_error(problem, self._shown(span), missing)

    # One file

    def _partial(self, span: FileSpan) -> PartialFile:
        partial = self._partials.get(span.index)
        if partial is None:
            if span.index in self._finished:
                raise ValueError(f"file {span.index} is finished already")
            size = None if self._manifest.kind == "stream" else span.size
            partial = PartialFile(self._opened_root(), self._paths[span.entry_index], size)
            self._partials[span.index] = partial
        return partial

    def _write_file(self, span: FileSpan, offset: int, data: memoryview) -> None:
        partial = self._partials.get(span.index) or self._partial(span)
        try:  # not _blaming: this runs per message, and a context manager costs a tenth of it
            self._use(span, partial)
            partial.write(offset, data)
            if partial.written == partial.size:
                self._settle(span, partial)
        except OSError as problem:
            raise self._failure(span, problem) from problem

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

    def _settle(self, span: FileSpan, partial: PartialFile) -> None:
        """No byte will be written any more: set mode and time."""
        mode = (span.entry.mode & PERMISSION_BITS & ~self._umask) | OWNER_BITS
        self._attributes_kept &= partial.set_attributes(mode, span.entry.mtime_ns)
        if partial.written < KEEP_OPEN_FROM:
            self._open_files.pop(span.index, None)
            partial.close()

    def _drop(self, index: int) -> None:
        self._open_files.pop(index, None)
        self._partials.pop(index).discard()

    # Publishing

    def _publish_pending(self) -> tuple[Published, ...]:
        """Sync and publish what is verified. What was published stays so if a later one fails."""
        root = self._opened_root()
        with _sentences(displayable(self._path)):
            sync_files(root, [self._partials[index] for index in self._pending])
        published = []
        for index in self._pending:
            published.append(self._publish(root, self._manifest.file_spans[index]))
        self._pending.clear()
        self._pending_bytes = 0
        return tuple(published)

    def _publish(self, root: ReceiveRoot, span: FileSpan) -> Published:
        partial = self._partials[span.index]
        self._open_files.pop(span.index, None)
        with self._blaming(span):
            partial.close()  # Windows renames no open file
            self._name(root, span, partial)
        del self._partials[span.index]
        return Published(span.index, span.entry.path, partial.written, self._shown(span))

    def _name(self, root: ReceiveRoot, span: FileSpan, partial: PartialFile) -> None:
        """Give it its final name; under RENAME another, if somebody took that one since `open`."""
        path = partial.path
        for _ in range(PUBLISH_TRIES):
            try:
                partial.publish(path, replace=self._overwrites)
                self._paths[span.entry_index] = path
                return
            except FileExistsError:
                if self.on_conflict is not OnConflict.RENAME or len(path.components) > 1:
                    raise
                path = next_free(partial.path, False, lambda name: root.existing_kind(name) is None)
        raise TargetExists(root.shown(path))


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


@contextlib.contextmanager
def _sentences(path: str) -> Iterator[None]:
    """Turns an OSError into the LocalFileError for `path`."""
    try:
        yield
    except OSError as problem:
        raise target_error(problem, path) from problem
