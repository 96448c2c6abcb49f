"""What the user typed, and the names it is sent under: two arguments of one name both arrive."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tallow_cli.errors import SourceUnreadable, UsageError
from tallow_cli.store.failures import displayable, source_error


@dataclass(frozen=True, slots=True)
class Argument:
    """One thing to send. `name` is the path it is offered under; `real_path` has no links in it."""

    path: str
    real_path: str
    name: str
    status: os.stat_result


def named(paths: Sequence[str]) -> tuple[list[Argument], list[str]]:
    """Every argument with the name it is sent under, and sentences about what is not as it was typed.

    The same file or directory typed twice is sent once. Where two have one name, both keep as much of the directories
    above as tells them apart: a/x and b/x. Raises SourceMissing, SourceUnreadable, UsageError.
    """
    arguments: dict[str, tuple[str, os.stat_result]] = {}  # by real path
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
            cause = problem if isinstance(problem, OSError) else FileNotFoundError(2, "no such file")
            if isinstance(problem, FileNotFoundError) and os.path.islink(path):
                raise SourceUnreadable(
                    displayable(path), f"it is a link to {displayable(os.readlink(path))}, which is not there"
                ) from None
            raise source_error(cause, displayable(path)) from None
        try:
            absolute = os.path.abspath(path)
        except OSError:
            raise SourceUnreadable(displayable(path), "the current directory has been removed") from None
        if not os.path.basename(absolute):
            raise UsageError(f"{displayable(path)} has no name to be sent under. Name the directories in it.")
        arguments.setdefault(os.path.realpath(path), (path, status))
    names = _distinct([os.path.abspath(path) for path, _ in arguments.values()])
    found = [
        Argument(path, real_path, name, status)
        for name, (real_path, (path, status)) in zip(names, arguments.items(), strict=True)
    ]
    notices = [
        f"{displayable(argument.path)} is sent as {displayable(argument.name)}, to tell it from another of that name."
        for argument in found
        if argument.name != os.path.basename(os.path.abspath(argument.path))
    ]
    return found, notices


def _distinct(paths: Sequence[str]) -> list[str]:
    """The shortest ends of these absolute paths that tell them apart; for those that it does not, a number."""
    parts = [[part for part in path.replace(os.sep, "/").split("/") if part] for path in paths]
    taken = [1] * len(paths)
    while True:
        names = ["/".join(some[-count:]) for some, count in zip(parts, taken, strict=True)]
        counts = Counter(names)
        tops = Counter(name.partition("/")[0] for name in names if "/" not in name)
        clashing = [
            index
            for index, name in enumerate(names)
            if (counts[name] > 1 or ("/" in name and tops[name.partition("/")[0]]))
            and taken[index] < len(parts[index])
        ]
        if not clashing:
            return _numbered(names)
        for index in clashing:
            taken[index] += 1


def _numbered(names: Sequence[str]) -> list[str]:
    """Distinct names: what is left to tell apart gets a number."""
    used: set[str] = set()
    tops = {name for name in names if "/" not in name}
    distinct = []
    for name in names:
        new, number = name, 0
        while new in used or ("/" in new and new.partition("/")[0] in tops):
            number += 1
            stem, dot, extension = name.rpartition("/")[2].rpartition(".")
            new = f"{stem} ({number}){dot}{extension}" if stem else f"{extension} ({number})"
        used.add(new)
        distinct.append(new)
    return distinct
