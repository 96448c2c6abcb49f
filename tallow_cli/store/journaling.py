"""Keeping the journal of a receive: what its unfinished files have, appended as it comes in.

Plain appends: what a kill leaves is in the page cache by then, files and journal alike. Against a power cut both are
synced now and then, in a thread of their own, the files first. A journal that cannot be written costs what would have
been resumed, and nothing else: no transfer fails of it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from blake3 import blake3

from tallow_cli.offer.manifest import Entry
from tallow_cli.offer.names import SafePath
from tallow_cli.ranges import RangeSet
from tallow_cli.store import journal, unfinished
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.partial import PartialFile
from tallow_cli.store.receive_root import TEMPORARY_PREFIX, ReceiveRoot

NOTE_FILES: Final = 1024  # small files
MOST_PENDING_BYTES: Final = 16 * 1024 * 1024  # of a disk that takes nothing
SYNC_BYTES: Final = 512 * 1024 * 1024
SYNC_AFTER_S: Final = 15.0


def in_a_thread(job: Callable[[], None]) -> None:
    """Begin a job that nobody waits for."""
    threading.Thread(target=job, name="tallow-journal", daemon=True).start()


def journal_name(token: str) -> str:
    return f"{TEMPORARY_PREFIX}{token}.journal"


def holes_of(entry: Entry) -> bytes:
    """By which the layout of a file with holes is known again."""
    return blake3(entry.packed_holes).digest() if entry.packed_holes else b""


def path_of(path: SafePath) -> bytes:
    """As it stands in a journal."""
    return os.fsencode("/".join(path.components))


class Journal:
    """Writes one. From the thread that uses the root; never raises OSError. Close it."""

    def __init__(
        self,
        root: ReceiveRoot,
        *,
        beside: str = "",
        contents: journal.Contents | None = None,
        clock: Callable[[], float] = monotonic,
        in_background: Callable[[Callable[[], None]], None] = in_a_thread,
        limits: ReceiveLimits | None = None,
    ) -> None:
        """`beside`: absolute path of the lock, which stays as long as the journal does. `contents`: of the journal of
        this token that is there already, which is gone on with.
        """
        self._root = root
        self._limits = limits or ReceiveLimits()
        self._name = journal_name(root.token)
        self._path = os.path.join(root.absolute_path, self._name)
        self._beside = beside
        self._clock = clock
        self._in_background = in_background
        self._fd = -1
        self._has_ended = False  # it is too long, or could not be written for too long
        self._is_there = contents is not None
        self._length = 0 if contents is None else contents.valid_bytes
        self._next_number = 0 if contents is None else contents.next_number
        self._pending = bytearray() if contents is not None else bytearray(journal.HEADER)
        self._opened: dict[int, tuple[PartialFile, Entry]] = {}  # not yet in the journal
        self._unnoted: dict[int, list[tuple[int, int]]] = {}
        self._unnoted_bytes = 0
        self._noted: dict[str, None] = {}  # temporaries whose record is pending, by their absolute paths
        self._synced_at = clock()
        self._unsynced_bytes = 0
        self._is_syncing = False  # in the background

    @property
    def is_there(self) -> bool:
        """Whether anything is on the disk."""
        return self._is_there

    def opened(self, partial: PartialFile, entry: Entry) -> int:
        """The number of a file whose temporary was made."""
        number = self._next_number
        self._next_number += 1
        self._opened[number] = (partial, entry)
        if len(self._opened) >= NOTE_FILES:
            self.flush()
        return number

    def wrote(self, number: int, start: int, end: int) -> None:
        """This range of its data is in the file."""
        ranges = self._unnoted.get(number)
        if ranges is None:
            self._unnoted[number] = [(start, end)]
        elif ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
        self._unnoted_bytes += end - start
        if self._unnoted_bytes >= self._limits.note_bytes:
            self.flush()

    def named(self, number: int, path: SafePath) -> None:
        """It is about to be published under another path than its own."""
        self._add(journal.Named(number, path_of(path)))

    def dropped(self, number: int) -> None:
        """Its temporary was removed."""
        self._unnoted.pop(number, None)
        if self._opened.pop(number, None) is None:
            self._add(journal.Dropped(number))

    def renamed(self, offered: SafePath, local: SafePath) -> None:
        self._add(journal.Renamed(path_of(offered), path_of(local)))

    def made(self, directory: SafePath) -> None:
        self._add(journal.Made(path_of(directory)))

    def _add(self, record: journal.Record) -> None:
        self._pending += journal.encode(record)

    def flush(self) -> None:
        """Append what is known. Never raises: what could not be written is tried again the next time."""
        self._encode_opened()
        for number, ranges in self._unnoted.items():
            merged = list(RangeSet(ranges)) if len(ranges) > 1 else ranges
            for first in range(0, len(merged), journal.RANGES_IN_A_RECORD):
                some = tuple(merged[first : first + journal.RANGES_IN_A_RECORD])
                self._add(journal.Wrote(number, some))
        self._unnoted.clear()
        self._unsynced_bytes += self._unnoted_bytes
        self._unnoted_bytes = 0
        self._has_ended |= self._length + len(self._pending) > self._limits.journal_bytes
        self._has_ended |= len(self._pending) > MOST_PENDING_BYTES
        if self._has_ended:
            self._pending.clear()
            return
        try:
            self._write_pending()
        except OSError:
            return
        if self._noted:  # these can be gone on with
            for path in (*self._noted, self._path, self._beside):
                unfinished.forget(path)
            self._noted.clear()

    def _encode_opened(self) -> None:
        for number, (partial, entry) in self._opened.items():
            if partial.temporary is None:
                self._unnoted.pop(number, None)
                continue
            ranges = self._unnoted.get(number, ())
            if len(ranges) == 1:
                del self._unnoted[number]
            else:
                ranges = ()
            device, inode = partial.identity
            chance = bytes.fromhex(partial.temporary[-5 - 2 * journal.NAME_BYTES : -5])
            self._add(
                journal.Opened(
                    number,
                    path_of(partial.path),
                    entry.size,
                    entry.mtime_ns,
                    holes_of(entry),
                    chance,
                    device,
                    inode,
                    tuple(ranges),
                )
            )
            self._noted[partial.absolute_path] = None
        self._opened.clear()

    def _write_pending(self) -> None:
        if not self._pending:
            return
        filesystem = self._root.filesystem
        if self._fd < 0:
            self._open()
        done = 0
        while done < len(self._pending):  # torn by a full disk, it is written over by the next try
            count = filesystem.write(self._fd, self._length + done, memoryview(self._pending)[done:])
            if count == 0:
                return
            done += count
        self._length += done
        self._pending.clear()

    def _open(self) -> None:
        """Raises OSError."""
        filesystem = self._root.filesystem
        if self._is_there:
            self._fd = filesystem.reopen(self._root.directory, self._name)
            filesystem.set_length(self._fd, self._length)
            return
        unfinished.note(self._path)
        self._fd = filesystem.create(self._root.directory, self._name)
        self._is_there = True

    # Against a power cut

    def sync(self) -> None:
        """What was noted is on the disk when this returns, as far as the disk can be asked."""
        self.flush()
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._root.filesystem.sync_data(self._fd)

    def sync_due(self, open_files: Callable[[], Iterable[PartialFile]]) -> None:
        """Begin to sync these files and the journal in another thread, if it is time."""
        due = self._unsynced_bytes >= SYNC_BYTES or (
            self._unsynced_bytes > 0 and self._clock() - self._synced_at >= SYNC_AFTER_S
        )
        if not due or self._fd < 0 or self._is_syncing:
            return
        self._synced_at = self._clock()
        self._unsynced_bytes = 0
        descriptors = []
        filesystem = self._root.filesystem
        with contextlib.suppress(OSError):
            for partial in open_files():
                if partial.is_open:
                    descriptors.append(partial.duplicate())
            descriptors.append(filesystem.duplicate(self._fd))

        def sync() -> None:
            for fd in descriptors:
                with contextlib.suppress(OSError):
                    filesystem.sync_data(fd)
            for fd in descriptors:
                with contextlib.suppress(OSError):
                    filesystem.close(fd)
            self._is_syncing = False

        self._is_syncing = True
        self._in_background(sync)

    # The end

    def close(self) -> None:
        """Flush, and leave it to the next receive."""
        self.flush()
        self._close()

    def remove(self) -> None:
        """Nothing is unfinished any more, or nothing shall be gone on with."""
        self._close()
        if self._is_there:
            with contextlib.suppress(OSError):
                self._root.filesystem.unlink(self._root.directory, self._name)
            unfinished.forget(self._path)
            self._is_there = False

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                self._root.filesystem.close(fd)
