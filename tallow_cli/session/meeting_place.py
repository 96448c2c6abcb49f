"""Where the two sides meet: a server somebody named, or one the sender runs inside itself and announces."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from signaling.limits import EMBEDDED_LIMITS
from signaling.listening import CannotListen
from signaling.server import SignalingServer
from tallow_cli.errors import BadOption, NoNetwork, ServerUnreachable
from tallow_cli.meeting.addresses import loopback_addresses, primary_address
from tallow_cli.meeting.discovery import announce
from tallow_cli.meeting.interfaces import interfaces, is_for_neighbours, neighbours_addresses
from tallow_cli.meeting.mdns import RESCAN_S
from tallow_cli.meeting.server_url import server_url
from tallow_cli.session.events import Notice, SessionEvent
from tallow_cli.session.settings import LISTEN_ANYWHERE

_ONLY_PUBLIC = (
    "This machine's address is a public one, on which a sender's server is not opened unasked: receivers elsewhere "
    "cannot come. Use --listen any to open it, or a server that both can reach."
)


@dataclass(frozen=True, slots=True)
class MeetingPlace:
    connect_url: str  # for this process
    given_url: str | None  # the server the user named; None if this process runs one
    reachable_as: str | None  # the URL for a receiver that cannot discover us; None if a server was named
    announce: Callable[[str], Awaitable[None]]  # make a nameplate findable, instead of the one before
    withdraw: Callable[[], Awaitable[None]]  # make none findable
    # The address of this machine that whoever came last has come to; None where that is not known.
    reached_at: Callable[[], str | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What this machine says of its place in the network, and how often it is asked."""

    neighbours: Callable[[], list[str]] = neighbours_addresses
    primary: Callable[[], str | None] = primary_address
    rescan_s: float = RESCAN_S


@asynccontextmanager
async def open_meeting_place(
    server: str | None,
    emit: Callable[[SessionEvent], None],
    *,
    listen: str | None = None,
    port: int | None = None,
    surroundings: Surroundings | None = None,
    own_server: Callable[..., SignalingServer] = SignalingServer,
) -> AsyncIterator[MeetingPlace]:
    """The user's server, or one of our own for as long as the context lasts (`listen`, `port`: see
    `SendSettings`).

    Raises ServerUnreachable if no port can be listened on, NoNetwork if this process could not reach it, BadOption for
    an address this machine does not have and for a port that is not to be had.
    """
    if server is not None:
        yield MeetingPlace(
            connect_url=server,
            given_url=server,
            reachable_as=None,
            announce=_announce_nothing,
            withdraw=_nothing,
        )
        return
    loopback = loopback_addresses()
    if not loopback:
        raise NoNetwork(only_loopback=True)
    here = surroundings or Surroundings()
    own = own_server(limits=EMBEDDED_LIMITS)
    listening = [*loopback, *_addresses(listen, here)]
    try:
        bound = await own.start("" if listen == LISTEN_ANYWHERE else listening, port or 0)
    except CannotListen as error:
        if port is not None:
            raise BadOption("--port", f"{error}") from error
        raise ServerUnreachable("this machine", str(error)) from error
    announcements = AsyncExitStack()
    announced: str | None = None

    async def replace_announcement(nameplate: str) -> None:
        nonlocal announced
        if nameplate == announced:
            return
        await withdraw()
        await announcements.enter_async_context(
            announce(
                nameplate,
                bound,
                public=listen is not None,
                on_notice=lambda notice, is_detail: emit(Notice(notice, detail=is_detail)),
            )
        )
        announced = nameplate

    async def withdraw() -> None:
        nonlocal announced
        announced = None
        await announcements.aclose()

    following = asyncio.create_task(_follow_interfaces(own, listening, here)) if listen is None else None
    try:
        reachable = _reachable(listening, listen, here.primary())
        if reachable is None:
            emit(Notice(_ONLY_PUBLIC))
        async with announcements:
            yield MeetingPlace(
                connect_url=server_url(loopback[0], bound),
                given_url=None,
                reachable_as=None if reachable is None else server_url(reachable, bound),
                announce=replace_announcement,
                withdraw=withdraw,
                reached_at=lambda: own.reached_at,
            )
    finally:
        try:
            if following is not None:
                following.cancel()
                await asyncio.wait([following])
        finally:  # that wait may be cancelled
            await own.close()


def _addresses(listen: str | None, here: Surroundings) -> list[str]:
    """Where our server listens besides loopback."""
    if listen is None:
        return here.neighbours()
    if listen == LISTEN_ANYWHERE:
        return [str(each.ip) for interface in interfaces() for each in interface.addresses]
    if not interfaces((listen,)):
        raise BadOption("--listen", f"{listen!r} is no address of this machine; give one that it has, or any")
    return [listen]


def _reachable(listening: list[str], listen: str | None, primary: str | None) -> str | None:
    """The address to name to somebody who cannot discover us; None where the one to name is not listened on.

    A machine with no network but itself may still have no place to announce in: then it is loopback, which is left.
    """
    if primary in listening:
        return primary
    if primary is not None and listen is None and not is_for_neighbours(ipaddress.ip_address(primary)):
        return None
    return next((text for text in listening if not ipaddress.ip_address(text).is_loopback), listening[0])


async def _follow_interfaces(own: SignalingServer, listening: list[str], here: Surroundings) -> None:
    """A laptop that joins a network while it waits is found there."""
    while True:
        await asyncio.sleep(here.rescan_s)
        for address in here.neighbours():
            if address not in listening:
                listening.append(address)
                with suppress(CannotListen):  # the port is another program's there
                    await own.also_listen(address)


async def _announce_nothing(_nameplate: str) -> None:
    """A server somebody runs needs no announcing: both sides were told of it."""


async def _nothing() -> None:
    """See above."""
