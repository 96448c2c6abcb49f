"""One transfer over as many connections as it takes: what a lost one means, and the way to the next.

A connection whose path is gone is replaced: both sides meet again (`session.meet_again`), agree on fresh keys, connect
and go on with what has not arrived. Everything else that ends a connection ends the transfer: a person's no, an error
of one side's own, a broken protocol, a wrong digest.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol

from tallow_cli.awake import awake_timeout
from tallow_cli.crypto.keys import Rendezvous, Role
from tallow_cli.errors import (
    Loss,
    PeerVanished,
    TallowError,
    TransferStalled,
)
from tallow_cli.link.link import Link
from tallow_cli.session.connection import Connection, connect
from tallow_cli.session.events import Done, Reconnected, Reconnecting
from tallow_cli.session.meet_again import SenderGone
from tallow_cli.session.meeting import Meeting
from tallow_cli.session.pace import GONE_S, Pace
from tallow_cli.session.searching import Emit, Found, Meet, Search, SearchBeside
from tallow_cli.session.settings import LinkSettings, Waits

# Whoever closes a connection without a word either looks for another one at once, over a path that carried this, or is
# being ended by force.
_CLOSED_S: Final = 30.0
_REPORT_S: Final = (
    30.0  # as long as it takes to notice that a path is gone: then the other side looks for us, too
)

# Where the server was, and what both share: the way to the next meeting.
Meetings = Callable[[str, Rendezvous, Emit], AbstractAsyncContextManager[Meeting]]
_Lost = PeerVanished | TransferStalled


class Transfer(Protocol):
    """What goes on over the next connection: a SendTransfer or a ReceiveTransfer."""

    @property
    def ended(self) -> asyncio.Future[None]:
        """Raises what has ended the transfer while it has no connection."""
        ...

    @property
    def owes_report(self) -> bool:
        """The transfer is done, and the other side does not know it yet."""
        ...

    @property
    def moved_bytes(self) -> int:
        """Distinct bytes that have arrived so far."""
        ...

    async def carry(self, connection: Connection) -> Done: ...

    async def close(self) -> None: ...


async def carry_through(
    transfer: Transfer,
    role: Role,
    first: AbstractAsyncContextManager[Meeting],
    again: Meetings,
    link: LinkSettings,
    waits: Waits,
    pace: Pace,
    emit: Emit,
) -> Done:
    """Meet, connect and carry; where the path is lost, meet `again`. Closes the transfer, however it ends.

    Raises what ended it. Cancelling tells the other side if there is a connection.
    """
    search: Search | None = None
    stack = AsyncExitStack()  # closes the link in use
    try:
        met = await stack.enter_async_context(first)
        connection = await connect(met.link, role, met.handshake, link, waits, emit, met)
        await met.leave()
        emit(connection.how)
        rendezvous, server = met.handshake.keys.rendezvous(), met.server
        attempt, patience = 1, _Patience(waits)
        while True:
            begin = partial(Search, partial(again, server, rendezvous), role, link, waits, pace, emit)
            outcome, search = await _carried(transfer, connection, pace, begin)
            await stack.aclose()
            if isinstance(outcome, Done):
                break
            attempt += 1
            lost, begun = outcome, monotonic()
            for_s = min(patience.left_s(lost, transfer.moved_bytes, begun), _worth_waiting_s(lost))
            if for_s <= 0:
                raise _given_up(lost, "nothing has moved since the connection was lost before")
            emit(Reconnecting(_reason(lost), None if math.isinf(for_s) else for_s))
            search = search or begin()
            connection, server = await _in_time(search.task, transfer.ended, for_s, lost)
            stack, search = search.taken(), None
            patience.connected_at = monotonic()
            emit(Reconnected.of(attempt, patience.connected_at - begun, connection.how))
        if transfer.owes_report:
            await _report(transfer, partial(again, server, rendezvous), role, link, waits, pace)
        return outcome
    finally:
        try:
            if search is not None:
                await search.stop()
            await stack.aclose()
        finally:
            await transfer.close()


async def _report(
    transfer: Transfer, meet: Meet, role: Role, link: LinkSettings, waits: Waits, pace: Pace
) -> None:
    """Let the other side know that all is done, if it is found. Nothing is at stake here: whatever comes, we are done,
    and have said so."""
    search = Search(meet, role, link, waits, pace, lambda _event: None)
    try:
        async with awake_timeout(min(waits.reconnect_s, _REPORT_S)):
            connection, _ = await search.task
            await transfer.carry(connection)
    except (TallowError, SenderGone, TimeoutError):
        return
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    finally:
        await search.stop()


class _Patience:
    """How long to look for another connection. Those over which nothing moves are no success: a path that carries small
    packets only could be found again and again, for ever."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._moved_bytes = -1
        self._fruitless_since = 0.0
        self.connected_at = 0.0

    def left_s(self, lost: _Lost, moved_bytes: int, now: float) -> float:
        """A connection is lost, after so many bytes had moved in all."""
        # One that stalls lives for `idle_s`, at either end.
        was_quiet = isinstance(lost, PeerVanished) and now - self.connected_at >= 2 * self._waits.idle_s
        if moved_bytes > self._moved_bytes or was_quiet:  # or nobody had anything to say
            self._fruitless_since = now
        self._moved_bytes = moved_bytes
        return self._waits.reconnect_s - (now - self._fruitless_since)


def _worth_waiting_s(lost: _Lost) -> float:
    """For how long the other side may come, from what is known of it."""
    loss = lost.loss if isinstance(lost, PeerVanished) else Loss.SILENT
    return {Loss.PEER_GONE: GONE_S, Loss.CLOSED: _CLOSED_S}.get(loss, math.inf)


def _reason(lost: _Lost) -> str:
    return lost.detail if isinstance(lost, PeerVanished) else f"nothing moved for {lost.waited_s:.0f} s"


async def _carried(
    transfer: Transfer, connection: Connection, pace: Pace, begin: Callable[[Link], Search]
) -> tuple[Done | _Lost, Search | None]:
    """What the transfer came to over this connection, and where that is lost, the search for another one that has begun
    already. Raises what ended the transfer; the disk is left before the link is.
    """
    link = connection.link
    beside = (
        SearchBeside(link, pace, lambda: transfer.moved_bytes, begin) if connection.may_reconnect else None
    )
    search: Search | None = None
    goes_on = False
    try:
        try:
            outcome: Done | _Lost = await transfer.carry(connection)
            goes_on = transfer.owes_report
        except (PeerVanished, TransferStalled) as error:
            if not connection.goes_on_after(error):
                raise
            outcome, goes_on = error, True
    finally:
        if beside is not None:
            search = await beside.end()
        if not goes_on:
            await transfer.close()
        if search is not None and (not goes_on or isinstance(outcome, Done)):
            await search.stop()
            search = None
    return outcome, search


async def _in_time(
    finding: asyncio.Task[Found], ended: asyncio.Future[None], for_s: float, lost: _Lost
) -> Found:
    """The connection found, if it is found in `for_s` and the transfer does not end meanwhile."""
    either: set[asyncio.Future[Any]] = {finding, ended}
    try:
        async with awake_timeout(for_s):
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not finding.done():
            ended.result()
        return await finding
    except TimeoutError:
        raise _given_up(lost, f"did not come back within {for_s:,.0f} s") from None
    except SenderGone:
        raise _given_up(lost, "its signaling server is gone, too") from None


def _given_up(lost: _Lost, why: str) -> _Lost:
    """`lost`, with what was tried since."""
    if isinstance(lost, PeerVanished):
        return type(lost)(f"{lost.detail}, and {why}", lost.loss)
    lost.add_note(f"The other side {why}.")
    return lost
