"""Two sides finding each other: server, nameplate, handshake. The host made the code, the joiner typed it.

Each ends with a `Meeting`: a link that has gathered its addresses and the handshake's result, ready to connect.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tallow_cli import __version__
from tallow_cli.crypto.codes import Code, generate_code
from tallow_cli.crypto.handshake import (
    CLEAR_PAYLOAD,
    HandshakeResult,
    HostHandshake,
    JoinerHandshake,
    abort_body,
)
from tallow_cli.errors import PeerProtocolError, PeerVanished, TallowError, WrongCodeError
from tallow_cli.net.description import encode
from tallow_cli.net.discovery import find
from tallow_cli.net.link import LinkOptions, LinkRole, PeerLink
from tallow_cli.net.signaling_client import SignalingClient
from tallow_cli.session.events import CodeReady, Notice, PeerAuthenticated, SessionEvent, Waiting
from tallow_cli.session.meeting_place import open_meeting_place
from tallow_cli.session.settings import LinkSettings, ReceiveSettings, SendSettings

Emit = Callable[[SessionEvent], None]

_ANSWER_S = 30.0  # a program answers in milliseconds; the rest is for slow links
_LOOK_FOR_SENDER_S = 20.0  # it may be starting only now; after that the number is more likely mistyped
_MAX_CODES = 5  # wrong guesses after which the sender stops offering fresh codes


@dataclass(frozen=True, slots=True)
class Meeting:
    link: PeerLink
    handshake: HandshakeResult


async def host(settings: SendSettings, emit: Emit, stack: AsyncExitStack) -> Meeting:
    """Show a code, wait for the joiner, and agree on keys with it. `stack` closes the link in the end.

    A wrong guess spends the code: with a code of our own making a fresh one is shown, up to `_MAX_CODES`.
    Raises SignalingError, PeerNeverCame, WrongCodeError, PeerVanished.
    """
    async with open_meeting_place(settings.server, emit) as place:
        client = await SignalingClient.connect(place.connect_url, timeout_s=settings.waits.connect_s)
        async with client:
            for attempt in range(1, _MAX_CODES + 1):
                code = await _new_code(client, settings.code)
                await place.announce(code.nameplate)
                emit(
                    CodeReady(
                        code=str(code),
                        server=place.given_url,
                        reachable_as=place.reachable_as,
                        attempt=attempt,
                    )
                )
                if attempt == 1:
                    link = await _prepare("host", settings.link, stack)
                emit(Waiting("for the receiver", settings.waits.peer_s))
                await client.wait_for_peer(settings.waits.peer_s)
                try:
                    handshake = await _agree_as_host(client, code, settings.link, link)
                except (WrongCodeError, PeerProtocolError, PeerVanished) as error:
                    if settings.code is not None or attempt == _MAX_CODES:
                        raise _spent(error) from error
                    emit(
                        Notice(
                            f"Somebody used the code {_HOW[type(error)]}. That code is spent; here is a fresh one."
                        )
                    )
                    continue
                emit(PeerAuthenticated(version=handshake.peer_version))
                return Meeting(link, handshake)
    raise AssertionError("unreachable: the last attempt returns or raises")


_HOW: dict[type[TallowError], str] = {
    WrongCodeError: "with the wrong words",
    PeerProtocolError: "with a program that does not speak Tallow's handshake",
    PeerVanished: "and left before proving that they know it",
}


def _spent(error: TallowError) -> WrongCodeError:
    how = _HOW.get(type(error), "in vain")
    return WrongCodeError(
        f"Somebody used the code {how}. A code allows one guess, so nothing was sent; run the command again."
    )


async def _new_code(client: SignalingClient, chosen: Code | None) -> Code:
    nameplate = await client.allocate(chosen.nameplate if chosen else None)
    return chosen or generate_code(nameplate, os.urandom)


async def _agree_as_host(
    client: SignalingClient, code: Code, settings: LinkSettings, link: PeerLink
) -> HandshakeResult:
    handshake = HostHandshake(
        code, version=__version__, entropy=os.urandom, capabilities=_capabilities(settings)
    )
    try:
        reply = handshake.receive_hello(await client.recv(_ANSWER_S), encode(link.description))
        await client.send(reply)
        return handshake.receive_confirm(await client.recv(_ANSWER_S))
    except (WrongCodeError, PeerProtocolError) as error:
        await client.send(abort_body(error))
        raise


async def join(settings: ReceiveSettings, emit: Emit, stack: AsyncExitStack) -> Meeting:
    """Find the sender of the code and agree on keys with it. `stack` closes the link in the end.

    Raises UnknownNameplate, SignalingError, WrongCodeError, PeerVanished, PeerProtocolError.
    """
    code = settings.code
    emit(Waiting("for the sender", settings.waits.peer_s))
    async with asyncio.TaskGroup() as group:
        preparing = group.create_task(_prepare("joiner", settings.link, stack))
        joining = group.create_task(_join_room(settings))
    link, client = preparing.result(), joining.result()
    async with client:
        handshake = JoinerHandshake(
            code, version=__version__, entropy=os.urandom, capabilities=_capabilities(settings.link)
        )
        try:
            await client.send(handshake.hello())
            confirm, result = handshake.receive_reply(await client.recv(_ANSWER_S), encode(link.description))
        except (WrongCodeError, PeerProtocolError) as error:
            await client.send(abort_body(error))
            raise
        await client.send(confirm)
    emit(PeerAuthenticated(version=result.peer_version))
    return Meeting(link, result)


async def _join_room(settings: ReceiveSettings) -> SignalingClient:
    patience_s = min(settings.waits.peer_s, _LOOK_FOR_SENDER_S)
    urls = [settings.server] if settings.server else await find(settings.code.nameplate, patience_s)
    client = await SignalingClient.connect_any(urls, timeout_s=settings.waits.connect_s)
    try:
        await client.join(settings.code.nameplate)
    except BaseException:
        await client.close()
        raise
    return client


async def _prepare(role: LinkRole, settings: LinkSettings, stack: AsyncExitStack) -> PeerLink:
    link = await PeerLink.prepare(
        role,
        LinkOptions(
            engine=settings.engine,
            channels=settings.channels,
            reliable=settings.reliable,
            seal_payload=settings.encrypt,
        ),
    )
    stack.push_async_callback(link.close)
    return link


def _capabilities(settings: LinkSettings) -> frozenset[str]:
    return frozenset() if settings.encrypt else frozenset({CLEAR_PAYLOAD})
