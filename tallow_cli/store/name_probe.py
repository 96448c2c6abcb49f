"""Finding out which names a place takes, by making a few files there: nothing else knows of every file system.

What is tried is what the operating system does not say: a Linux directory may be a FAT stick, a network share that does
not tell `A` from `a`, or a disk that keeps Unicode in a form of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import unicodedata
from collections.abc import Iterable
from typing import Final

from tallow_cli.offer.name_rules import MAX_NAME_BYTES, NameRules, platform_rules
from tallow_cli.store.filesystem import Directory, Filesystem, default_filesystem
from tallow_cli.store.receive_root import temporary_name

_ASKED: Final = '"*:<>?\\|'  # what Windows, FAT and most network shares do not take
_SHORTEST: Final = 8


def rules_at(path: str | os.PathLike[str], filesystem: Filesystem | None = None) -> NameRules:
    """The rules for what is received into `path`, or into the nearest directory above that is there.

    Where nothing can be made, what is known of the operating system. Raises nothing: that a place is no good is for
    others to say.
    """
    rules = platform_rules()
    filesystem = filesystem or default_filesystem()
    try:
        directory = filesystem.open_root(_nearest(os.path.abspath(path)))
    except (OSError, ValueError):
        return rules
    try:
        return rules.combined(_Probe(filesystem, directory).rules())
    except OSError:
        return rules
    finally:
        with contextlib.suppress(OSError):
            filesystem.close_directory(directory)


def _nearest(path: str) -> str:
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


class _Probe:
    """Makes files of names of our own and looks under which others they are found."""

    def __init__(self, filesystem: Filesystem, directory: Directory) -> None:
        self._filesystem = filesystem
        self._directory = directory

    def rules(self) -> NameRules:
        """Raises OSError where no file can be made."""
        own = temporary_name()
        longest = self._filesystem.longest_name(self._directory) or MAX_NAME_BYTES
        return NameRules(
            # One file answers for case and for Unicode form: é in one piece, asked for in two.
            folds=self._is_found_under(
                own + "\u00e9", (own.upper() + "\u00e9", own + unicodedata.normalize("NFD", "\u00e9"))
            ),
            forbids=self._refused(own),
            strips=self._is_found_under(own + ".", (own,)) or self._is_found_under(own + " ", (own,)),
            devices=False,  # they are the system's and not the file system's
            text_only=not self._takes(own + "\udcff"),
            longest=max(_SHORTEST, min(longest, MAX_NAME_BYTES)),
        )

    def _refused(self, own: str) -> str:
        if self._takes(own + _ASKED):
            return ""
        return "".join(character for character in _ASKED if not self._takes(own + character))

    def _takes(self, name: str) -> bool:
        """Whether a file of this name can be made. Raises OSError where none can, whatever its name."""
        try:
            self._make(name)
        except (OSError, UnicodeEncodeError) as problem:
            if isinstance(problem, OSError) and problem.errno in _NOTHING_CAN_BE_MADE:
                raise
            return False
        self._remove(name)
        return True

    def _is_found_under(self, name: str, others: Iterable[str]) -> bool:
        """Whether a file made as `name` stands under one of `others` too."""
        try:
            self._make(name)
        except (OSError, UnicodeEncodeError) as problem:
            if isinstance(problem, OSError) and problem.errno in _NOTHING_CAN_BE_MADE:
                raise
            return True  # it does not even take it
        try:
            return any(self._filesystem.stat(self._directory, other) is not None for other in others)
        finally:
            self._remove(name)

    def _make(self, name: str) -> None:
        self._filesystem.close(self._filesystem.create(self._directory, name))

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self._filesystem.unlink(self._directory, name)


_NOTHING_CAN_BE_MADE: Final = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        getattr(errno, "EDQUOT", errno.ENOSPC),
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EIO,
    }
)
