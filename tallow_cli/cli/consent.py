"""Where a received offer goes, and whether it is wanted: options first, a person where they leave a choice."""

from __future__ import annotations

import asyncio
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.options import ConflictChoice
from tallow_cli.cli.prompt import ask
from tallow_cli.errors import BadOption, Declined, HiddenInHome, InputNeeded, TargetExists, TargetUnwritable
from tallow_cli.offer.manifest import EntryKind, Manifest
from tallow_cli.store.destination import sink_for
from tallow_cli.store.sequential_sink import TextSink
from tallow_cli.store.sink import Conflict, OnConflict, Sink
from tallow_cli.ui import sanitize

T = TypeVar("T")

_NAMES_SHOWN = 5
_RUNNABLE_BITS = 0o111
_BLANKS = " \u2800\u1160"  # as NFKC leaves them; the last two are letters that show nothing
_YES = {"y": True, "yes": True}
_POLICIES = {
    "r": OnConflict.RENAME,
    "rename": OnConflict.RENAME,
    "o": OnConflict.OVERWRITE,
    "overwrite": OnConflict.OVERWRITE,
}


class Consent:
    """Decides about one offer. The renderer has shown it by then."""

    def __init__(
        self,
        environment: Environment,
        *,
        output: str | None,
        yes: bool,
        on_conflict: ConflictChoice | None,
        can_ask: bool,
    ) -> None:
        self._environment = environment
        self._people = environment.people
        self._output = output
        self._yes = yes
        self._on_conflict = OnConflict(on_conflict.value) if on_conflict else None
        self._can_ask = can_ask

    async def decide(self, manifest: Manifest) -> Sink:
        """The unopened sink for this offer.

        Raises Declined, InputNeeded where nobody can be asked, HiddenInHome, TargetExists, TargetNotDirectory,
        BadOption.
        """
        if manifest.kind == "text" and (self._output is None or self._to_terminal):
            if "stdout" in self._environment.closed:
                raise TargetUnwritable("standard output", "it is closed")
            return TextSink()  # shown, and nothing else: no consent needed
        sink = self._sink(manifest, self._on_conflict or OnConflict.REFUSE)
        try:
            # A look at the disk, which may be a slow one. If this is cancelled the thread ends by itself.
            conflicts = await asyncio.to_thread(sink.conflicts, manifest)
            if not (conflicts and self._on_conflict is None):
                await self._ask_for_consent(manifest, conflicts)
                return sink
            policy = await self._ask_about(manifest, conflicts)
        except BaseException:
            sink.close()
            raise
        for notice in sink.notices:  # the next sink finds nothing to say any more
            self._people.line(sanitize.one_line(notice))
        sink.close()
        return await self._with_policy(manifest, policy, conflicts)

    @property
    def _to_terminal(self) -> bool:
        return self._output == "-" and self._environment.stdout.isatty()

    def _sink(self, manifest: Manifest, policy: OnConflict) -> Sink:
        if self._to_terminal:
            raise BadOption("--output", "standard output is a terminal; redirect it to a file or a pipe")
        stdout_fd = self._environment.stdout.fileno() if self._output == "-" else -1
        return sink_for(self._output, manifest, policy, stdout_fd=stdout_fd)

    async def _with_policy(self, manifest: Manifest, policy: OnConflict, shown: Sequence[Conflict]) -> Sink:
        """The sink for the policy a person chose, once they have seen every file that it would replace."""
        sink = self._sink(manifest, policy)
        if policy is not OnConflict.OVERWRITE:
            return sink
        try:
            below = await asyncio.to_thread(lambda: _not_shown(sink.conflicts(manifest), shown))
            if below:
                self._list("would be replaced", below, most=None)
                await self._confirm(f"Replace {'these' if len(below) > 1 else 'this'} too? [y/N] ")
        except BaseException:
            sink.close()
            raise
        return sink

    async def _ask_for_consent(self, manifest: Manifest, conflicts: Sequence[Conflict]) -> None:
        if self._yes:
            self._keep_from_home(manifest)
            return
        if not self._can_ask:
            raise InputNeeded("Your consent to receive this", "--yes")
        await self._point_out(manifest)
        if self._on_conflict is OnConflict.OVERWRITE:
            self._list("would be replaced", _replaced(conflicts), most=None)
        await self._confirm("Receive this? [y/N] ")

    async def _ask_about(self, manifest: Manifest, conflicts: Sequence[Conflict]) -> OnConflict:
        """One question for the offer and its conflicts."""
        if not self._can_ask or self._yes:
            raise TargetExists(conflicts[0].path)
        await self._point_out(manifest)
        self._list("exists already", [f"{c.path} ({c.existing_kind})" for c in conflicts])
        policy = await self._choose(
            "Receive it and [r]ename, receive it and [o]verwrite, or [n]othing? [r/o/N] ", _POLICIES
        )
        if policy is None:
            raise Declined
        return policy

    async def _point_out(self, manifest: Manifest) -> None:
        """What is easily overlooked in a long list, and may act when nobody asks it to, or be taken for another."""
        for what, names in await asyncio.to_thread(_worth_a_look, manifest):
            self._list(what, names)

    def _keep_from_home(self, manifest: Manifest) -> None:
        """Nobody looks at what --yes lets in, and in a home directory a dotfile acts at the next login.

        Raises HiddenInHome for such a name at the top of a home directory that nobody named with --output.
        """
        hidden = [path for path in _hidden(manifest) if "/" not in path.removesuffix("/")]
        if hidden and self._output is None and _is_home(self._environment.variables.get("HOME")):
            raise HiddenInHome(hidden)

    def _list(self, what: str, names: Sequence[str], most: int | None = _NAMES_SHOWN) -> None:
        for name in names[:most]:
            self._people.line(f"  {what}: {sanitize.name(name)}")
        if most is not None and len(names) > most:
            self._people.line(f"  {what}: {len(names) - most:,} more")

    async def _confirm(self, question: str) -> None:
        """Raises Declined unless the answer is yes."""
        if not await self._choose(question, _YES):
            raise Declined

    async def _choose(self, question: str, answers: Mapping[str, T]) -> T | None:
        """What the answer stands for; None for no, for nothing, and at the end of input. Asks again for others."""
        while True:
            answer = await ask(self._environment, question)
            if answer in answers:
                return answers[answer]
            if answer in ("", "n", "no", "nothing"):
                return None


def _replaced(conflicts: Iterable[Conflict]) -> list[str]:
    """What overwriting would replace, each once. A directory is merged into, and no file takes its place."""
    return list(dict.fromkeys(c.path for c in conflicts if c.existing_kind != "directory"))


def _not_shown(conflicts: Iterable[Conflict], shown: Iterable[Conflict]) -> list[str]:
    """What overwriting would replace beside what was shown."""
    known = set(_replaced(shown))
    return [path for path in _replaced(conflicts) if path not in known]


def _is_home(home: str | None) -> bool:
    """Whether the current directory is this user's own."""
    try:
        return os.path.samefile(os.curdir, home or os.path.expanduser("~"))
    except OSError:
        return False


def _worth_a_look(manifest: Manifest) -> list[tuple[str, list[str]]]:
    return [
        ("hidden", _hidden(manifest)),
        ("can be run", _runnable(manifest)),
        ("begins like an option", _like_options(manifest)),
        ("looks like another name", _alike(manifest)),
    ]


def _like_options(manifest: Manifest) -> list[str]:
    """What a command given `*` would take for its options."""
    return [e.path for e in manifest.entries if "/" not in e.path and e.path.startswith("-")]


def _alike(manifest: Manifest) -> list[str]:
    """Names that differ in blanks, in case or in the form of their letters alone (Unicode's NFKC)."""
    first: dict[str, str] = {}
    found: dict[str, None] = {}
    for entry in manifest.entries:
        letters = unicodedata.normalize("NFKC", entry.path).casefold()
        key = "".join(letter for letter in letters if letter.isprintable() and letter not in _BLANKS)
        before = first.setdefault(key, entry.path)
        if before != entry.path:
            found[before] = found[entry.path] = None
    return list(found)


def _hidden(manifest: Manifest) -> list[str]:
    """The entries whose names begin with a dot, and directories of such a name once for all they hold."""
    found: dict[str, None] = {}
    for entry in manifest.entries:
        parts = entry.path.split("/")
        first = next((number for number, part in enumerate(parts, 1) if part.startswith(".")), None)
        if first is not None:
            is_directory = first < len(parts) or entry.kind is EntryKind.DIRECTORY
            found["/".join(parts[:first]) + "/" * is_directory] = None
    return list(found)


def _runnable(manifest: Manifest) -> list[str]:
    entries: Iterable[str] = (
        entry.path
        for entry in manifest.entries
        if entry.kind is EntryKind.FILE and entry.mode & _RUNNABLE_BITS
    )
    return list(entries)
