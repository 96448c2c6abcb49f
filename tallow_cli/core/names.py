"""The one place where a name from a peer becomes a path: every rule a received name must meet.

Driver contract (sans-IO, pure): hand `check_manifest_names` a decoded manifest; it returns one `SafePath` per
entry, in order, or raises `PeerProtocolError` naming the rule that was broken. Nothing else makes a
`SafePath`, and the receive root accepts nothing else, so a raw peer string cannot reach `open()`.

The rules hold on every platform, so that a tree received on Linux can be copied to a Mac, a USB stick or
Windows without one file swallowing another. They are normative in docs/spec/manifest.md and have vectors in
tests/vectors/names. The sender applies the same rules to its own files before it offers them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol, final

from tallow_cli.errors import PeerProtocolError

MAX_NAME_BYTES: Final = 255  # ext4, APFS, NTFS (in UTF-16 units) and exFAT all stop here
MAX_DEPTH: Final = 32  # components of a path; deeper trees exist only to exhaust whoever walks them
MAX_PATH_BYTES: Final = 3072  # PATH_MAX is 4096 and counts the receiver's own directory too

# Directories that names imply without listing them; each costs the receiver memory and a directory to make, and an
# offer of 40,000 deep names could imply a million.
MAX_DIRECTORIES: Final = 100_000


class EntryKind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class NameRule(StrEnum):
    """Which rule a name broke; the value is what errors and test vectors say."""

    EMPTY = "empty-component"
    DOT = "dot-component"
    ABSOLUTE = "absolute"
    DEPTH = "too-deep"
    LENGTH = "too-long"
    NUL = "nul"
    CONTROL = "control-or-invisible-character"
    ENCODING = "not-utf-8"
    BACKSLASH = "backslash"
    COLON = "colon"
    TRAILING = "trailing-dot-or-space"
    RESERVED = "reserved-name"
    DUPLICATE = "duplicate"
    COLLISION = "collision"
    FILE_AS_DIRECTORY = "file-versus-directory"
    LINK_TARGET = "symlink-target"
    DIRECTORIES = "too-many-directories"

    @property
    def explanation(self) -> str:
        """The rule for people, to stand after "because"."""
        return _EXPLANATIONS[self]


_EXPLANATIONS: Final = {
    NameRule.EMPTY: "a part of the name is empty",
    NameRule.DOT: '"." and ".." are not names',
    NameRule.ABSOLUTE: "it is an absolute path",
    NameRule.DEPTH: f"it lies more than {MAX_DEPTH} directories deep",
    NameRule.LENGTH: f"a name is longer than {MAX_NAME_BYTES} bytes or a path longer than {MAX_PATH_BYTES}",
    NameRule.NUL: "it contains a NUL character",
    NameRule.CONTROL: "it contains control or invisible characters",
    NameRule.ENCODING: "it is not valid UTF-8",
    NameRule.BACKSLASH: "it contains a backslash, which separates directories on Windows",
    NameRule.COLON: "it contains a colon, which Windows does not allow",
    NameRule.TRAILING: "it ends in a dot or a space, which Windows drops",
    NameRule.RESERVED: "it is the name of a device on Windows",
    NameRule.DUPLICATE: "the name occurs twice",
    NameRule.COLLISION: "another name differs from it only in case or Unicode form, one would replace the other",
    NameRule.FILE_AS_DIRECTORY: "the same name is both a file and a directory",
    NameRule.DIRECTORIES: f"there are more than {MAX_DIRECTORIES:,} directories",
    NameRule.LINK_TARGET: "the symbolic link leads out of the directory that is sent",
}


class ForbiddenName(ValueError):
    """A name breaks `rule`. The local scan turns it into a LocalFileError, the receiver into a
    PeerProtocolError.
    """

    def __init__(self, rule: NameRule, name: str) -> None:
        super().__init__(f"{rule.value}: {name[:120]!a}")
        self.rule = rule
        self.name = name


class NamedEntry(Protocol):
    """What the rules need to know of a manifest entry."""

    @property
    def path(self) -> str: ...
    @property
    def kind(self) -> EntryKind: ...
    @property
    def target(self) -> str | None: ...


class NamedManifest(Protocol):
    @property
    def entries(self) -> Sequence[NamedEntry]: ...


_MAKER: Final = object()  # held by this module only: the key to SafePath's constructor


@final
class SafePath:
    """A relative path whose every component passed the rules. Only this module makes one.

    `components` is a non-empty tuple; `str()` joins it with "/" and is for people, never for `open()`.
    """

    __slots__ = ("components",)
    components: tuple[str, ...]

    def __init__(self, components: tuple[str, ...], maker: object) -> None:
        if maker is not _MAKER:
            raise TypeError("a SafePath is made by tallow_cli.core.names only")
        object.__setattr__(self, "components", components)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a SafePath does not change")

    @property
    def name(self) -> str:
        return self.components[-1]

    @property
    def parent(self) -> tuple[str, ...]:
        """The components above the last; empty at the top."""
        return self.components[:-1]

    @property
    def top(self) -> SafePath:
        """The first component alone."""
        return self if len(self.components) == 1 else SafePath(self.components[:1], _MAKER)

    def under(self, top: SafePath) -> SafePath:
        """The same path with its first component replaced by `top`."""
        return SafePath((*top.components, *self.components[1:]), _MAKER)

    def ancestors(self) -> list[SafePath]:
        """The directories it lies in, from the top down."""
        return [SafePath(self.components[:depth], _MAKER) for depth in range(1, len(self.components))]

    def __str__(self) -> str:
        return "/".join(self.components)

    def __repr__(self) -> str:
        return f"SafePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SafePath) and other.components == self.components

    def __hash__(self) -> int:
        return hash(self.components)


# Control characters, line separators, bidirectional overrides and what renders as nothing: each can make a
# listing say one thing and the disk another (croc CVE-2023-43620, magic-wormhole issue 476). Named as ranges
# because the Unicode tables differ between Python versions and both ends must agree.
_FORBIDDEN_CHARACTERS: Final = re.compile(
    "[\x01-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"
)
# Invisible, yet part of ordinary names (Persian and Indic joiners, emoji and ideographic variants): allowed,
# but two names that differ only in these collide.
_IGNORABLE: Final = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")

# Win32 "Naming Files": device names, with any extension; the superscript digits count as digits, and spaces
# before the extension are ignored.
_RESERVED: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3]) *(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)


def check_component(name: str) -> None:
    """Apply the rules one path component must meet; raise ForbiddenName with the first one it breaks."""
    if not name:
        raise ForbiddenName(NameRule.EMPTY, name)
    if name in (".", ".."):
        raise ForbiddenName(NameRule.DOT, name)
    if "\0" in name:
        raise ForbiddenName(NameRule.NUL, name)
    if not name.isascii():
        try:
            length = len(name.encode())
        except UnicodeEncodeError:  # a lone surrogate: os.fsdecode's mark for bytes that are no UTF-8
            raise ForbiddenName(NameRule.ENCODING, name) from None
    else:
        length = len(name)
    if length > MAX_NAME_BYTES:
        raise ForbiddenName(NameRule.LENGTH, name)
    if "/" in name:
        raise ForbiddenName(NameRule.ABSOLUTE, name)
    if "\\" in name:
        raise ForbiddenName(NameRule.BACKSLASH, name)
    if ":" in name:  # drive letters and NTFS streams
        raise ForbiddenName(NameRule.COLON, name)
    if _FORBIDDEN_CHARACTERS.search(name):
        raise ForbiddenName(NameRule.CONTROL, name)
    if name[-1] in ". ":  # Win32 strips them: "x." would be "x"
        raise ForbiddenName(NameRule.TRAILING, name)
    if _RESERVED.fullmatch(name):
        raise ForbiddenName(NameRule.RESERVED, name)


def fold(name: str) -> str:
    """The form under which two names are the same file on a case-insensitive or normalizing file system."""
    if name.isascii():
        return name.lower()
    visible = _IGNORABLE.sub("", name)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", visible).casefold())


def check_symlink_target(path: str, target: str) -> None:
    """Refuse a link that leaves the directory it was sent in; raise ForbiddenName(LINK_TARGET).

    Allowed is `../` as often as stays below the first component of `path`, followed by ordinary components.
    With no ".." after a name, what the text says is where the kernel goes, whatever other links the tree
    holds.
    """
    parts = target.split("/")
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    levels_below_top = path.count("/") - 1  # directories between the sent tree's top and the link
    if ups > levels_below_top or len(target.encode("utf-8", "replace")) > MAX_PATH_BYTES:
        raise ForbiddenName(NameRule.LINK_TARGET, target)
    for part in parts[ups:]:
        try:
            check_component(part)
        except ForbiddenName as broken:
            raise ForbiddenName(NameRule.LINK_TARGET, target) from broken


class NameChecker:
    """Checks the entries of one manifest in turn: each name by itself, then against all before it."""

    def __init__(self) -> None:
        self._taken: dict[
            str, tuple[str, EntryKind, bool]
        ] = {}  # folded -> (as written, kind, listed itself)
        self._directories: dict[str, str] = {"": ""}  # as written -> folded

    def add(self, entry: NamedEntry) -> SafePath:
        """Check one entry and remember it. Raises ForbiddenName."""
        path = entry.path
        if path.startswith("/"):
            raise ForbiddenName(NameRule.ABSOLUTE, path)
        if path.count("/") >= MAX_DEPTH:
            raise ForbiddenName(NameRule.DEPTH, path)
        if len(path) > MAX_PATH_BYTES or len(path.encode("utf-8", "replace")) > MAX_PATH_BYTES:
            raise ForbiddenName(NameRule.LENGTH, path)
        parent, _, name = path.rpartition("/")
        folded_parent = self._directory(parent)
        check_component(name)
        self._take(f"{folded_parent}/{fold(name)}", path, entry.kind, listed=True)
        if entry.kind is EntryKind.SYMLINK:
            check_symlink_target(path, entry.target or "")
        return SafePath(tuple(path.split("/")), _MAKER)

    def _directory(self, path: str) -> str:
        """The folded form of a directory that some entry lies in, which need not be listed itself."""
        known = self._directories.get(path)
        if known is not None:
            return known
        parent, _, name = path.rpartition("/")
        folded_parent = self._directory(parent)
        check_component(name)
        folded = f"{folded_parent}/{fold(name)}"
        self._take(folded, path, EntryKind.DIRECTORY, listed=False)
        if len(self._directories) > MAX_DIRECTORIES:
            raise ForbiddenName(NameRule.DIRECTORIES, path)
        self._directories[path] = folded
        return folded

    def _take(self, folded: str, path: str, kind: EntryKind, *, listed: bool) -> None:
        before = self._taken.get(folded)
        if before is None:
            self._taken[folded] = (path, kind, listed)
            return
        path_before, kind_before, listed_before = before
        if path_before != path:
            raise ForbiddenName(NameRule.COLLISION, path)
        if kind is not kind_before:
            raise ForbiddenName(NameRule.FILE_AS_DIRECTORY, path)
        if listed and (listed_before or kind is not EntryKind.DIRECTORY):
            raise ForbiddenName(NameRule.DUPLICATE, path)
        self._taken[folded] = (path, kind, listed or listed_before)


def check_manifest_names(manifest: NamedManifest) -> list[SafePath]:
    """One SafePath per entry, in order. Raises PeerProtocolError naming the first broken rule and the
    name.
    """
    checker = NameChecker()
    try:
        return [checker.add(entry) for entry in manifest.entries]
    except ForbiddenName as broken:
        raise PeerProtocolError(f"a file name it offers is not allowed, {broken}") from None


def local_name(name: str) -> SafePath:
    """A name the local user typed (`-o FILE`): any the file system takes. Never call it with a peer's text.

    Raises ForbiddenName if it is not one component.
    """
    if not name or name in (".", ".."):
        raise ForbiddenName(NameRule.DOT, name)
    if "\0" in name or "/" in name:
        raise ForbiddenName(NameRule.NUL if "\0" in name else NameRule.ABSOLUTE, name)
    return SafePath((name,), _MAKER)


def numbered(path: SafePath, number: int, *, is_directory: bool) -> SafePath:
    """The path, its last component renamed as file managers do: `photo (1).jpg`, `site (1)`.

    A directory has no extension. A name that would grow beyond MAX_NAME_BYTES loses the end of its stem.
    """
    name = path.name
    cut = len(name) if is_directory else _extension_start(name)
    stem, extension = name[:cut], name[cut:]
    suffix = f" ({number})"
    if len((suffix + extension).encode()) >= MAX_NAME_BYTES:  # the extension fills the name
        stem, extension = name, ""
    while len((stem + suffix + extension).encode()) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return SafePath((*path.parent, f"{stem}{suffix}{extension}"), _MAKER)


def _extension_start(name: str) -> int:
    dot = name.rfind(".")
    if dot <= 0:
        return len(name)
    inner = name.rfind(".", 0, dot)
    return inner if inner > 0 and name[inner:dot].lower() == ".tar" else dot
