"""The one place where a name from a peer becomes a path: every rule a received name must meet.

Driver contract (sans-IO, pure): hand `check_manifest_names` a decoded manifest; it returns one `SafePath` per
entry, in order, or raises `PeerProtocolError` naming the rule that was broken. Nothing else makes a
`SafePath`, and the receive root accepts nothing else, so a raw peer string cannot reach `open()`.

There are two kinds of rules. What keeps a receiver safe (no `..`, nothing absolute, no NUL, nothing that a screen would
obey) holds everywhere and always. What a file system cannot hold differs from place to place: those rules come as
`NameRules`, which the receiver states and both sides apply. Both kinds are normative in docs/spec/manifest.md and have
vectors in tests/vectors/names.

A name is a `str`; bytes of it that are no UTF-8 are lone surrogates, as `os.fsdecode` makes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, final

from tallow_cli.errors import PeerProtocolError
from tallow_cli.offer.name_rules import (
    MAX_NAME_BYTES,
    POSIX,
    NameRules,
    fold,
    is_device,
    platform_rules,
)

__all__ = [
    "MAX_NAME_BYTES",
    "EntryKind",
    "ForbiddenName",
    "NameChecker",
    "NameRule",
    "SafePath",
    "check_component",
    "check_manifest_names",
    "check_symlink_target",
    "fold",
    "local_name",
    "name_bytes",
    "numbered",
]

MAX_PATH_BYTES: Final = 3072  # PATH_MAX is 4096 and counts the receiver's own directory too

# Directories that names imply without listing them; each costs the receiver memory and a directory to make, and an
# offer of 40,000 deep names could imply tens of millions. An honest offer lists nearly all of its directories, so what
# bounds the offer bounds them as well: as many as there may be entries, and their paths as long as all of the offer.
MAX_DIRECTORIES: Final = 1_000_000
MAX_DIRECTORIES_BYTES: Final = 128 * 1024 * 1024


class DirectoryBound(NamedTuple):
    """How many directories the names of one offer may imply, and how long their paths may be together."""

    directories: int = MAX_DIRECTORIES
    bytes: int = MAX_DIRECTORIES_BYTES


DEFAULT_BOUND: Final = DirectoryBound()


class EntryKind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class NameRule(StrEnum):
    """Which rule a name broke; the value is what errors and test vectors say."""

    EMPTY = "empty-component"
    DOT = "dot-component"
    ABSOLUTE = "absolute"
    LENGTH = "too-long"
    NUL = "nul"
    CONTROL = "control-or-invisible-character"
    ENCODING = "not-utf-8"
    FORBIDDEN = "forbidden-character"
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
    NameRule.LENGTH: f"a name is longer than {MAX_NAME_BYTES} bytes or a path longer than {MAX_PATH_BYTES}",
    NameRule.NUL: "it contains a NUL character",
    NameRule.CONTROL: "it contains control or invisible characters",
    NameRule.ENCODING: "it is not UTF-8",
    NameRule.FORBIDDEN: "it contains a character that no name may have there",
    NameRule.TRAILING: "it ends in a dot or a space, which is dropped there",
    NameRule.RESERVED: "it is the name of a device there",
    NameRule.DUPLICATE: "the name occurs twice",
    NameRule.COLLISION: "another name differs from it only in case or Unicode form, which are one file there",
    NameRule.FILE_AS_DIRECTORY: "the same name is both a file and a directory",
    NameRule.DIRECTORIES: "there are too many directories",
    NameRule.LINK_TARGET: "the symbolic link leads out of the directory that is sent",
}

# What only some places refuse: `NameRules` decides. All others hold everywhere.
PORTABILITY: Final = frozenset(
    {
        NameRule.ENCODING,
        NameRule.FORBIDDEN,
        NameRule.TRAILING,
        NameRule.RESERVED,
        NameRule.COLLISION,
    }
)


class ForbiddenName(ValueError):
    """A name breaks `rule`; with COLLISION and its like `other` is the name it meets. The local scan collects them,
    the receiver turns one into a PeerProtocolError.
    """

    def __init__(self, rule: NameRule, name: str, other: str | None = None) -> None:
        super().__init__(f"{rule.value}: {name[:120]!a}")
        self.rule = rule
        self.name = name
        self.other = other


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
            raise TypeError("a SafePath is made by tallow_cli.offer.names only")
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
    def directory(self) -> SafePath | None:
        """What it lies in; None at the top."""
        return SafePath(self.components[:-1], _MAKER) if len(self.components) > 1 else None

    @property
    def top(self) -> SafePath:
        """The first component alone."""
        return self if len(self.components) == 1 else SafePath(self.components[:1], _MAKER)

    def under(self, top: SafePath) -> SafePath:
        """The same path with its first component replaced by `top`."""
        return SafePath((*top.components, *self.components[1:]), _MAKER)

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

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_NAMES_NO_ENTRY: Final = frozenset({"", "."})  # components that lead nowhere else


def name_bytes(name: str) -> int:
    """How many bytes a name or path takes. Raises ForbiddenName for what is neither text nor such bytes."""
    if name.isascii():
        return len(name)
    try:
        return len(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise ForbiddenName(NameRule.ENCODING, name) from None


def check_component(name: str, rules: NameRules = POSIX) -> None:
    """Apply the rules one path component must meet; raise ForbiddenName with the first one it breaks."""
    if not name:
        raise ForbiddenName(NameRule.EMPTY, name)
    if name in (".", ".."):
        raise ForbiddenName(NameRule.DOT, name)
    if "\0" in name:
        raise ForbiddenName(NameRule.NUL, name)
    if name_bytes(name) > rules.longest:
        raise ForbiddenName(NameRule.LENGTH, name)
    if "/" in name:
        raise ForbiddenName(NameRule.ABSOLUTE, name)
    if _FORBIDDEN_CHARACTERS.search(name):
        raise ForbiddenName(NameRule.CONTROL, name)
    if rules is not POSIX:
        _check_portable(name, rules)


def _check_portable(name: str, rules: NameRules) -> None:
    if rules.forbids and not set(rules.forbids).isdisjoint(name):
        raise ForbiddenName(NameRule.FORBIDDEN, name)
    if rules.text_only and not name.isascii() and _SURROGATES.search(name):
        raise ForbiddenName(NameRule.ENCODING, name)
    if rules.strips and name[-1] in ". ":  # "x." would be "x"
        raise ForbiddenName(NameRule.TRAILING, name)
    if rules.devices and is_device(name):
        raise ForbiddenName(NameRule.RESERVED, name)


def check_symlink_target(path: str, target: str, rules: NameRules = POSIX) -> None:
    """Refuse a link that leaves the directory it was sent in; raise ForbiddenName(LINK_TARGET).

    Allowed is `../` as often as stays below the first component of `path`, followed by ordinary components; `.` and
    doubled or final slashes change nothing. With no ".." after a name, what the text says is where the kernel goes,
    whatever other links the tree holds.
    """
    if not target or target.startswith("/") or name_bytes(target) > MAX_PATH_BYTES:
        raise ForbiddenName(NameRule.LINK_TARGET, target)
    parts = [part for part in target.split("/") if part not in _NAMES_NO_ENTRY]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    levels_below_top = path.count("/") - 1  # directories between the sent tree's top and the link
    if ups > levels_below_top or levels_below_top < 0:
        raise ForbiddenName(NameRule.LINK_TARGET, target)
    for part in parts[ups:]:
        try:
            check_component(part, rules)
        except ForbiddenName as broken:
            raise ForbiddenName(NameRule.LINK_TARGET, target) from broken


# What `NameChecker` remembers of a path. A directory that only lies on the way to an entry may still be listed.
_FILE, _SYMLINK, _IMPLIED, _DIRECTORY = range(4)
_STATES: Final = {EntryKind.FILE: _FILE, EntryKind.SYMLINK: _SYMLINK, EntryKind.DIRECTORY: _DIRECTORY}


class NameChecker:
    """Checks the entries of one manifest in turn: each name by itself, then against all before it.

    An entry that was refused is not remembered: the next ones are judged as if it were not there.
    """

    def __init__(self, rules: NameRules = POSIX, most: DirectoryBound = DEFAULT_BOUND) -> None:
        self._most = most
        self._rules = rules
        self._states: dict[str, int] = {}  # by path
        self._directories = 0
        self._directories_bytes = 0
        self._spellings: dict[str, str] = {}  # folded path -> as written; kept where names fold
        self._folded: dict[str, str] = {"": ""}  # directory as written -> folded

    def add(self, entry: NamedEntry) -> SafePath:
        """Check one entry and remember it. Raises ForbiddenName."""
        self.check(entry)
        return SafePath(tuple(entry.path.split("/")), _MAKER)

    def check(self, entry: NamedEntry) -> None:
        """As `add`, without making a path."""
        path = entry.path
        if path.startswith("/"):
            raise ForbiddenName(NameRule.ABSOLUTE, path)
        if len(path) * 4 > MAX_PATH_BYTES and name_bytes(path) > MAX_PATH_BYTES:
            raise ForbiddenName(NameRule.LENGTH, path)
        parent, _, name = path.rpartition("/")
        state = self._states.get(parent, None) if parent else _DIRECTORY
        if state is None:
            self._imply(parent)
        elif state < _IMPLIED:
            raise ForbiddenName(NameRule.FILE_AS_DIRECTORY, path, parent)
        check_component(name, self._rules)
        if entry.kind is EntryKind.SYMLINK:
            check_symlink_target(path, entry.target or "", self._rules)
        self._take(path, parent, name, _STATES[entry.kind])

    def _imply(self, path: str) -> None:
        """The directories on the way to an entry, which need not be listed themselves."""
        missing = []
        while path and (state := self._states.get(path)) is None:
            parent, _, name = path.rpartition("/")
            missing.append((path, parent, name))
            path = parent
        if path and state is not None and state < _IMPLIED:
            raise ForbiddenName(NameRule.FILE_AS_DIRECTORY, missing[0][0], path)
        for directory, parent, name in reversed(missing):
            check_component(name, self._rules)
            self._take(directory, parent, name, _IMPLIED)

    def _take(self, path: str, parent: str, name: str, state: int) -> None:
        before = self._states.get(path)
        if before is not None:
            if (before < _IMPLIED or state < _IMPLIED) and before != state:
                raise ForbiddenName(NameRule.FILE_AS_DIRECTORY, path)
            if before != _IMPLIED:
                raise ForbiddenName(NameRule.DUPLICATE, path)
        else:
            if state >= _IMPLIED:
                self._count_directory(path)
            if self._rules.folds:
                self._take_folded(path, parent, name, state)
        self._states[path] = state

    def _count_directory(self, path: str) -> None:
        self._directories += 1
        self._directories_bytes += len(path)
        if self._directories > self._most.directories or self._directories_bytes > self._most.bytes:
            raise ForbiddenName(NameRule.DIRECTORIES, path)

    def _take_folded(self, path: str, parent: str, name: str, state: int) -> None:
        folded = f"{self._folded[parent]}/{fold(name)}"
        other = self._spellings.setdefault(folded, path)
        if other != path:
            raise ForbiddenName(NameRule.COLLISION, path, other)
        if state >= _IMPLIED:
            self._folded[path] = folded


def check_manifest_names(
    manifest: NamedManifest, rules: NameRules | None = None, most: DirectoryBound = DEFAULT_BOUND
) -> list[SafePath]:
    """One SafePath per entry, in order, where `rules` hold: without them, those of this operating system.

    Raises PeerProtocolError naming the first broken rule and the name.
    """
    checker = NameChecker(platform_rules() if rules is None else rules, most)
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
    if name_bytes(suffix + extension) >= MAX_NAME_BYTES:  # the extension fills the name
        stem, extension = name, ""
    while name_bytes(stem + suffix + extension) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return SafePath((*path.parent, f"{stem}{suffix}{extension}"), _MAKER)


def _extension_start(name: str) -> int:
    dot = name.rfind(".")
    if dot <= 0:
        return len(name)
    inner = name.rfind(".", 0, dot)
    return inner if inner > 0 and name[inner:dot].lower() == ".tar" else dot
