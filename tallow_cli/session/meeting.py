"""What a rendezvous gives: a link that has gathered its addresses and the handshake's result, ready to connect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from tallow_cli.crypto.handshake import CLEAR_PAYLOAD, HandshakeResult, abort_body
from tallow_cli.errors import PeerVanished, SignalingError, TallowError
from tallow_cli.net.link import LinkOptions, LinkRole, PeerLink
from tallow_cli.net.signaling_client import SignalingClient
from tallow_cli.session.settings import LinkSettings

ANSWER_S = (
    30.0  # for the next body of a handshake: a program answers in milliseconds; the rest is for slow links
)


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two sides that know the same code. Both are still in the room at the server: call `leave` once the link is
    confirmed, for until then the other side's leaving means that it has given up.
    """

    link: PeerLink
    handshake: HandshakeResult
    leave: Callable[[], Awaitable[None]]


async def prepare_link(role: LinkRole, settings: LinkSettings, stack: AsyncExitStack) -> PeerLink:
    """A link with its addresses gathered. `stack` closes it."""
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


def capabilities(settings: LinkSettings) -> frozenset[str]:
    """What this side names in the handshake."""
    return frozenset() if settings.encrypt else frozenset({CLEAR_PAYLOAD})


async def tell_failure(client: SignalingClient, error: TallowError) -> None:
    """Let the other side know at once that the handshake failed here, if it can still be told."""
    if not isinstance(error, (SignalingError, PeerVanished)):
        with suppress(TallowError):
            await client.send(abort_body(error))
