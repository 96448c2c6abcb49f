"""The receiver's rendezvous: finding the sender of a typed code, and agreeing on keys with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from tallow_cli.errors import SenderUnreachable, ServerRefused, ServerUnreachable, UnknownNameplate
from tallow_cli.meeting.discovery import find
from tallow_cli.meeting.signaling_client import SignalingClient
from tallow_cli.session.events import Notice, PeerAuthenticated, SessionEvent
from tallow_cli.session.meeting import (
    Meeting,
    check_relay,
    parting,
    prepare_link,
    say_proxy,
    shake_hands_as_joiner,
    tell_failure,
    told_of_failure,
)
from tallow_cli.session.patience import Patience
from tallow_cli.session.settings import ReceiveSettings
from tallow_cli.session.task_groups import first_error

# How long after its server the sender is taken for gone, if there is no path by then. Whom discovery finds runs the
# server itself; a server whose address was given may be anybody's, and be restarted.
_OWN_SERVER_GRACE_S = 1.5
_SERVER_GRACE_S = 5.0
_FIRST_PAUSE_S = 0.25  # before a server that was lost is tried again; then twice as long each time
_LONGEST_PAUSE_S = 5.0
_RETRY_S = 10.0

Emit = Callable[[SessionEvent], None]


@asynccontextmanager
async def join(settings: ReceiveSettings, emit: Emit) -> AsyncIterator[Meeting]:
    """Find the sender of the code and agree on keys with it. Leaving closes the link and the room.

    Raises UnknownNameplate, SignalingError, WrongCodeError, PeerVanished, PeerProtocolError, UnsupportedCrypto.
    """
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.TaskGroup() as group:
                preparing = group.create_task(prepare_link("joiner", settings, stack))
                joining = group.create_task(_join_room(settings, emit, stack))
        except ExceptionGroup as failures:
            raise first_error(failures) from failures
        link, client = preparing.result(), joining.result()
        handshake = await told_of_failure(
            client, shake_hands_as_joiner(client, settings.code, link, settings)
        )
        emit(PeerAuthenticated(version=handshake.peer_version))
        grace_s = _OWN_SERVER_GRACE_S if settings.server is None else _SERVER_GRACE_S
        yield Meeting(
            client.url,
            link,
            handshake,
            client.close,
            partial(parting, client, grace_s, is_joiner=True),
            partial(tell_failure, client),
        )


async def _join_room(settings: ReceiveSettings, emit: Emit, stack: AsyncExitStack) -> SignalingClient:
    """A client in the sender's room; a sender that is not there yet is waited for. `stack` closes the client too."""
    code, find_s = settings.code, settings.waits.find_s
    with Patience(emit, "for the sender", find_s):
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + find_s
        urls = [settings.server] if settings.server is not None else await find(code.nameplate, find_s)
        try:
            client = await SignalingClient.connect_any(urls, timeout_s=settings.waits.connect_s)
        except ServerUnreachable as error:
            if settings.server is not None:
                raise
            raise SenderUnreachable(error.url, error.reason) from error
        stack.push_async_callback(client.close)
        say_proxy(client, emit)
        check_relay(client, settings.link)
        while True:
            try:
                # Whom discovery found may be busy with somebody who only came and went.
                await client.join(code.nameplate, wait_s=give_up_at - loop.time())
            except ServerUnreachable as lost:
                if settings.server is None:  # it went with the sender, whom somebody else had kept busy
                    raise UnknownNameplate(code.nameplate, "any more") from lost
                # It was there a moment ago: it is being restarted, or this machine has moved.
                client = await _come_back(settings.server, give_up_at, lost, emit)
                stack.push_async_callback(client.close)
            else:
                return client


async def _come_back(url: str, give_up_at: float, lost: ServerUnreachable, emit: Emit) -> SignalingClient:
    """Raises `lost` when it is time to give up."""
    loop = asyncio.get_running_loop()
    emit(Notice(f"The signaling server was lost ({lost.reason}). Trying again."))
    pause_s = _FIRST_PAUSE_S
    while loop.time() + pause_s < give_up_at:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        with suppress(ServerUnreachable, ServerRefused):
            return await SignalingClient.connect(url, timeout_s=_RETRY_S)
    raise lost
