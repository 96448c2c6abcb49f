"""The search for another connection, which may go on beside the one there is.

A path that has changed where this side cannot see it (a NAT forgot it, the other side has another address) is silent at
first, and only after 30 s lost. So a connection that is silent for some seconds is searched for beside: if it answers
again, nothing has happened; if the other side comes to be met, and the old path stays silent all the same, the new
connection takes its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import replace
from time import monotonic
from typing import Final

from tallow_cli.crypto.keys import Role
from tallow_cli.errors import (
    BadOption,
    NoPathError,
    PeerProtocolError,
    PeerVanished,
    SignalingError,
    WrongCodeError,
)
from tallow_cli.link.link import Link
from tallow_cli.session.connection import Connection, connect
from tallow_cli.session.events import Notice, SessionEvent, Waiting
from tallow_cli.session.meet_again import SenderGone
from tallow_cli.session.meeting import Meeting
from tallow_cli.session.pace import Pace
from tallow_cli.session.settings import LinkSettings, Waits

_CONNECT_S: Final = 10.0  # for one try: a path that comes back in the middle of it is found by the next
_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 1.0
UNANSWERED: Final = "the other side no longer answers on this path"

Emit = Callable[[SessionEvent], None]
Meet = Callable[[Emit], AbstractAsyncContextManager[Meeting]]
# The connection, and the URL of the server.
Found = tuple[Connection, str]


class Search:
    """Meets and connects until it succeeds. `task` is its end; give it `beside` the link that it goes on beside.

    Call `stop`, whatever happens, or `taken` once the task has succeeded.
    """

    def __init__(
        self,
        meet: Meet,
        role: Role,
        link: LinkSettings,
        waits: Waits,
        pace: Pace,
        emit: Emit,
        beside: Link | None = None,
    ) -> None:
        self._meet = meet
        self._role = role
        self._link = link
        self._waits = replace(waits, connect_s=min(waits.connect_s, _CONNECT_S))
        self._pace = pace
        self._emit = emit
        self._beside = beside
        self._stack = AsyncExitStack()  # closes the link
        self.task: Final = asyncio.create_task(self._find())

    def taken(self) -> AsyncExitStack:
        """What closes the link found: the caller's from now on."""
        return self._stack.pop_all()

    async def stop(self) -> None:
        """Search no more, and close what was found. Harmless when repeated."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self._stack.aclose()

    async def _find(self) -> Found:
        pause_s = _PAUSE_S
        while True:
            async with AsyncExitStack() as once:
                try:
                    met = await once.enter_async_context(self._meet(self._quietly))
                    met_at = monotonic()
                    connection = await connect(
                        met.link, self._role, met.handshake, self._link, self._waits, self._quietly, met
                    )
                    await met.leave()
                except (
                    NoPathError,
                    PeerVanished,
                    SignalingError,
                    WrongCodeError,
                    PeerProtocolError,
                ) as error:
                    self._quietly(Notice(f"Not connected again yet: {error.sentence}"))
                else:
                    await self._let_the_old_path_answer(met_at)
                    self._stack.push_async_exit(once.pop_all())
                    return connection, met.server
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _let_the_old_path_answer(self, met_at: float) -> None:
        """Where we met there is a network again: with it the old path may be back."""
        link = self._beside
        while link is not None and link.lost is None:
            figures = link.path_figures()
            left_s = met_at + self._pace.answer_s + (0.0 if figures is None else figures.rtt_s) - monotonic()
            if left_s <= 0:
                return
            await asyncio.sleep(min(left_s, self._pace.look_s))

    def _quietly(self, event: SessionEvent) -> None:
        if isinstance(event, Notice):
            self._emit(replace(event, detail=True))
        elif not isinstance(event, Waiting):
            self._emit(event)


class SearchBeside:
    """Searches while `link` is silent and nothing arrives: `moved_bytes()` says how much has. What was found by then
    takes the link's place, which is told so. Call `end` once the link is lost or not needed any more.
    """

    def __init__(
        self, link: Link, pace: Pace, moved_bytes: Callable[[], int], begin: Callable[[Link], Search]
    ) -> None:
        self._link = link
        self._pace = pace
        self._moved_bytes = moved_bytes
        self._begin = begin
        self._search: Search | None = None
        self._task = asyncio.create_task(self._watch())

    async def end(self) -> Search | None:
        """The search under way, or that has found something; None if there is none. It is the caller's now."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        search, self._search = self._search, None
        return search

    async def _watch(self) -> None:
        moved, moved_at = -1, monotonic()
        with suppress(SenderGone, BadOption):  # the search that follows the loss says so, if it is still true
            while self._link.lost is None:
                if self._moved_bytes() != moved:
                    moved, moved_at = self._moved_bytes(), monotonic()
                is_silent = min(self._link.silence_s, monotonic() - moved_at) >= self._pace.silent_s
                if not is_silent and self._search is not None:
                    search, self._search = self._search, None
                    await search.stop()
                elif is_silent and self._search is None:
                    self._search = self._begin(self._link)
                elif self._search is not None and self._search.task.done():
                    await self._replace(self._search)
                    return
                await asyncio.sleep(self._pace.look_s)

    async def _replace(self, search: Search) -> None:
        """Raises what has ended the search."""
        try:
            search.task.result()
        except BaseException:
            self._search = None
            raise
        self._link.lose(PeerVanished(UNANSWERED))
