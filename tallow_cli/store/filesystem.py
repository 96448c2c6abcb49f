"""Everything the receiving side does to the disk, one method per system call: the seam for tests and
platforms.

`DirFdFilesystem` works relative to open directories (`dir_fd`), so nobody who swaps a directory for a
symbolic link meanwhile can lead us elsewhere. `PathFilesystem` is the plain fall-back for systems without
it (Windows): it checks every directory of the path again before each operation, which leaves a race but no
known hole. Tests pass in subclasses that fail, stop short or kill the process. Methods raise OSError;
callers make sentences of it.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from tallow_cli.store.page_cache import pread, write_behind

Data = bytes | bytearray | memoryview

_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)
_COMMON: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_CREATE_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _COMMON
_REOPEN_FLAGS: Final = os.O_RDWR | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | _COMMON
_READ_FLAGS: Final = os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | _COMMON
_DIRECTORY_FLAGS: Final = os.O_RDONLY | _DIRECTORY | _NOFOLLOW | _COMMON

# What the kernel says to what a file system does not have: modes and times (FAT, some network mounts) …
NOT_SUPPORTED: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
# … and to link(2) where there are no hard links (FAT, exFAT, Android's sdcardfs).
NO_HARD_LINKS: Final = NOT_SUPPORTED | {errno.EMLINK, errno.EXDEV}


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """An open directory. Only a Filesystem makes one; close it through the same."""

    path: str  # for messages, and for PathFilesystem to work with
    identity: tuple[int, int]  # device and inode
    fd: int = -1  # -1 where directories cannot be opened
    parent: Directory | None = None


class Filesystem:
    """The operations, on names relative to a `Directory`. Subclasses say how a name becomes a path."""

    def where(self, directory: Directory, name: str) -> tuple[str, int | None]:
        """(path, dir_fd) to pass to the os functions."""
        raise NotImplementedError

    def open_root(self, path: str) -> Directory:
        """Open the directory the user named, following links in that path."""
        raise NotImplementedError

    def open_directory(self, parent: Directory, name: str) -> Directory:
        """Open a directory; ELOOP or ENOTDIR if it is a symbolic link or anything else."""
        raise NotImplementedError

    def close_directory(self, directory: Directory) -> None:
        if directory.fd >= 0:
            os.close(directory.fd)

    def make_directory(self, parent: Directory, name: str) -> None:
        """0700 until its own mode is set: nobody else looks in while it fills."""
        path, dir_fd = self.where(parent, name)
        os.mkdir(path, 0o700, dir_fd=dir_fd)

    def remove_directory(self, parent: Directory, name: str) -> None:
        path, dir_fd = self.where(parent, name)
        os.rmdir(path, dir_fd=dir_fd)

    def create(self, directory: Directory, name: str, mode: int = 0o600) -> int:
        """A new, empty file, open for reading and writing; EEXIST for anything under that name."""
        path, dir_fd = self.where(directory, name)
        return os.open(path, _CREATE_FLAGS, mode, dir_fd=dir_fd)

    def reopen(self, directory: Directory, name: str) -> int:
        path, dir_fd = self.where(directory, name)
        return os.open(path, _REOPEN_FLAGS, dir_fd=dir_fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def duplicate(self, fd: int) -> int:
        """Another descriptor of the same open file, for another thread."""
        return os.dup(fd)

    def open_to_read(self, directory: Directory, name: str) -> int:
        """A file that is there, which shall not change."""
        path, dir_fd = self.where(directory, name)
        return os.open(path, _READ_FLAGS, dir_fd=dir_fd)

    def status(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def readlink(self, directory: Directory, name: str) -> str:
        path, dir_fd = self.where(directory, name)
        return os.readlink(path, dir_fd=dir_fd)

    def clone(self, source: int, target: int) -> bool:
        """Have an open file share the blocks of another, as both are now. False where the file system cannot."""
        if sys.platform != "linux":
            return False
        import fcntl

        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError:  # any reason: it is copied then, and that tells what is wrong
            return False
        return True

    def identity(self, fd: int) -> tuple[int, int]:
        status = os.fstat(fd)
        return status.st_dev, status.st_ino

    def mode(self, fd: int) -> int:
        """The permission bits of an open file."""
        return stat.S_IMODE(os.fstat(fd).st_mode)

    def entries(self, directory: Directory) -> list[tuple[str, bool]]:
        """(name, whether it is a directory and no link to one) of everything in it, in no order."""
        with os.scandir(directory.fd if directory.fd >= 0 else self._checked_path(directory)) as found:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]

    def lock(self, fd: int) -> bool:
        """Lock an open file until it is closed or the process ends. False if somebody has it locked.

        Raises OSError where there are no locks (some network mounts, Windows).
        """
        if sys.platform == "win32":
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def stat(self, directory: Directory, name: str) -> os.stat_result | None:
        """lstat; None if there is nothing."""
        path, dir_fd = self.where(directory, name)
        try:
            return os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def write(self, fd: int, offset: int, data: Data) -> int:
        """May write less than `data`: returns how much."""
        if _HAS_PWRITE:
            return os.pwrite(fd, data, offset)
        os.lseek(fd, offset, os.SEEK_SET)  # one thread at a time uses a sink
        return os.write(fd, data)

    def read(self, fd: int, offset: int, size: int) -> bytes:
        return pread(fd, size, offset)

    def allocate(self, fd: int, size: int) -> None:
        """Reserve the blocks of a file, so that a full disk shows before the bytes are sent.

        fallocate(2) itself: where the file system has none (NFSv3, exFAT, FUSE, ramfs) the C library's
        posix_fallocate, which is all that Python offers, writes the whole file as zeros instead.
        """
        fallocate = _c_function("fallocate64") or _c_function("fallocate")
        if fallocate is None:
            return
        while fallocate(fd, 0, ctypes.c_int64(0), ctypes.c_int64(size)) != 0:
            code = ctypes.get_errno()
            if code == errno.EINTR:
                continue
            if code not in NOT_SUPPORTED:
                raise OSError(code, os.strerror(code))
            return

    def set_length(self, fd: int, size: int) -> None:
        """Give a new file its length without writing it: it is one hole, where the file system has such."""
        os.ftruncate(fd, size)

    def set_file_attributes(self, directory: Directory, name: str, fd: int, mode: int, mtime_ns: int) -> None:
        """EPERM and its like (see NOT_SUPPORTED) where the file system keeps no such thing."""
        if _HAS_FD_ATTRIBUTES:
            os.utime(fd, ns=(mtime_ns, mtime_ns))
            os.fchmod(fd, mode)
        else:
            path, _ = self.where(directory, name)
            os.utime(path, ns=(mtime_ns, mtime_ns))

    def set_time(self, fd: int, mtime_ns: int) -> None:
        """Of an open file, where the system can set it by its descriptor."""
        if _HAS_FD_ATTRIBUTES:
            os.utime(fd, ns=(mtime_ns, mtime_ns))

    def set_directory_attributes(self, directory: Directory, mode: int, mtime_ns: int) -> None:
        """As set_file_attributes. The bit that has a group's directories hand their group on stays as it is."""
        target: int | str = directory.fd if directory.fd >= 0 else self._checked_path(directory)
        inherited = os.stat(target).st_mode & stat.S_ISGID
        os.utime(target, ns=(mtime_ns, mtime_ns))
        os.chmod(target, mode | inherited)

    def link(self, directory: Directory, name: str, new_name: str) -> None:
        """Give a file a second name; EEXIST for anything under it."""
        path, dir_fd = self.where(directory, name)
        new_path, new_dir_fd = self.where(directory, new_name)
        os.link(path, new_path, src_dir_fd=dir_fd, dst_dir_fd=new_dir_fd, follow_symlinks=dir_fd is None)

    def rename_exclusively(self, directory: Directory, name: str, new_name: str) -> bool:
        """Rename in one step that replaces nothing; EEXIST for anything under the new name.

        False where the system or this file system has no such step.
        """
        if sys.platform == "win32":
            os.rename(self.where(directory, name)[0], self.where(directory, new_name)[0])
            return True
        renameat2 = _c_function("renameat2")
        if renameat2 is None or directory.fd < 0:
            return False
        names = os.fsencode(name), os.fsencode(new_name)
        if renameat2(directory.fd, names[0], directory.fd, names[1], _RENAME_NOREPLACE) == 0:
            return True
        code = ctypes.get_errno()
        if code in NOT_SUPPORTED:
            return False
        raise OSError(code, os.strerror(code), new_name)

    def rename(self, directory: Directory, name: str, new_name: str) -> None:
        """Replaces what has the new name, unless it is a directory."""
        path, dir_fd = self.where(directory, name)
        new_path, new_dir_fd = self.where(directory, new_name)
        os.replace(path, new_path, src_dir_fd=dir_fd, dst_dir_fd=new_dir_fd)

    def unlink(self, directory: Directory, name: str) -> None:
        path, dir_fd = self.where(directory, name)
        os.unlink(path, dir_fd=dir_fd)

    def symlink(self, target: str, directory: Directory, name: str) -> None:
        path, dir_fd = self.where(directory, name)
        os.symlink(target, path, dir_fd=dir_fd)

    def start_writeback(self, fd: int, *, keep_cached: bool) -> None:
        """Have the kernel begin to write what is dirty, so that little is left for sync_file. Only a hint.

        Unless `keep_cached`, what is written leaves the page cache.
        """
        if not keep_cached and write_behind(fd):
            return
        sync_file_range = _c_function("sync_file_range")
        if sync_file_range is not None:
            sync_file_range(fd, _WHOLE_FILE, _WHOLE_FILE, _SYNC_FILE_RANGE_WRITE)

    def sync_file(self, fd: int) -> None:
        """Does nothing where the file system has no such thing, here and below: it writes at once, or never promises
        to.
        """
        _sync_if_supported(os.fsync, fd)

    def sync_data(self, fd: int) -> None:
        """Its contents, and what is needed to find them."""
        _sync_if_supported(getattr(os, "fdatasync", os.fsync), fd)

    def sync_directory(self, directory: Directory) -> None:
        if directory.fd >= 0:
            _sync_if_supported(os.fsync, directory.fd)

    def sync_all(self, directory: Directory) -> bool:
        """Sync the whole file system that holds `directory`; False where that is not to be had."""
        syncfs = _c_function("syncfs")
        if syncfs is None or directory.fd < 0:
            return False
        if syncfs(directory.fd) != 0:
            code = ctypes.get_errno()
            if code in _CANNOT_SYNC:
                return False
            raise OSError(code, os.strerror(code))
        return True

    def longest_name(self, directory: Directory) -> int | None:
        """Bytes that a name may have here; None where it cannot be told."""
        if directory.fd < 0 or not hasattr(os, "fpathconf"):
            return None
        try:
            return os.fpathconf(directory.fd, "PC_NAME_MAX")
        except OSError:
            return None

    def space(self, directory: Directory) -> tuple[int | None, int | None]:
        """(bytes that an unprivileged user may still write, bytes in all); None where it cannot be told."""
        if not hasattr(os, "statvfs"):
            return _space_by_path(directory.path)
        figures = os.statvfs(directory.fd if directory.fd >= 0 else directory.path)
        if figures.f_blocks == 0:  # ramfs, and network mounts that do not say: not a full disk
            return None, None
        return figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize

    def _checked_path(self, directory: Directory) -> str:
        raise NotImplementedError


class DirFdFilesystem(Filesystem):
    """Every name is looked up in an open directory."""

    def where(self, directory: Directory, name: str) -> tuple[str, int | None]:
        return name, directory.fd

    def open_root(self, path: str) -> Directory:
        fd = os.open(path, _DIRECTORY_FLAGS & ~_NOFOLLOW)
        return Directory(path, self.identity(fd), fd)

    def open_directory(self, parent: Directory, name: str) -> Directory:
        fd = os.open(name, _DIRECTORY_FLAGS, dir_fd=parent.fd)
        return Directory(os.path.join(parent.path, name), self.identity(fd), fd, parent)


class PathFilesystem(Filesystem):
    """Every name is joined to a path whose directories are looked at again first."""

    def where(self, directory: Directory, name: str) -> tuple[str, int | None]:
        return os.path.join(self._checked_path(directory), name), None

    def open_root(self, path: str) -> Directory:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return Directory(os.path.realpath(path), (status.st_dev, status.st_ino))

    def open_directory(self, parent: Directory, name: str) -> Directory:
        path = os.path.join(self._checked_path(parent), name)
        return Directory(path, _real_directory(path), parent=parent)

    def _checked_path(self, directory: Directory) -> str:
        walked: Directory | None = directory
        while walked is not None:
            if _real_directory(walked.path) != walked.identity:
                raise NotADirectoryError(errno.ENOTDIR, "it was exchanged meanwhile", walked.path)
            walked = walked.parent
        return directory.path


def _real_directory(path: str) -> tuple[int, int]:
    """The identity of a directory that is no link and no Windows junction. Raises OSError otherwise."""
    status = os.lstat(path)
    reparse = getattr(status, "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_REPARSE_POINT
    if not stat.S_ISDIR(status.st_mode) or reparse:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return status.st_dev, status.st_ino


def _space_by_path(path: str) -> tuple[int | None, int | None]:
    import shutil  # only where there is no statvfs

    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None, None
    return usage.free, usage.total


# fsync(2) of a directory, or of any file, on some network mounts and in user space.
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


def _sync_if_supported(sync: Callable[[int], None], fd: int) -> None:
    try:
        sync(fd)
    except OSError as problem:
        if problem.errno not in _CANNOT_SYNC:
            raise


_SYNC_FILE_RANGE_WRITE: Final = 2  # linux/fs.h
_RENAME_NOREPLACE: Final = 1  # linux/fs.h
_FICLONE: Final = 0x40049409  # linux/fs.h
_WHOLE_FILE: Final = ctypes.c_int64(0)  # as offset; as length it means "to the end"
_HAS_PWRITE: Final = hasattr(os, "pwrite")
_HAS_FD_ATTRIBUTES: Final = hasattr(os, "fchmod") and os.utime in os.supports_fd
_HAS_DIR_FD: Final = bool(_DIRECTORY and _NOFOLLOW) and {
    os.open, os.mkdir, os.rmdir, os.stat, os.link, os.unlink, os.rename, os.symlink,
} <= os.supports_dir_fd  # fmt: skip


@functools.cache
def _c_function(name: str) -> Callable[..., int] | None:
    """A Linux system call that Python does not offer; None elsewhere."""
    if sys.platform != "linux":
        return None
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_int
    return cast("Callable[..., int]", function)


def use_bytes(fd: int) -> None:
    """Have a standard descriptor pass bytes as they are; Windows opens them for text."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(fd, os.O_BINARY)


def default_filesystem() -> Filesystem:
    return DirFdFilesystem() if _HAS_DIR_FD else PathFilesystem()
