"""Meetings of two sides that have lost each other, in a room that only they know, as often as it takes.

    async with host_again(place, rendezvous, link, waits, emit) as meeting: …             # the sender
    async with join_again(server, is_named, rendezvous, link, waits, emit) as meeting: …  # the receiver

Both try until they are cancelled: servers that cannot be reached, that restart, that break off, and visitors who do not
know the secret are passed over. Addresses are gathered when the other side is there: those of before may be gone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from tallow_cli.crypto.handshake import HandshakeResult
from tallow_cli.crypto.keys import Rendezvous
from tallow_cli.errors import (
    NothingListens,
    PeerProtocolError,
    PeerVanished,
    SignalingError,
    WrongCodeError,
)
from tallow_cli.link.link import GatheredLink
from tallow_cli.meeting.discovery import find
from tallow_cli.meeting.signaling_client import SignalingClient
from tallow_cli.session.events import Notice, SessionEvent
from tallow_cli.session.meeting import (
    HELLO_S,
    Meeting,
    parting,
    prepare_link,
    shake_hands_as_host,
    shake_hands_as_joiner,
    tell_failure,
    told_of_failure,
)
from tallow_cli.session.meeting_place import MeetingPlace
from tallow_cli.session.settings import ReceiveSettings, SendSettings

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 1.0  # a path that is back shall be used within two seconds
_CONNECT_S = 10.0  # for one try, while others begin
_PASSED_OVER = (SignalingError, PeerVanished, PeerProtocolError, WrongCodeError)

Emit = Callable[[SessionEvent], None]
Shake = Callable[[SignalingClient, GatheredLink], Awaitable[HandshakeResult]]


class SenderGone(Exception):
    """The sender's own server is gone, so nobody will come."""


@asynccontextmanager
async def host_again(
    place: MeetingPlace, rendezvous: Rendezvous, settings: SendSettings, emit: Emit
) -> AsyncIterator[Meeting]:
    """Wait for the receiver that was lost, as long as it takes. Leaving closes the link and the room."""

    async def arrive(stack: AsyncExitStack) -> SignalingClient:
        client = await _dial([place.connect_url], stack)
        await place.announce(rendezvous.announced_as)
        await client.meet_again(rendezvous.nameplate, is_host=True)
        return client

    async def shake(client: SignalingClient, link: GatheredLink) -> HandshakeResult:
        hello = await client.recv(HELLO_S)
        return await shake_hands_as_host(client, hello, rendezvous, link, settings, place.reached_at())

    async with AsyncExitStack() as stack:
        client, link, handshake = await _meet(
            stack, arrive, partial(prepare_link, "host", settings), shake, emit
        )

        async def leave() -> None:
            await place.withdraw()
            await client.close()

        yield Meeting(
            place.connect_url,
            link,
            handshake,
            leave,
            partial(parting, client, math.inf, is_joiner=False),
            partial(tell_failure, client),
        )


@asynccontextmanager
async def join_again(
    server: str, is_named: bool, rendezvous: Rendezvous, settings: ReceiveSettings, emit: Emit
) -> AsyncIterator[Meeting]:
    """Come to the sender that was lost, as long as it takes. Leaving closes the link and the room.

    `server` is the URL of the meeting before; unless the user named it (`is_named`) the sender runs it itself: then it
    is looked for elsewhere, too, and SenderGone is raised when it is known not to run any more.
    """

    async def arrive(stack: AsyncExitStack) -> SignalingClient:
        client = await (
            _dial([server], stack)
            if is_named
            else _find(server, rendezvous.announced_as, stack, settings.pace.gone_s)
        )
        await client.meet_again(rendezvous.nameplate, is_host=False)
        return client

    async def shake(client: SignalingClient, link: GatheredLink) -> HandshakeResult:
        return await shake_hands_as_joiner(client, rendezvous, link, settings)

    async with AsyncExitStack() as stack:
        client, link, handshake = await _meet(
            stack, arrive, partial(prepare_link, "joiner", settings), shake, emit
        )
        yield Meeting(
            client.url,
            link,
            handshake,
            client.close,
            partial(parting, client, math.inf, is_joiner=True),
            partial(tell_failure, client),
        )


async def _meet(
    stack: AsyncExitStack,
    arrive: Callable[[AsyncExitStack], Awaitable[SignalingClient]],
    prepare: Callable[[AsyncExitStack], Awaitable[GatheredLink]],
    shake: Shake,
    emit: Emit,
) -> tuple[SignalingClient, GatheredLink, HandshakeResult]:
    """Until somebody has come who knows the secret. `stack` closes what is returned."""
    pause_s = _FIRST_PAUSE_S
    while True:
        async with AsyncExitStack() as visit:
            try:
                client = await arrive(visit)
                link = await prepare(visit)
                handshake = await told_of_failure(client, shake(client, link))
            except _PASSED_OVER as error:
                emit(Notice(f"Not connected again yet: {error.sentence}", detail=True))
            else:
                stack.push_async_exit(visit.pop_all())
                return client, link, handshake
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _find(server: str, announced_as: str, stack: AsyncExitStack, gone_s: float) -> SignalingClient:
    """The sender's own server, where it was or where it is announced now. Raises SenderGone."""

    async def elsewhere() -> SignalingClient:
        return await _dial(await find(announced_as, math.inf), stack)

    searches = [
        asyncio.create_task(_dial([server], stack, gone_s=gone_s)),
        asyncio.create_task(elsewhere()),
    ]
    try:
        done, _ = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for search in searches:
            search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)


async def _dial(urls: Sequence[str], stack: AsyncExitStack, *, gone_s: float = math.inf) -> SignalingClient:
    """Connect to one server under one of its addresses, beginning anew again and again: what was sent while the path
    was away is repeated too late. `stack` closes the client.

    Raises SenderGone when for `gone_s` nothing has listened there.
    """
    loop = asyncio.get_running_loop()
    tries: set[asyncio.Task[SignalingClient]] = set()
    pause_s, refused_since = _FIRST_PAUSE_S, math.inf
    try:
        while True:
            tries.add(asyncio.create_task(SignalingClient.connect_any(urls, timeout_s=_CONNECT_S)))
            next_at = loop.time() + pause_s
            while tries and (left_s := next_at - loop.time()) > 0:
                done, tries = await asyncio.wait(tries, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    error = each.exception()
                    if error is None:
                        stack.push_async_callback(each.result().close)
                        return each.result()
                    if not isinstance(error, SignalingError):
                        raise error
                    if not isinstance(error, NothingListens):
                        refused_since = math.inf
                    elif refused_since == math.inf:
                        refused_since = loop.time()
            if loop.time() - refused_since >= gone_s:
                raise SenderGone
            await asyncio.sleep(max(0.0, next_at - loop.time()))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    finally:
        for each in tries:
            each.cancel()
        for outcome in await asyncio.gather(*tries, return_exceptions=True):
            if isinstance(outcome, SignalingClient):
                await outcome.close()
