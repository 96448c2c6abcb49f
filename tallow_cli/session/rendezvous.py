"""Two sides finding each other: server, nameplate, handshake. The host made the code, the joiner typed it.

Each ends with a `Meeting`: a link that has gathered its addresses and the handshake's result, ready to connect.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
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
from tallow_cli.errors import (
    IncompatiblePeer,
    PeerProtocolError,
    PeerVanished,
    SignalingError,
    TallowError,
    WrongCodeError,
)
from tallow_cli.net.description import encode
from tallow_cli.net.discovery import find
from tallow_cli.net.link import LinkOptions, LinkRole, PeerLink
from tallow_cli.net.signaling_client import SignalingClient
from tallow_cli.session.events import CodeReady, Notice, PeerAuthenticated, SessionEvent, Waiting
from tallow_cli.session.meeting_place import open_meeting_place
from tallow_cli.session.patience import Patience
from tallow_cli.session.settings import LinkSettings, ReceiveSettings, SendSettings
from tallow_cli.session.task_groups import first_error

Emit = Callable[[SessionEvent], None]

_ANSWER_S = 30.0  # a program answers in milliseconds; the rest is for slow links
_MAX_CODES = 5  # wrong guesses after which the sender stops offering fresh codes


@dataclass(frozen=True, slots=True)
class Meeting:
    link: PeerLink
    handshake: HandshakeResult


async def host(settings: SendSettings, emit: Emit, stack: AsyncExitStack) -> Meeting:
    """Show a code, wait for the joiner, and agree on keys with it. `stack` closes the link in the end.

    A wrong guess spends the code: with a code of our own making a fresh one is shown, up to `_MAX_CODES`.
    Raises SignalingError, PeerNeverCame, WrongCodeError, UnsupportedCrypto.
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
                    emit(Notice(f"Somebody used the code {_how(error)}. Here is a fresh one."))
                    continue
                emit(PeerAuthenticated(version=handshake.peer_version))
                return Meeting(link, handshake)
    raise AssertionError("unreachable: the last attempt returns or raises")


# In this order: an incompatible peer is a kind of protocol error.
_HOW: tuple[tuple[type[TallowError], str], ...] = (
    (WrongCodeError, "with the wrong words"),
    (IncompatiblePeer, "with a version of Tallow that cannot talk to this one"),
    (PeerProtocolError, "with a program that does not speak Tallow's handshake"),
    (PeerVanished, "and left before proving that they know it"),
)


def _how(error: TallowError) -> str:
    """How the code was used in vain."""
    return next(words for kind, words in _HOW if isinstance(error, kind))


def _spent(error: TallowError) -> WrongCodeError:
    return WrongCodeError(
        f"Somebody used the code {_how(error)}. A code allows one guess, so nothing was sent; "
        "run the command again."
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
    except TallowError as error:
        await _tell(client, error)
        raise


async def _tell(client: SignalingClient, error: TallowError) -> None:
    """Let the other side know at once that the handshake failed here, if it can still be told."""
    if not isinstance(error, (SignalingError, PeerVanished)):
        with suppress(TallowError):
            await client.send(abort_body(error))


async def join(settings: ReceiveSettings, emit: Emit, stack: AsyncExitStack) -> Meeting:
    """Find the sender of the code and agree on keys with it. `stack` closes the link in the end.

    Raises UnknownNameplate, SignalingError, WrongCodeError, PeerVanished, PeerProtocolError, UnsupportedCrypto.
    """
    try:
        async with asyncio.TaskGroup() as group:
            preparing = group.create_task(_prepare("joiner", settings.link, stack))
            joining = group.create_task(_join_room(settings, emit, stack))
    except ExceptionGroup as failures:
        raise first_error(failures) from failures
    link, client = preparing.result(), joining.result()
    async with client:
        result = await _agree_as_joiner(client, settings, link)
    emit(PeerAuthenticated(version=result.peer_version))
    return Meeting(link, result)


async def _agree_as_joiner(
    client: SignalingClient, settings: ReceiveSettings, link: PeerLink
) -> HandshakeResult:
    handshake = JoinerHandshake(
        settings.code, version=__version__, entropy=os.urandom, capabilities=_capabilities(settings.link)
    )
    try:
        await client.send(handshake.hello())
        confirm, result = handshake.receive_reply(await client.recv(_ANSWER_S), encode(link.description))
        await client.send(confirm)
    except TallowError as error:
        await _tell(client, error)
        raise
    return result


async def _join_room(settings: ReceiveSettings, emit: Emit, stack: AsyncExitStack) -> SignalingClient:
    """A client in the sender's room; a sender that is not there yet is waited for. `stack` closes the client too."""
    code, find_s = settings.code, settings.waits.find_s
    with Patience(emit, "for the sender", find_s):
        if settings.server is not None:
            urls, wait_s = [settings.server], find_s
        else:  # whom discovery finds is waiting
            urls, wait_s = await find(code.nameplate, find_s), 0.0
        client = await SignalingClient.connect_any(urls, timeout_s=settings.waits.connect_s)
        stack.push_async_callback(client.close)
        await client.join(code.nameplate, wait_s=wait_s)
    return client


async def _prepare(role: LinkRole, settings: LinkSettings, stack: AsyncExitStack) -> PeerLink:
    link = await PeerLink.prepare(
        role,
        LinkOptions(
            engine=settings.engine,
            channels=settings.channels,
            reliable=settings.reliable,
            via=settings.via,
        ),
    )
    stack.push_async_callback(link.close)
    return link


def _capabilities(settings: LinkSettings) -> frozenset[str]:
    return frozenset() if settings.encrypt else frozenset({CLEAR_PAYLOAD})
