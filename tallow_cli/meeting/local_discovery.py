"""How two processes of one user on one machine find each other: a small file in a private directory.

`<XDG_RUNTIME_DIR>/tallow/<nameplate>.json`, or where there is no such directory `<temp>/tallow-<uid>/…`, says on which
loopback port the sender's server listens. The directory must be ours, mode 0700 and no symlink, or it is not used.

A file counts only while its writer lives, which the writer's lock on it tells: unlike a process number it cannot
be reused, and it needs no common process namespace. A file is written under another name, locked, and linked into
place, so nobody sees half of one, and linking refuses to replace a live one. What a killed process left behind is
removed by the next announcement.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from signaling.protocol import is_nameplate
from tallow_cli.errors import NameplateTaken

if sys.platform != "win32":
    import fcntl

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_MAX_RECORD_BYTES = 1_024
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_STALE_TRIES = 5  # another process may be looking at the same leftover at this moment
_STALE_PAUSE_S = 0.005
_DRAFT_AGE_S = 60.0


class _Record(msgspec.Struct, frozen=True):
    """The file's content. Fields that are not known are ignored, for versions to come."""

    port: Annotated[int, Meta(ge=1, le=65_535)]


class NoPrivateDirectory(OSError):
    """No directory exists that other users could not tamper with. The text says why."""


@dataclass(frozen=True, slots=True)
class LocalDirectories:
    """Where to look, in order. The first usable one is written to."""

    paths: tuple[Path, ...]

    @classmethod
    def of_this_user(cls) -> LocalDirectories:
        """Both places are looked into: a login session has XDG_RUNTIME_DIR where a cron job may have none."""
        user = os.getuid() if sys.platform != "win32" else os.environ.get("USERNAME", "user")
        paths: list[Path] = []
        if runtime := os.environ.get("XDG_RUNTIME_DIR"):
            paths.append(Path(runtime) / "tallow")
        with suppress(FileNotFoundError):  # every directory for temporary files is missing or read-only
            paths.append(Path(tempfile.gettempdir()) / f"tallow-{user}")
        with suppress(RuntimeError):  # nobody's home. Where others may write, the names above may be squatted
            paths.append(Path.home() / ".tallow-waiting")
        return cls(tuple(paths))

    @contextmanager
    def announced(self, nameplate: str, port: int) -> Iterator[Path]:
        """Keep the file in place while the context lasts.

        Raises NameplateTaken if another live sender here has this nameplate, OSError if the file cannot be written.
        """
        directory = self._writable()
        _remove_leftovers(directory)
        path = directory / _name_of(nameplate)
        descriptor = _write_locked(directory, path, msgspec.json.encode(_Record(port)))
        try:
            yield path
        finally:
            _withdraw(path, descriptor)

    def port_of(self, nameplate: str) -> int | None:
        """The loopback port of the live sender with this nameplate. Unreadable files are nobody."""
        name = _name_of(nameplate)
        for directory in self.paths:
            with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                _check_private(directory)
                if (port := _read_live(directory / name)) is not None:
                    return port
        return None

    def _writable(self) -> Path:
        problem: OSError | None = None
        for path in self.paths:
            try:
                with suppress(FileExistsError):
                    path.mkdir(mode=_DIRECTORY_MODE)
                _check_private(path)
            except OSError as error:
                problem = error
            else:
                return path
        raise problem or NoPrivateDirectory("there is no directory to announce in")


def _name_of(nameplate: str) -> str:
    if not is_nameplate(nameplate):
        raise ValueError("not a nameplate")
    return f"{nameplate}.json"


def _check_private(path: Path) -> None:
    """Raises OSError unless `path` is a directory that only this user can enter."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NoPrivateDirectory(f"{path} is not a directory")
    if sys.platform != "win32":
        if found.st_uid != os.getuid():
            raise NoPrivateDirectory(f"{path} belongs to another user")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise NoPrivateDirectory(f"{path} is open to other users")


def _write_locked(directory: Path, path: Path, content: bytes) -> int:
    """Put a complete, locked file at `path` and return its descriptor. Raises NameplateTaken if a live one is there."""
    draft = directory / f".{path.stem}.{os.getpid()}.{time.monotonic_ns()}"
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, _FILE_MODE)
    try:
        try:
            _lock(descriptor)
            os.write(descriptor, content)
            _link_over_leftovers(draft, path)
        finally:
            draft.unlink()
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _withdraw(path: Path, descriptor: int) -> None:
    if sys.platform == "win32":  # cannot remove an open file
        os.close(descriptor)
    with suppress(FileNotFoundError):
        path.unlink()
    if (
        sys.platform != "win32"
    ):  # unlocked first, another sender could put its own file under the name we remove
        os.close(descriptor)


def _link_over_leftovers(draft: Path, path: Path) -> None:
    for _ in range(_STALE_TRIES):
        try:
            os.link(draft, path)
        except FileExistsError:
            if not _remove_leftover(path):
                time.sleep(_STALE_PAUSE_S)
        else:
            return
    raise NameplateTaken(path.stem)


def _read_live(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or _lock(descriptor, shared=True):
            return None
        return msgspec.json.decode(os.read(descriptor, _MAX_RECORD_BYTES), type=_Record).port
    finally:
        os.close(descriptor)


def _remove_leftovers(directory: Path) -> None:
    """Of killed processes. A fresh draft may be one that is about to be locked."""
    for entry in directory.iterdir():
        is_draft = entry.name.startswith(".")
        with suppress(OSError):
            if not is_draft or time.time() - entry.lstat().st_mtime > _DRAFT_AGE_S:
                _remove_leftover(entry)


def _remove_leftover(path: Path) -> bool:
    """Remove the file if its writer is gone; whether the name is free now."""
    try:
        descriptor = os.open(path, os.O_RDWR | _NO_FOLLOW)
    except FileNotFoundError:
        return True
    try:
        if not _lock(descriptor):
            return False
        # Between open and lock another process may have removed this file and put its own there.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                path.unlink()
        return True
    finally:
        os.close(descriptor)


if sys.platform == "win32":

    def _lock(_descriptor: int, *, shared: bool = False) -> bool:
        """Without POSIX locks every file counts as live, and an outdated one ends in ServerUnreachable."""
        return False

else:

    def _lock(descriptor: int, *, shared: bool = False) -> bool:
        """Try to lock; False if a live process holds it. The lock goes with the descriptor."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
