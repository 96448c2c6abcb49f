"""Where the two sides meet: a server somebody named, or one the sender runs inside itself and announces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from signaling.limits import EMBEDDED_LIMITS
from signaling.server import CannotListen, SignalingServer
from tallow_cli.errors import NoNetwork, ServerUnreachable
from tallow_cli.net.addresses import loopback_addresses, primary_address
from tallow_cli.net.discovery import announce
from tallow_cli.net.server_url import server_url
from tallow_cli.session.events import Notice, SessionEvent

_EVERY_ADDRESS = ""


@dataclass(frozen=True, slots=True)
class MeetingPlace:
    connect_url: str  # for this process
    given_url: str | None  # the server the user named; None if this process runs one
    reachable_as: str | None  # the URL for a receiver that cannot discover us; None if a server was named
    announce: Callable[[str], Awaitable[None]]  # make a nameplate findable, instead of the one before
    withdraw: Callable[[], Awaitable[None]]  # make none findable


@asynccontextmanager
async def open_meeting_place(
    server: str | None, emit: Callable[[SessionEvent], None]
) -> AsyncIterator[MeetingPlace]:
    """The user's server, or one of our own for as long as the context lasts.

    Raises ServerUnreachable if no port can be listened on, NoNetwork if this process could not reach it.
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
    own = SignalingServer(limits=EMBEDDED_LIMITS)
    try:
        port = await own.start(_EVERY_ADDRESS, 0)
    except CannotListen as error:
        raise ServerUnreachable("this machine", str(error)) from error
    announcements = AsyncExitStack()
    announced: str | None = None

    async def replace_announcement(nameplate: str) -> None:
        nonlocal announced
        if nameplate == announced:
            return
        await withdraw()
        await announcements.enter_async_context(
            announce(nameplate, port, on_notice=lambda notice: emit(Notice(notice, detail=True)))
        )
        announced = nameplate

    async def withdraw() -> None:
        nonlocal announced
        announced = None
        await announcements.aclose()

    # A machine with no network but itself may still have no place to announce in: name the way that is left.
    here = loopback[0]
    try:
        async with announcements:
            yield MeetingPlace(
                connect_url=server_url(here, port),
                given_url=None,
                reachable_as=server_url(primary_address() or here, port),
                announce=replace_announcement,
                withdraw=withdraw,
            )
    finally:
        await own.close()


async def _announce_nothing(_nameplate: str) -> None:
    """A server somebody runs needs no announcing: both sides were told of it."""


async def _nothing() -> None:
    """See above."""
