"""`--exclude GLOB`: which of what lies in a sent directory stays at home. A simple part of .gitignore's language.

`*` is any run of characters but `/`, `?` one of them, `[…]` one of a set (`[!…]` of all others), `**/` any number of
directories, `/**` at the end all that is in one. A pattern without a slash (but one at its end) is compared with the
last part of every name; one with a slash with the whole path, counted from the directory that is sent or from where
that lies: `build/*.o` and `src/build/*.o` both mean `src/build/x.o` when `src` is sent. A slash at the end means
directories only. What lies in an excluded directory is excluded with it. There is no negation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tallow_cli.errors import BadOption

_OPTION: Final = "--exclude"


class Excludes:
    """The patterns of one command."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """Raises BadOption for a pattern that cannot be one."""
        self._patterns = [_Pattern(pattern) for pattern in patterns]

    def match(self, path: str, *, is_directory: bool) -> bool:
        """Whether `path`, as it would be offered, is excluded by itself (not: lies in something that is)."""
        return any(pattern.match(path, is_directory) for pattern in self._patterns)


class _Pattern:
    def __init__(self, text: str) -> None:
        body = text.rstrip("/")
        if not body:
            raise BadOption(_OPTION, f"{text!r} names nothing")
        if body.startswith("!"):
            raise BadOption(
                _OPTION, f"{text!r}: what is excluded cannot be taken in again; write [!] for the character"
            )
        self._directories_only = text.endswith("/")
        self._whole_path = "/" in body
        try:
            self._regex = re.compile(_translate(body.removeprefix("/")), re.DOTALL)
        except re.error:
            raise BadOption(_OPTION, f"{text!r} has a set of characters that is none, like [z-a]") from None

    def match(self, path: str, is_directory: bool) -> bool:
        if self._directories_only and not is_directory:
            return False
        if not self._whole_path:
            return self._regex.fullmatch(path.rpartition("/")[2]) is not None
        below = path.partition("/")[2]
        return any(self._regex.fullmatch(candidate) for candidate in (path, below) if candidate)


def _translate(glob: str) -> str:
    """The regular expression that says the same."""
    parts = []
    position = 0
    while position < len(glob):
        rest = glob[position:]
        if rest.startswith("**/") and (not position or glob[position - 1] == "/"):
            parts.append("(?:[^/]+/)*")
            position += 3
        elif rest == "**" and (not position or glob[position - 1] == "/"):
            parts.append(".+")
            position += 2
        elif rest[0] == "*":
            parts.append("[^/]*")
            position += 1
        elif rest[0] == "?":
            parts.append("[^/]")
            position += 1
        elif rest[0] == "[" and (end := _set_end(rest)):
            parts.append(_set(rest[1:end]))
            position += end + 1
        elif rest[0] == "\\" and len(rest) > 1:
            parts.append(re.escape(rest[1]))
            position += 2
        else:
            parts.append(re.escape(rest[0]))
            position += 1
    return "".join(parts)


def _set_end(rest: str) -> int:
    """Where the set that begins here ends; 0 if it does not. A bracket that comes first belongs to it."""
    start = 2 if rest[1:2] in ("!", "^") else 1
    return max(rest.find("]", start + 1), 0)


def _set(body: str) -> str:
    negated = body[0] in "!^"
    members = body[1:] if negated else body
    ranges = re.escape(members).replace(r"\-", "-")
    if not negated:
        return f"(?!/)[{ranges}]"
    return f"[^/{ranges}]"
