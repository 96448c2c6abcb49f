"""The files of one receive that are not published yet: made when they are first needed, and few of them open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tallow_cli.errors import LocalFileError
from tallow_cli.offer.manifest import FileSpan, Manifest
from tallow_cli.offer.names import SafePath
from tallow_cli.store.failures import target_error
from tallow_cli.store.journaling import Journal
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.partial import PartialFile
from tallow_cli.store.receive_root import ReceiveRoot
from tallow_cli.store.resuming import Found
from tallow_cli.store.sparse import layout_of

KEEP_OPEN_FROM: Final = 1024 * 1024  # a smaller file is closed once whole; it is cheaper to open it again


class Partials:
    """By file index. Methods raise OSError, which `failure` makes a sentence of."""

    def __init__(
        self,
        root: ReceiveRoot,
        manifest: Manifest,
        paths: Sequence[SafePath],
        found: Mapping[int, Found],
        journal: Journal | None,
        limits: ReceiveLimits | None = None,
    ) -> None:
        """`paths`: one per entry. `found`: what there is already of some files."""
        self._root = root
        self._manifest = manifest
        self._paths = paths
        self._found = dict(found)
        self._journal = journal
        self._limits = limits or ReceiveLimits()
        self._partials: dict[int, PartialFile] = {}
        self._open: OrderedDict[int, PartialFile] = OrderedDict()

    def __contains__(self, index: int) -> bool:
        return index in self._partials

    def known(self) -> Iterator[tuple[int, PartialFile | Found]]:
        """All of which there is anything, ascending."""
        for index in sorted({*self._partials, *self._found}):
            yield index, self._partials.get(index) or self._found[index]

    def open_files(self) -> list[PartialFile]:
        return [partial for partial in self._open.values() if partial.is_open]

    def get(self, span: FileSpan) -> PartialFile:
        partial = self._partials.get(span.index)
        if partial is None:
            size = None if self._manifest.kind == "stream" else span.size
            partial = PartialFile(
                self._root, self._paths[span.entry_index], size, layout_of(span.entry), self._limits
            )
            found = self._found.pop(span.index, None)
            if found is not None:
                found.give(partial)
            self._partials[span.index] = partial
        return partial

    def use(self, span: FileSpan, partial: PartialFile) -> None:
        """Have its temporary open, and not too many others."""
        if partial.is_open:
            if len(self._open) > 1:
                self._open.move_to_end(span.index)
            return
        is_new = partial.temporary is None
        try:
            partial.open()
        finally:  # it may be there although no room could be reserved
            self._opened(span, partial, is_new=is_new)

    def _opened(self, span: FileSpan, partial: PartialFile, *, is_new: bool) -> None:
        if partial.is_open:
            self.touch(span, partial)
            if is_new:
                self._note(span, partial)

    def touch(self, span: FileSpan, partial: PartialFile) -> None:
        """It is about to be read, or was opened: close the one that was used longest ago."""
        if span.index in self._open:
            self._open.move_to_end(span.index)
            return
        self._open[span.index] = partial
        if len(self._open) > self._limits.open_files:
            _, oldest = self._open.popitem(last=False)
            oldest.close()

    def prove(self, span: FileSpan, start: int, end: int) -> bytes:
        partial = self.get(span)
        self.touch(span, partial)
        return partial.prove(start, end)

    def proved(self, span: FileSpan, start: int, end: int) -> None:
        partial = self.get(span)
        partial.proved(start, end)
        self._close_if_whole(span, partial)

    def write(self, span: FileSpan, offset: int, data: memoryview) -> PartialFile:
        partial = self._partials.get(span.index) or self.get(span)
        self.use(span, partial)
        partial.write(offset, data)
        if self._journal is not None and partial.number >= 0:
            self._journal.wrote(partial.number, offset, offset + len(data))
            if partial.has_copied:
                self._note_copied(partial)
        self._close_if_whole(span, partial)
        return partial

    def catch_up(self, span: FileSpan, budget_bytes: int) -> bool:
        """See PartialFile.catch_up."""
        partial = self.get(span)
        if partial.is_hashed:  # most are, and small ones are closed by now
            return True
        self.touch(span, partial)
        is_new = partial.temporary is None
        done = partial.catch_up(budget_bytes)
        if is_new and partial.temporary is not None:
            self._note(span, partial)
        self._note_copied(partial)
        return done

    def _close_if_whole(self, span: FileSpan, partial: PartialFile) -> None:
        size = partial.size
        if size is not None and size < KEEP_OPEN_FROM and partial.written == size:
            self._open.pop(span.index, None)
            partial.close()

    def _note(self, span: FileSpan, partial: PartialFile) -> None:
        if self._journal is not None:
            partial.number = self._journal.opened(partial, span.entry)
            self._note_copied(partial)

    def _note_copied(self, partial: PartialFile) -> None:
        for start, end in partial.take_copied():
            if self._journal is not None and partial.number >= 0:
                self._journal.wrote(partial.number, start, end)

    def close_all(self) -> None:
        """Release descriptors; the temporaries stay."""
        for partial in self._open.values():
            partial.close()
        self._open.clear()

    def forget(self, index: int) -> None:
        """It is published."""
        self._open.pop(index, None)
        self._partials.pop(index, None)

    def drop(self, span: FileSpan) -> None:
        """Remove what there is of it. Never raises."""
        if span.index not in self._partials and span.index not in self._found:
            return
        partial = self.get(span)
        self._open.pop(span.index, None)
        self._partials.pop(span.index)
        had_temporary = partial.temporary is not None
        partial.discard()
        if had_temporary and self._journal is not None and partial.number >= 0:
            self._journal.dropped(partial.number)

    def drop_all(self) -> None:
        for index, _ in list(self.known()):
            self.drop(self._manifest.file_spans[index])

    def failure(self, span: FileSpan, problem: OSError) -> LocalFileError:
        """What to raise."""
        partial = self._partials.get(span.index)
        missing = partial.size - partial.written if partial and partial.size is not None else None
        return target_error(problem, self._root.shown(self._paths[span.entry_index]), missing)
