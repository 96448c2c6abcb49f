"""From an OSError to the sentence and exit code the user gets."""

from __future__ import annotations

import errno
import os
from typing import Final

from tallow_cli.errors import (
    DiskFull,
    LocalFileError,
    SourceMissing,
    SourceUnreadable,
    TargetExists,
    TargetUnwritable,
)

_NO_ROOM: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_IN_THE_WAY: Final = frozenset({errno.ELOOP, errno.ENOTDIR})
_REASONS: Final = {
    errno.EACCES: "no permission",
    errno.EPERM: "the system does not permit it",
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "the file is larger than the file system or a limit allows",
    errno.EMFILE: "too many files are open",
    errno.ENAMETOOLONG: "the name is too long here",
    errno.EIO: "the disk reported an error",
}


def reason(problem: OSError) -> str:
    """Why, in a few words, to stand in brackets."""
    known = _REASONS.get(problem.errno or 0)
    return known or (problem.strerror or type(problem).__name__).lower()


def displayable(path: str | os.PathLike[str]) -> str:
    """A local path as text that can be encoded: bytes that are no UTF-8 become escapes, like \\xff."""
    text = os.fspath(path)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that stand for no byte: Windows has such names
        return text.encode("utf-8", "backslashreplace").decode()


def target_error(problem: OSError, path: str, needed: int | None = None) -> LocalFileError:
    """What to raise when writing `path` failed. `needed`: bytes that were to be written, for a full disk."""
    if problem.errno in _NO_ROOM:
        return DiskFull(path, needed)
    if problem.errno == errno.EEXIST:
        return TargetExists(path)
    if problem.errno in _IN_THE_WAY:
        return TargetUnwritable(path, "a symbolic link or a file stands where a directory is needed")
    return TargetUnwritable(path, reason(problem))


def is_gone(problem: OSError) -> bool:
    """Whether what was looked at before is there no more, or something else stands in its place."""
    return problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


def source_error(problem: OSError, path: str) -> LocalFileError:
    """What to raise when reading `path` failed."""
    if problem.errno in (errno.ENOENT, errno.ENOTDIR):
        return SourceMissing(path)
    return SourceUnreadable(path, reason(problem))
