"""Where a received offer goes, and whether it is wanted: options first, a person where they leave a choice."""

from __future__ import annotations

import asyncio
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.options import ConflictChoice
from tallow_cli.cli.pages import show_pages
from tallow_cli.cli.prompt import ask
from tallow_cli.errors import BadOption, Declined, HiddenInHome, InputNeeded, TargetExists, TargetUnwritable
from tallow_cli.offer.manifest import EntryKind, Manifest
from tallow_cli.session.offer_events import described
from tallow_cli.session.worker import Worker
from tallow_cli.store.destination import sink_for
from tallow_cli.store.sequential_sink import TextSink
from tallow_cli.store.sink import AtHand, Conflict, OnConflict, Sink
from tallow_cli.ui import sanitize, wording

T = TypeVar("T")

_NAMES_SHOWN = 5
_FORESEE_S = 2.0  # that an offer waits to be shown for a look at the disk; what is there is said later then
_RUNNABLE_BITS = 0o111
_WITHOUT_BLANKS = str.maketrans(
    "", "", " \u2800\u1160"
)  # as NFKC leaves them; the last two are letters that show nothing
_LIST = frozenset({"l", "list"})
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
        resume: bool = True,
    ) -> None:
        self._environment = environment
        self._people = environment.people
        self._output = output
        self._yes = yes
        self._on_conflict = OnConflict(on_conflict.value) if on_conflict else None
        self._can_ask = can_ask
        self._resume = resume
        self._look: asyncio.Task[_Look] | None = None

    async def foresee(self, manifest: Manifest) -> AtHand | None:
        """What of the offer is there already, to be shown with it; None where a disk does not say so in time.

        Never raises a TallowError: that is for `decide`, which is to be called next.
        """
        if self._is_for_the_screen(manifest):
            return AtHand()
        self._look = asyncio.create_task(self._look_at(manifest))
        try:
            await asyncio.wait([self._look], timeout=_FORESEE_S)
        except asyncio.CancelledError:
            await self._look_no_more()
            raise
        if not self._look.done():
            return None
        return AtHand() if self._look.exception() is not None else self._look.result().at_hand

    async def _look_no_more(self) -> None:
        if self._look is None:
            return
        look, self._look = self._look, None
        look.cancel()
        await asyncio.wait([look])
        if not look.cancelled() and look.exception() is None:
            look.result().sink.close()

    async def _look_at(self, manifest: Manifest) -> _Look:
        """Raises as `decide`."""
        sink = self._sink(manifest, self._on_conflict or OnConflict.REFUSE)
        try:
            return await _aside(lambda: _Look(sink, sink.conflicts(manifest), sink.at_hand(manifest)))
        except BaseException:
            sink.close()
            raise

    async def _looked(self, manifest: Manifest) -> _Look:
        """What `foresee` saw, or sees now."""
        if self._look is None:
            return await self._look_at(manifest)
        try:
            look = await self._look
        except asyncio.CancelledError:
            await self._look_no_more()
            raise
        self._look = None
        return look

    async def decide(self, manifest: Manifest) -> Sink:
        """The unopened sink for this offer.

        Raises Declined, InputNeeded where nobody can be asked, HiddenInHome, TargetExists, TargetNotDirectory,
        BadOption.
        """
        if self._is_for_the_screen(manifest):
            if "stdout" in self._environment.closed:
                raise TargetUnwritable("standard output", "it is closed")
            return TextSink()  # shown, and nothing else: no consent needed
        look = await self._looked(manifest)
        sink, conflicts = look.sink, look.conflicts
        try:
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

    def _is_for_the_screen(self, manifest: Manifest) -> bool:
        return manifest.kind == "text" and (self._output is None or self._to_terminal)

    @property
    def _to_terminal(self) -> bool:
        return self._output == "-" and self._environment.stdout.isatty()

    def _sink(self, manifest: Manifest, policy: OnConflict) -> Sink:
        if self._to_terminal:
            raise BadOption("--output", "standard output is a terminal; redirect it to a file or a pipe")
        stdout_fd = self._environment.stdout.fileno() if self._output == "-" else -1
        return sink_for(self._output, manifest, policy, resume=self._resume, stdout_fd=stdout_fd)

    async def _with_policy(self, manifest: Manifest, policy: OnConflict, shown: Sequence[Conflict]) -> Sink:
        """The sink for the policy a person chose, once they have seen every file that it would replace."""
        sink = self._sink(manifest, policy)
        if policy is not OnConflict.OVERWRITE:
            return sink
        try:
            below = await _aside(lambda: _not_shown(sink.conflicts(manifest), shown))
            if below:
                self._list(_Named("would be replaced", below), most=None)
                await self._confirm(f"Replace {'these' if len(below) > 1 else 'this'} too?", "y/N")
        except BaseException:
            sink.close()
            raise
        return sink

    async def _ask_for_consent(self, manifest: Manifest, conflicts: Sequence[Conflict]) -> None:
        if self._on_conflict is OnConflict.SKIP and conflicts:
            self._list(_Named("exists, and is not as offered", [c.path for c in conflicts]))
            raise TargetExists(conflicts[0].path)
        if self._yes:
            self._keep_from_home(manifest)
            return
        if not self._can_ask:
            raise InputNeeded("Your consent to receive this", "--yes")
        offer = await self._point_out(manifest)
        if self._on_conflict in (OnConflict.OVERWRITE, OnConflict.UPDATE):
            self._list(_Named("would be replaced", _replaced(conflicts)), most=None)
        await self._confirm("Receive this?", "y/N", offer)

    async def _ask_about(self, manifest: Manifest, conflicts: Sequence[Conflict]) -> OnConflict:
        """One question for the offer and its conflicts."""
        if not self._can_ask or self._yes:
            raise TargetExists(conflicts[0].path)
        taken = _Named("exists already", [c.path for c in conflicts], [c.existing_kind for c in conflicts])
        offer = await self._point_out(manifest, taken)
        policy = await self._choose(
            "Receive it and [r]ename, receive it and [o]verwrite, or [n]othing?", "r/o/N", _POLICIES, offer
        )
        if policy is None:
            raise Declined
        return policy

    async def _point_out(self, manifest: Manifest, *others: _Named) -> _Offer:
        """What is easily overlooked in a long list, and may act when nobody asks it to, or be taken for another."""
        offer = _Offer(manifest, (*await _aside(lambda: _worth_a_look(manifest)), *others))
        for named in offer.pointed_out:
            self._list(named)
        return offer

    def _keep_from_home(self, manifest: Manifest) -> None:
        """Nobody looks at what --yes lets in, and in a home directory a dotfile acts at the next login.

        Raises HiddenInHome for such a name at the top of a home directory that nobody named with --output.
        """
        hidden = [path for path in _hidden(manifest) if "/" not in path.removesuffix("/")]
        if hidden and self._output is None and _is_home(self._environment.variables.get("HOME")):
            raise HiddenInHome(hidden)

    def _list(self, named: _Named, most: int | None = _NAMES_SHOWN) -> None:
        """Made a line at a time, when it is its turn: there may be many, and nobody has asked for them."""
        columns = self._people.columns
        self._people.put(f"{line}\n" for line in named.lines(columns, most))
        if most is not None and len(named.paths) > most:
            self._people.line(f"  {named.what}: {len(named.paths) - most:,} more")

    async def _confirm(self, question: str, keys: str, offer: _Offer | None = None) -> None:
        """Raises Declined unless the answer is yes."""
        if not await self._choose(question, keys, _YES, offer):
            raise Declined

    async def _choose(
        self, question: str, keys: str, answers: Mapping[str, T], offer: _Offer | None = None
    ) -> T | None:
        """What the answer stands for; None for no, for nothing, and at the end of input. Asks again for others.

        Where there is more in the `offer` than was shown, one of them is to see all of it.
        """
        more = offer is not None and offer.is_cut
        asked = f"{question} [{keys}{'/l=list' if more else ''}] "
        while True:
            answer = await ask(self._environment, asked)
            if answer in answers:
                return answers[answer]
            if answer in _LIST and offer is not None:
                await show_pages(self._environment, offer.lines, offer.line_count)
            if answer in ("", "n", "no", "nothing"):
                return None


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is at the destination."""

    sink: Sink  # to be closed
    conflicts: Sequence[Conflict]
    at_hand: AtHand


@dataclass(frozen=True, slots=True)
class _Named:
    """Names that share something a person should know of; `about` says more of each, in our words."""

    what: str
    paths: Sequence[str]
    about: Sequence[str] = ()

    def lines(self, columns: int | None, most: int | None = None) -> Iterator[str]:
        for number, path in enumerate(self.paths[:most]):
            yield wording.pointed_out(self.what, path, self.about[number] if self.about else "", columns)


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a person is asked about."""

    manifest: Manifest
    pointed_out: tuple[_Named, ...]

    @property
    def is_cut(self) -> bool:
        """Whether there is more than was shown."""
        many = len(self.manifest.entries) > wording.MOST_TO_CONSENT
        return many or any(len(named.paths) > _NAMES_SHOWN for named in self.pointed_out)

    @property
    def line_count(self) -> int:
        return len(self.manifest.entries) + sum(len(named.paths) for named in self.pointed_out)

    def lines(self, columns: int | None) -> Iterator[str]:
        """All of it: what is pointed out, then every entry."""
        for named in self.pointed_out:
            yield from named.lines(columns)
        for entry in self.manifest.entries:
            yield wording.offered_entry(described(entry), columns)


async def _aside(look: Callable[[], T]) -> T:
    """`look()` off the event loop, for a slow disk or a million names. One that never answers keeps nothing from
    ending: cancelling leaves it behind."""
    worker = Worker()
    try:
        return await worker.run(look)
    finally:
        await worker.close(wait_s=0)


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


def _worth_a_look(manifest: Manifest) -> list[_Named]:
    return [
        _Named("hidden", _hidden(manifest)),
        _Named("can be run", _runnable(manifest)),
        _Named("begins like an option", _like_options(manifest)),
        _Named("looks like another name", _alike(manifest)),
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
        if not letters.isprintable():
            letters = "".join(filter(str.isprintable, letters))
        key = letters.translate(_WITHOUT_BLANKS)
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
