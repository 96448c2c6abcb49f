"""Where a symbolic link leads, and how to say so to a receiver."""

from __future__ import annotations

import os
from pathlib import PurePath


def link_target(top: str, directory: str, text: str) -> str | None:
    """The target to offer for a link in `directory` that says `text`; None if it leads out of `top`.

    `top` is the real path of the directory that is sent, `directory` that of the link, in it. A relative target stays
    as it is where `..` stands at its beginning only: it then means the same wherever the tree lies. Others, absolute
    ones too, become the way from the link to what they lead to.
    """
    leads_to = _followed(directory, text)
    if not _lies_in(leads_to, top):
        leads_to = _followed_really(leads_to)
        if not _lies_in(leads_to, top):
            return None
    if os.path.isabs(text) or not _says_it_plainly(text, _levels(top, directory)):
        return PurePath(os.path.relpath(leads_to, directory)).as_posix()
    return text.replace(os.sep, "/")


def _levels(top: str, directory: str) -> int:
    """How many directories `directory` lies below `top`."""
    return 0 if directory == top else os.path.relpath(directory, top).count(os.sep) + 1


def _followed(directory: str, text: str) -> str:
    """The path that `text` names, its last component not followed. `..` behind a link is where that leads."""
    position = os.path.abspath(os.sep) if os.path.isabs(text) else directory
    for part in text.replace(os.sep, "/").split("/"):
        if part == "..":
            position = os.path.dirname(os.path.realpath(position) if os.path.islink(position) else position)
        elif part not in ("", "."):
            position = os.path.join(position, part)
    return position


def _followed_really(path: str) -> str:
    """The same place by its real directories: what was typed may lead through links above what is sent."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _lies_in(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip(os.sep) + os.sep)


def _says_it_plainly(text: str, levels: int) -> bool:
    """Whether `..` stands at the beginning only, and no more often than there are `levels` to climb."""
    parts = [part for part in text.replace(os.sep, "/").split("/") if part not in ("", ".")]
    ups = parts.count("..")
    return ups <= levels and ".." not in parts[ups:]
