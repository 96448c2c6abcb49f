"""From verified to published: attributes set, synced in batches, under its name.

A batch is published when it is large, or when its first file has waited for PUBLISH_AFTER_S: whatever ends the
transfer, no more than that is in danger.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tallow_cli.errors import LocalFileError, TargetChanged, TargetExists
from tallow_cli.offer.manifest import PERMISSION_BITS, FileSpan
from tallow_cli.offer.names import SafePath
from tallow_cli.store.failures import displayable, target_error
from tallow_cli.store.journaling import Journal
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.partial import PartialFile
from tallow_cli.store.placement import next_free
from tallow_cli.store.receive_root import ReceiveRoot, Standing
from tallow_cli.store.sink import OnConflict, Published
from tallow_cli.store.syncing import SYNC_SINGLY_UP_TO, sync_files

PUBLISH_AFTER_S: Final = 2.0
OWNER_BITS: Final = 0o400  # whatever the peer says, the owner can read what was received


class Publisher:
    """Takes verified files and names them. One thread at a time."""

    def __init__(
        self,
        root: ReceiveRoot,
        on_conflict: OnConflict,
        replaced: Mapping[SafePath, Standing],
        clock: Callable[[], float],
        journal: Journal | None = None,
        limits: ReceiveLimits | None = None,
    ) -> None:
        """`replaced` is what the user agreed to have replaced. `clock` gives seconds. `journal`: in which the files
        stand, so that what is named is known to be ours by the next receive.
        """
        self.attributes_kept = True
        self._root = root
        self._on_conflict = on_conflict
        self._replaced = replaced
        self._clock = clock
        self._journal = journal
        self._limits = limits or ReceiveLimits()
        self._waiting: deque[tuple[FileSpan, PartialFile]] = deque()
        self._waiting_bytes = 0
        self._since = 0.0  # when the first of them came
        self._published: list[Published] = []

    def add(self, span: FileSpan, partial: PartialFile) -> None:
        """This file is verified."""
        if not self._waiting:
            self._since = self._clock()
        self._waiting.append((span, partial))
        self._waiting_bytes += partial.written

    @property
    def is_due(self) -> bool:
        return bool(self._waiting) and (
            len(self._waiting) >= self._limits.batch_files
            or self._waiting_bytes >= self._limits.batch_bytes
            or self._clock() - self._since >= PUBLISH_AFTER_S
        )

    def take(self) -> tuple[Published, ...]:
        """What was published since the last call."""
        published, self._published = self._published, []
        return tuple(published)

    def publish(self) -> None:
        """Sync and name all that waits. Raises LocalFileError; what has its name by then is in `take`."""
        opened = len(self._waiting) <= SYNC_SINGLY_UP_TO
        if self._journal is not None and self._waiting:
            self._journal.sync()  # it may say less than is there, but not of what has its name
        for span, partial in self._waiting:
            self._set_attributes(span, partial, stay_open=opened)
        with blaming(displayable(self._root.path)):
            sync_files(self._root, [partial for _, partial in self._waiting if not partial.stands])
        while self._waiting:
            self._name(*self._waiting[0], number_taken=self._on_conflict is OnConflict.RENAME)
            self._waiting.popleft()
        self._waiting_bytes = 0

    def keep(self) -> None:
        """Publish what waits although the transfer failed, if need be under a numbered name. Never raises."""
        with contextlib.suppress(LocalFileError):
            self.publish()
        for span, partial in self._waiting:  # one of them fails: the others shall not go with it
            with contextlib.suppress(LocalFileError), blaming(self._root.path):
                self._set_attributes(span, partial, stay_open=True)
                partial.sync()
                self._name(span, partial, number_taken=True)
        self._waiting.clear()

    def _set_attributes(self, span: FileSpan, partial: PartialFile, *, stay_open: bool) -> None:
        """Only now may others than the owner open it: it is what was sent. Raises LocalFileError."""
        if partial.stands:
            return
        stay_open |= partial.is_open
        mode = (span.entry.mode & PERMISSION_BITS & self._root.new_file_bits) | OWNER_BITS
        try:  # not `blaming`, here and below: these run per file, and a fifth of their time would be its
            self.attributes_kept &= partial.set_attributes(mode, span.entry.mtime_ns)
            if not stay_open:
                partial.close()
        except OSError as problem:
            raise target_error(problem, self._root.shown(partial.path)) from problem

    def _name(self, span: FileSpan, partial: PartialFile, *, number_taken: bool) -> None:
        """Give it its final name, or with `number_taken` another if that one is taken. Raises LocalFileError."""
        path = partial.path
        try:
            if partial.stands:
                partial.keep_standing(span.entry.mtime_ns)
                self._done(span, partial, path)
                return
            if sys.platform == "win32":  # which renames no open file
                partial.close()
            try:
                partial.publish(path, replaces=self._replaced.get(path))
            except (FileExistsError, TargetChanged):
                if not number_taken:
                    raise
                path = self._publish_numbered(partial)
        except OSError as problem:
            raise target_error(problem, self._root.shown(path)) from problem
        self._done(span, partial, path)

    def _done(self, span: FileSpan, partial: PartialFile, path: SafePath) -> None:
        partial.close()
        size = partial.written if partial.size is None else span.entry.size
        self._published.append(Published(span.index, span.entry.path, size, self._root.shown(path)))

    def _publish_numbered(self, partial: PartialFile) -> SafePath:
        """Publish it as `name (1)`, `name (2)`, …; returns where. Raises TargetExists, OSError."""
        for _ in range(self._limits.publish_tries):
            path = next_free(partial.path, False, lambda name: self._root.standing(name) is None)
            if self._journal is not None:
                self._journal.named(partial.number, path)
                self._journal.flush()
            with contextlib.suppress(FileExistsError):
                partial.publish(path)
                return path
        raise TargetExists(self._root.shown(partial.path))


@contextlib.contextmanager
def blaming(path: str, missing: int | None = None) -> Iterator[None]:
    """Turns an OSError into the LocalFileError for `path`; `missing` bytes were still to be written."""
    try:
        yield
    except OSError as problem:
        raise target_error(problem, path, missing) from problem
