"""Connect our engine to a foreign peer, directly or through a lossy relay."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tallow_cli.link.description import Description
from tests.interop.ours import OurSide
from tests.interop.peer_process import PeerProcess, running
from tests.support import sdp
from tests.support.lossy_relay import Disturbance, LossyRelay, lossy_relay

ChannelSpec = dict[str, Any]


@dataclass
class Session:
    """`disturb` changes the path from now on; it needs a relay."""

    us: OurSide
    peer: PeerProcess
    relay: LossyRelay | None = None

    def disturb(self, disturbance: Disturbance) -> None:
        if self.relay is None:
            raise RuntimeError("this session has no relay")
        self.relay.disturbance = disturbance


@asynccontextmanager
async def session(
    command: Sequence[str],
    *,
    we_offer: bool,
    ours: Sequence[ChannelSpec] = (),
    theirs: Sequence[ChannelSpec] = (),
    engine: str = "turbo",
    relay: Disturbance | None = None,
    seed: int = 1,
    prepare: Callable[[OurSide], None] | None = None,
) -> AsyncIterator[Session]:
    """Both sides connected and every channel open on our side.

    `ours` and `theirs` are channels (see peer_protocol.py's `channel`); one with an id stands in both. A peer
    that offers needs one of its own. `prepare` is called between DTLS and SCTP.
    """
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(running(command))
        us = OurSide(engine, offers=we_offer)
        stack.push_async_callback(us.stop)
        ours_described = await us.gather()
        through = None
        if relay is not None:
            address = _relay_address(ours_described)
            through = await stack.enter_async_context(lossy_relay(address, relay, seed))
        for spec in theirs:
            peer.command("channel", **spec)
        described = await exchange(peer, ours_described, we_offer=we_offer, through=through)
        await us.secure(described)
        for spec in ours:
            us.open(**_as_aiortc(spec))
        if prepare is not None:
            prepare(us)
        await us.associate(described)
        for spec in (*ours, *theirs):
            await us.opened(spec["label"])
            await peer.wait("open", label=spec["label"])
        yield Session(us, peer, through)
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - before
    assert not left, f"tasks left over: {left}"


async def exchange(
    peer: PeerProcess, ours: Description, *, we_offer: bool, through: LossyRelay | None = None
) -> Description:
    """Offer and answer; returns the peer's description as we should see it."""
    seen = ours if through is None else through.a_as_seen_by_b(ours)
    if we_offer:
        peer.command("remote", type="offer", sdp=sdp.render(seen, "actpass"))
        answer = await peer.wait("description")
        theirs = sdp.parse(answer["sdp"])
        assert theirs.dtls_role == "client", "we offered actpass, so RFC 8842 wants it to be active"
    else:
        peer.command("offer")
        offer = await peer.wait("description")
        theirs = sdp.parse(offer["sdp"])
        peer.command("remote", type="answer", sdp=sdp.render(seen, "active"))
    return theirs if through is None else through.b_as_seen_by_a(theirs)


def _as_aiortc(spec: ChannelSpec) -> dict[str, Any]:
    renamed = {"max_retransmits": "maxRetransmits"}
    return {renamed.get(key, key): value for key, value in spec.items()}


def _relay_address(description: Description) -> str:
    """One of our own addresses, IPv4 if we have one: every peer on this machine can reach it."""
    addresses = [each.address for each in description.candidates]
    return min(addresses, key=lambda address: ipaddress.ip_address(address).version)
