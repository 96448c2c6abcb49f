"""A connection both sides have proved to be theirs: the link, its channels, and the keys for its packets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from tallow_cli.awake import awake_timeout
from tallow_cli.crypto.handshake import RECONNECT, HandshakeResult
from tallow_cli.crypto.keys import Role
from tallow_cli.crypto.seal import PacketOpen, PacketSeal
from tallow_cli.errors import Loss, NoPathError, PeerCancelled, PeerVanished, TallowError, TransferStalled
from tallow_cli.link.channels import Channel
from tallow_cli.link.description import decode_untrusted
from tallow_cli.link.link import GatheredLink, Link
from tallow_cli.measure.lan import detect_lan
from tallow_cli.session.events import Connected, SessionEvent
from tallow_cli.session.patience import Patience
from tallow_cli.session.settings import LinkSettings, Waits
from tallow_cli.session.way import way_taken


class Room(Protocol):
    """Where the two sides can still tell each other that they give up: see `session.meeting.Meeting`."""

    @property
    def parting(self) -> Callable[[], Awaitable[TallowError]]: ...

    @property
    def give_up(self) -> Callable[[TallowError], Awaitable[None]]: ...


@dataclass(frozen=True, slots=True)
class Connection:
    link: Link
    control: Channel
    data: tuple[Channel, ...]
    sealer: PacketSeal
    opener: PacketOpen
    sealed: bool
    reliable: bool
    max_message_bytes: int
    is_lan: bool
    how: Connected  # for people
    early: list[
        bytes
    ]  # control messages that come behind the peer's confirmation, until an attempt takes over
    may_reconnect: bool = False  # both sides look for another one if this is lost

    def goes_on_after(self, error: BaseException) -> bool:
        """Whether `error` ended this connection, and not the transfer."""
        return self.may_reconnect and isinstance(error, PeerVanished | TransferStalled)


async def connect(
    gathered: GatheredLink,
    role: Role,
    handshake: HandshakeResult,
    settings: LinkSettings,
    waits: Waits,
    emit: Callable[[SessionEvent], None],
    room: Room | None = None,
) -> Connection:
    """Connect `gathered` to the peer of `handshake` and confirm, inside the channel, that it ends there. Until there is
    a path, the other side's giving up in the room ends the attempt, and ours is told there.

    Raises NoPathError, PeerVanished, PeerCancelled, what the room knows, or PeerProtocolError when the other end
    cannot prove that it knows the code. The caller closes the link.
    """
    with Patience(emit, "for a way through the network", waits.connect_s):
        connecting = gathered.connect(decode_untrusted(handshake.peer_description), waits.connect_s)
        link = await (connecting if room is None else _unless_parted(gathered, connecting, room))
        early = await _confirm(link, role, handshake, waits.connect_s)
    traits = link.traits
    path = traits.path
    for channel in link.data:
        channel.low_threshold = settings.buffer_low
    # Two ends at one relay have the same address, and no network in common.
    is_lan = path.kind == "direct" and detect_lan(path.local_address, path.remote_address)
    sealed = not handshake.clear_payload
    return Connection(
        link=link,
        control=link.control,
        data=link.data,
        sealer=handshake.packet_sealer(),
        opener=handshake.packet_opener(),
        sealed=sealed,
        reliable=traits.reliable,
        max_message_bytes=traits.max_message_bytes,
        is_lan=is_lan,
        how=Connected(
            engine=traits.engine,
            path=path.kind,
            local_address=path.local_address,
            remote_address=path.remote_address,
            is_lan=is_lan,
            channels=len(link.data),
            reliable=traits.reliable,
            max_retransmits=None if traits.reliable else traits.retransmissions,
            encrypted=sealed,
            notes=traits.notes,
            way=way_taken(path),
            local_port=path.local_port,
            remote_port=path.remote_port,
            relay=path.relay,
            is_peer_relayed=path.is_peer_relayed,
        ),
        early=early,
        may_reconnect=waits.reconnect_s > 0 and RECONNECT in handshake.peer_capabilities,
    )


async def _unless_parted(gathered: GatheredLink, connecting: Awaitable[Link], room: Room) -> Link:
    """Connect, unless the other side is known to have given up before there is a path."""
    tasks = connected, parted = asyncio.ensure_future(connecting), asyncio.ensure_future(room.parting())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not connected.done() and not gathered.has_path:
            ended = parted.result()
            # What the other side found, this one knows as well, and says from its own side.
            raise gathered.why_no_path() if isinstance(ended, NoPathError) else ended
        return await connected
    except (NoPathError, asyncio.CancelledError) as error:
        is_there = not parted.done()
        parted.cancel()
        if is_there:
            await room.give_up(error if isinstance(error, NoPathError) else PeerCancelled())
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _confirm(link: Link, role: Role, handshake: HandshakeResult, timeout_s: float) -> list[bytes]:
    """Exchange the link confirmations, the first message each way; nothing else is parsed before they check.

    Returns the list that what follows is collected in: a peer that has checked ours may go on at once.
    """
    ours, theirs = link.traits.fingerprints
    early: list[bytes] = []
    arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def received(message: bytes) -> None:
        early.append(message)
        if not arrived.done():
            arrived.set_result(None)

    def closed() -> None:
        if not arrived.done():
            arrived.set_exception(
                link.lost or PeerVanished("it closed while the connection was being confirmed", Loss.CLOSED)
            )

    link.control.on_message = received
    link.control.on_close = closed
    link.control.send(handshake.keys.link_confirmation(role, ours, theirs))
    try:
        async with awake_timeout(timeout_s):
            await arrived
    except TimeoutError:
        raise NoPathError("the connection opened, but nothing came through it") from None
    handshake.keys.verify_link_confirmation(role, ours, theirs, early.pop(0))
    return early
