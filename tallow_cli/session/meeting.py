"""What a rendezvous gives: a link that has gathered its addresses and the handshake's result, ready to connect."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tallow_cli import __version__
from tallow_cli.crypto.bodies import AbortReason, abort_reason_untrusted
from tallow_cli.crypto.handshake import (
    CLEAR_PAYLOAD,
    RECONNECT,
    HandshakeResult,
    HostHandshake,
    JoinerHandshake,
    Known,
    abort_body,
)
from tallow_cli.errors import (
    BadOption,
    NoPathError,
    NoRelay,
    PeerCancelled,
    PeerVanished,
    ProofNotTaken,
    SignalingError,
    TallowError,
    WrongCodeError,
)
from tallow_cli.link.description import encode
from tallow_cli.link.ice_servers import is_relay
from tallow_cli.link.link import GatheredLink, IceServer, LinkOptions, LinkRole
from tallow_cli.meeting.own_addresses import interface_index, own_addresses
from tallow_cli.meeting.signaling_client import SignalingClient
from tallow_cli.session.events import Notice, SessionEvent
from tallow_cli.session.settings import MAX_WAIT_S, LinkSettings, ReceiveSettings, SendSettings, Waits

ANSWER_S = (
    30.0  # for the next body of a handshake: a program answers in milliseconds; the rest is for slow links
)

HELLO_S = 15.0  # a receiver that is slow to gather its addresses joins before it has them
# Behind the receiver's first check, which left after it: the check goes straight, and is repeated sooner than what the
# confirmation's two TCP connections lose.
_CONFIRM_S = 10.0
_TELL_S = 2.0  # a server that takes nothing must not hold up an end


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two sides that know the same code. Both are still in the room at the server: call `leave` once the link is
    confirmed, for until then the other side's leaving means that it has given up.

    `parting` returns when it has, with what that means; `give_up` tells it that this side has. `server` is the URL
    under which this side reaches the server.
    """

    server: str
    link: GatheredLink
    handshake: HandshakeResult
    leave: Callable[[], Awaitable[None]]
    parting: Callable[[], Awaitable[TallowError]]
    give_up: Callable[[TallowError], Awaitable[None]]


async def parting(client: SignalingClient, server_grace_s: float, *, is_joiner: bool) -> TallowError:
    """Wait until the other side leaves its room of the server or gives up in it; return what ended the attempt.

    Neither happens in a healthy attempt before both sides have found a path. A server that goes down says nothing of
    the other side; where it runs in the other side's program it goes down with it, so `server_grace_s` later that is
    taken for gone too.
    """
    try:
        reason = abort_reason_untrusted(await client.recv(MAX_WAIT_S))
    except PeerVanished as error:
        return error
    except SignalingError:
        await asyncio.sleep(server_grace_s)
        return PeerVanished(
            "it left, or its signaling server did, before there was a way through the network"
        )
    if reason is AbortReason.NO_PATH:
        return NoPathError("the other side found none either")
    if reason is AbortReason.CANCELLED:
        return PeerCancelled()
    # Another abort, or nonsense: after the last body of a handshake both mean the same.
    return ProofNotTaken() if is_joiner else PeerVanished("it gave up before the connection was made")


async def prepare_link(
    role: LinkRole, settings: SendSettings | ReceiveSettings, stack: AsyncExitStack
) -> GatheredLink:
    """A link with its addresses gathered. `stack` closes it.

    Raises NoPathError for an interface that is gone, BadOption for ports that are in use.
    """
    chosen = settings.link
    link = await settings.prepare_link(
        role,
        LinkOptions(
            engine=chosen.engine,
            channels=chosen.channels,
            reliable=chosen.reliable,
            max_retransmits=chosen.max_retransmits,
            relay_only=chosen.relay_only,
            own_addresses=_own_addresses(chosen),
            through=None if chosen.interface is None else interface_index(chosen.interface),
            udp_ports=chosen.udp_ports,
            via=chosen.via,
            trace=chosen.trace,
        ),
    )
    stack.push_async_callback(link.close)
    return link


def _own_addresses(settings: LinkSettings, reached_from: str | None = None) -> tuple[str, ...]:
    """Raises NoPathError."""
    try:
        return own_addresses(reached_from, interface=settings.interface)
    except BadOption as error:  # it was there when the command began
        raise NoPathError(error.problem) from error


def say_proxy(client: SignalingClient, emit: Callable[[SessionEvent], None]) -> None:
    """People who need a proxy expect it to carry the files too."""
    if client.proxy is not None:
        emit(
            Notice(
                f"The proxy at {client.proxy} carries the meeting alone; the data needs UDP, "
                "or a relay that is reached over TCP without a proxy."
            )
        )


def check_relay(client: SignalingClient, settings: LinkSettings) -> None:
    """Raises NoRelay where nothing else may be used, and it is plain beforehand that there will be none."""
    own = any(is_relay(server.url) for server in settings.ice_servers)
    if settings.relay_only and not own and not client.has_relays:
        raise NoRelay


async def try_own_relays(role: LinkRole, settings: SendSettings | ReceiveSettings) -> None:
    """Where nothing but relays may be used, see whether those that the user named can be, before there is a code. They
    are asked anew when somebody comes: a NAT forgets in the meantime who has asked. Raises NoRelay.
    """
    chosen = settings.link
    own = [server for server in chosen.ice_servers if is_relay(server.url)]
    if not (chosen.relay_only and own):
        return
    options = LinkOptions(
        engine=chosen.engine,
        relay_only=True,
        own_addresses=_own_addresses(chosen),
        through=None if chosen.interface is None else interface_index(chosen.interface),
        udp_ports=chosen.udp_ports,
    )
    trial = await settings.prepare_link(role, options)
    try:
        refusals = await trial.add_servers(own)
        if not trial.description.candidates:
            raise NoRelay(refusals)
    finally:
        await trial.close()


async def _ask_servers(
    link: GatheredLink, client: SignalingClient, settings: LinkSettings, reached_at: str | None = None
) -> None:
    """Have `link` find out what the world sees of it, and a relay: from what the server of `client`, in whose room the
    other side is by now, says that there is. What reached that server leads to the other side, too, more likely than
    what did not. Raises NoRelay, and what `offer` does.
    """
    await link.offer(_own_addresses(settings, reached_at or client.local_address))
    relays = [each for each in client.ice_servers if is_relay(each.url)]
    servers = [*settings.ice_servers]
    servers += [IceServer(each.url, each.username, each.credential) for each in relays]
    host = urlsplit(client.url).hostname or ""
    servers += [
        IceServer(f"stun:{f'[{host}]' if ':' in host else host}:{port}")
        for port in (client.stun_port, client.other_stun_port)
        if port is not None
    ]
    refusals = await link.add_servers(servers)
    if settings.relay_only and not link.description.candidates:
        raise NoRelay(refusals)


def _capabilities(settings: LinkSettings, waits: Waits) -> frozenset[str]:
    """What this side names in the handshake."""
    named = {CLEAR_PAYLOAD: not settings.encrypt, RECONNECT: waits.reconnect_s > 0}
    return frozenset(name for name, is_so in named.items() if is_so)


async def told_of_failure(client: SignalingClient, handshake: Awaitable[HandshakeResult]) -> HandshakeResult:
    """The result of `handshake`, or what it raises, of which the other side is told."""
    try:
        return await handshake
    except TallowError as error:
        await tell_failure(client, error)
        raise


async def tell_failure(client: SignalingClient, error: TallowError) -> None:
    """Let the other side know at once that the attempt failed here, if it can still be told."""
    if not isinstance(error, (SignalingError, PeerVanished)):
        with suppress(TallowError, TimeoutError):
            async with asyncio.timeout(_TELL_S):
                await client.send(abort_body(error))


async def shake_hands_as_host(
    client: SignalingClient,
    hello: bytes,
    known: Known,
    link: GatheredLink,
    settings: SendSettings,
    reached_at: str | None = None,
    replied: Callable[[], None] | None = None,
) -> HandshakeResult:
    """Agree on keys with whoever has said `hello` in the room of `client`. `reached_at` is the address of this machine
    that it came to, if it came to this machine. `replied` is called once something has left that depends on what is
    `known`. Raises what the client and the handshake do.
    """
    handshake = HostHandshake(
        known,
        version=__version__,
        entropy=os.urandom,
        capabilities=_capabilities(settings.link, settings.waits),
    )
    await _ask_servers(link, client, settings.link, reached_at)
    await client.send(handshake.receive_hello(hello, encode(link.description)))
    if replied is not None:
        replied()
    return handshake.receive_confirm(await _receive_confirm(client, link))


async def shake_hands_as_joiner(
    client: SignalingClient, known: Known, link: GatheredLink, settings: ReceiveSettings
) -> HandshakeResult:
    """Agree on keys with the host of the room of `client`. Raises what the client and the handshake do."""
    handshake = JoinerHandshake(
        known,
        version=__version__,
        entropy=os.urandom,
        capabilities=_capabilities(settings.link, settings.waits),
    )
    if settings.link.relay_only:
        await _ask_servers(link, client, settings.link)  # where that fails, the code has not been used yet
        await client.send(handshake.hello())
    else:
        await client.send(handshake.hello())
        await _ask_servers(link, client, settings.link)  # while the answer is on its way
    confirm, result = handshake.receive_reply(await client.recv(ANSWER_S), encode(link.description))
    await client.send(confirm)
    return result


async def _receive_confirm(client: SignalingClient, link: GatheredLink) -> bytes:
    """A receiver looks for a way through the network once it has sent its confirmation: where the first check comes
    and the confirmation does not, it never will. Raises what `client.recv` does, or ConfirmLost.
    """
    tasks = receiving, checked = (
        asyncio.create_task(client.recv(ANSWER_S)),
        asyncio.create_task(link.checked()),
    )
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            await asyncio.wait([receiving], timeout=_CONFIRM_S)
        if not receiving.done():
            raise ConfirmLost
        return receiving.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(receiving, checked, return_exceptions=True)


class ConfirmLost(WrongCodeError):
    """Whoever came knows the code, but the server has not passed on the proof."""
