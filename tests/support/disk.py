"""For tests of the store: moving a source into a sink, and file systems that fail on purpose."""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

from tallow_cli.offer.manifest import Entry, EntryKind, Manifest, decode_manifest_untrusted, encode_manifest
from tallow_cli.store.filesystem import Data, Directory, DirFdFilesystem
from tallow_cli.store.sink import Published, Sink
from tallow_cli.store.source import Source


def file_entry(
    path: str, size: int = 0, mode: int = 0o644, mtime_ns: int = 1_700_000_000_123_456_789
) -> Entry:
    return Entry(path, EntryKind.FILE, size, mode, mtime_ns)


def directory_entry(path: str, mode: int = 0o755, mtime_ns: int = 1_600_000_000_987_654_321) -> Entry:
    return Entry(path, EntryKind.DIRECTORY, 0, mode, mtime_ns)


def link_entry(path: str, target: str) -> Entry:
    return Entry(path, EntryKind.SYMLINK, 0, 0o777, 0, target)


def files(*entries: Entry) -> Manifest:
    return Manifest("files", entries)


def move(
    source: Source, sink: Sink, *, chunk: int = 65_536, piece: int = 1 << 30, rng: random.Random | None = None
) -> list[Published]:
    """Everything from source to sink as a session would; with `rng`, pieces of a few chunks in random
    order.
    """
    sink.open(decode_manifest_untrusted(encode_manifest(source.manifest)))
    published: list[Published] = []
    pieces: list[tuple[int, bytes]] = []
    offset = finished = 0
    while data := source.read_at(offset, chunk):
        pieces += [(offset + at, data[at : at + piece]) for at in range(0, len(data), piece)]
        offset += len(data)
        if rng is None or len(pieces) > 64:
            finished = _write(sink, source, pieces, finished, published, rng)
    _write(sink, source, pieces, finished, published, rng)
    return [*published, *sink.complete()]


def _write(
    sink: Sink,
    source: Source,
    pieces: list[tuple[int, bytes]],
    finished: int,
    published: list[Published],
    rng: random.Random | None,
) -> int:
    if rng is not None:
        rng.shuffle(pieces)
    for offset, data in pieces:
        sink.write(offset, data)
    pieces.clear()
    for index in range(finished, source.files_read):
        published += sink.finish(index, source.digest(index))
    return source.files_read


def read_all(source: Source, chunk: int = 7) -> bytes:
    """Every byte of a source, `chunk` at a time."""
    data = bytearray()
    while piece := source.read_at(len(data), chunk):
        data += piece
    return bytes(data)


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


def tree(root: Path) -> dict[str, bytes | str | None]:
    """Everything below `root`: contents of files, targets of links, None for directories."""
    found: dict[str, bytes | str | None] = {}
    for directory, names, file_names in os.walk(root):
        for name in names + file_names:
            path = Path(directory, name)
            shown = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[shown] = os.readlink(path)
            elif path.is_file():
                found[shown] = path.read_bytes()
            else:
                found[shown] = None if path.is_dir() else "special"
    return found


def temporaries(root: Path) -> list[str]:
    return [name for name in tree(root) if ".tallow-" in name and name.endswith(".part")]


class FailingFilesystem(DirFdFilesystem):
    """Raises OSError(code) from the named operations, from the `after`-th call of each on."""

    def __init__(self, code: int, *operations: str, after: int = 0) -> None:
        self.code = code
        self.operations = operations
        self.left = after

    def _maybe(self, operation: str) -> None:
        if operation in self.operations:
            if self.left == 0:
                raise OSError(self.code, os.strerror(self.code))
            self.left -= 1


class TraceFilesystem(DirFdFilesystem):
    """Calls `before(operation)` ahead of each operation that changes the disk, and `after` behind it."""

    def __init__(self, before: Callable[[str], None], after: Callable[[str], None] = lambda _: None) -> None:
        self.before = before
        self.after = after


def _wrap(
    cls: type, operation: str, hook: Callable[..., None], then: Callable[..., None] | None = None
) -> None:
    original = getattr(DirFdFilesystem, operation)

    def wrapped(self: object, *args: object, **kwargs: object) -> object:
        hook(self, operation)
        result = original(self, *args, **kwargs)
        if then is not None:
            then(self, operation)
        return result

    setattr(cls, operation, wrapped)


CHANGING = (
    "make_directory", "remove_directory", "create", "write", "allocate", "set_file_attributes",
    "set_directory_attributes", "link", "rename", "rename_exclusively", "unlink", "symlink", "sync_file",
    "sync_directory", "sync_all", "sync_data", "set_length", "set_time", "clone",
)  # fmt: skip
for _operation in (
    *CHANGING,
    "open_root",
    "open_directory",
    "reopen",
    "read",
    "stat",
    "close",
    "lock",
    "entries",
):
    _wrap(FailingFilesystem, _operation, FailingFilesystem._maybe)
for _operation in CHANGING:
    _wrap(
        TraceFilesystem,
        _operation,
        lambda self, operation: self.before(operation),
        lambda self, operation: self.after(operation),
    )


class ShortWriteFilesystem(DirFdFilesystem):
    """Writes at most `most` bytes a call, as a signal or a quota makes the kernel do."""

    def __init__(self, most: int) -> None:
        self.most = most

    def write(self, fd: int, offset: int, data: Data) -> int:
        return super().write(fd, offset, data[: self.most])


class FullDisk(DirFdFilesystem):
    """A disk with room for `room` bytes, as statvfs, fallocate and write see it (each can be blinded)."""

    def __init__(self, room: int, *, total: int = 0, tells: bool = True, reserves: bool = True) -> None:
        self.room = room
        self.total = total
        self.tells = tells
        self.reserves = reserves

    def space(self, directory: Directory) -> tuple[int | None, int | None]:
        return (self.room, max(self.room, self.total)) if self.tells else (None, None)

    def allocate(self, fd: int, size: int) -> None:
        if self.reserves and size > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, fd: int, offset: int, data: Data) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(fd, offset, data[: self.room])
        self.room -= written
        return written


class PowerCut(DirFdFilesystem):
    """A disk that remembers what was not synced, and loses any of it in `cut`. Names stay as they are by then, as on a
    file system whose metadata is journaled.
    """

    def __init__(self) -> None:
        self.unsynced: dict[
            int, list[tuple[int, bytes, int]]
        ] = {}  # by inode: (offset, what was there, length)

    def write(self, fd: int, offset: int, data: Data) -> int:
        status = os.fstat(fd)
        before = os.pread(fd, len(data), offset)
        written = super().write(fd, offset, data)
        self.unsynced.setdefault(status.st_ino, []).append((offset, before[:written], written))
        return written

    def sync_file(self, fd: int) -> None:
        self.unsynced.pop(os.fstat(fd).st_ino, None)

    sync_data = sync_file

    def sync_all(self, directory: Directory) -> bool:
        self.unsynced.clear()
        return True

    def cut(self, root: Path, rng: random.Random) -> None:
        """Undo writes that were not synced, some or all of them."""
        share = rng.choice((0.1, 0.5, 1.0))
        for path in root.rglob("*"):
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("r+b") as file:
                for offset, before, length in reversed(self.unsynced.get(path.stat().st_ino, [])):
                    if rng.random() < share:
                        file.seek(offset)
                        file.write(before.ljust(length, b"\0"))


class NoHardLinks(DirFdFilesystem):
    """As on some network mounts: neither links nor a rename that replaces nothing."""

    def rename_exclusively(self, directory: Directory, name: str, new_name: str) -> bool:
        return False

    def link(self, directory: Directory, name: str, new_name: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
