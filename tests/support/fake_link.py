"""Two links joined by queues in memory, in place of ICE, DTLS and SCTP: sessions in milliseconds.

    network = FakeNetwork()
    SendSettings(…, prepare_link=network.prepare)    # for everything from the code on
    host, joiner = await network.pair()              # or two links by themselves

Messages arrive in order, on the next turn of the event loop, unless the network is told otherwise.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence

from tallow_cli.errors import Loss, NoPathError, PeerVanished
from tallow_cli.link.channels import ChannelState
from tallow_cli.link.description import CandidateInfo, Description
from tallow_cli.link.link import IceServer, LinkOptions, LinkRole, LinkTraits, PathInfo

ADDRESS = "192.0.2.7"
MAX_MESSAGE_BYTES = 65_536

# (role of the sender, channel, message) -> what arrives instead
Tamper = Callable[[LinkRole, int, bytes], list[bytes]]


class FakeChannel:
    """See `link.channels.Channel`."""

    def __init__(self, link: FakeLink, index: int) -> None:
        self.label = "tallow-control" if index == 0 else "tallow-group-transfer"
        self.state: ChannelState = "open"
        self.buffered_amount = 0
        self.low_threshold = 0
        self.on_low: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None
        self._link = link
        self._index = index
        self._listener: Callable[[bytes], None] | None = None
        self._unheard: list[bytes] = []

    @property
    def on_message(self) -> Callable[[bytes], None] | None:
        return self._listener

    @on_message.setter
    def on_message(self, listener: Callable[[bytes], None] | None) -> None:
        self._listener = listener
        if listener is not None:
            unheard, self._unheard = self._unheard, []
            for message in unheard:
                listener(message)

    def send(self, message: bytes) -> None:
        if self.state != "open":
            raise PeerVanished("the channel is closed")
        self._link.carry(self._index, bytes(message))

    def deliver(self, message: bytes) -> None:
        if self._listener is None:
            self._unheard.append(message)
        else:
            self._listener(message)

    def close(self) -> None:
        self.lost()

    def lost(self) -> None:
        if self.state != "closed":
            self.state = "closed"
            if self.on_close is not None:
                self.on_close()


class FakeGatheredLink:
    """See `link.link.GatheredLink`. Made by a FakeNetwork."""

    def __init__(self, network: FakeNetwork, role: LinkRole, options: LinkOptions, number: int) -> None:
        self.role = role
        self.options = options
        self.closed = False
        self.link: FakeLink | None = None  # once it is open on this side
        self._network = network
        self.description = Description(
            ufrag=f"fake{number}",
            pwd="fake" * 6,
            fingerprint=":".join(f"{byte:02X}" for byte in os.urandom(32)),
            dtls_role="server" if role == "host" else "client",
            sctp_port=5000,
            max_message_size=MAX_MESSAGE_BYTES,
            candidates=(CandidateInfo(ADDRESS, 1000 + number, "host", 1, "1"),),
            channels=options.channels,
            reliable=options.reliable,
        )

    @property
    def has_path(self) -> bool:
        return self.link is not None and self.link.far_end.link is not None

    async def offer(self, own_addresses: Sequence[str]) -> None:
        """There are none to choose from."""

    async def add_servers(self, servers: Sequence[IceServer]) -> tuple[str, ...]:
        """There is no world outside this test to be seen from."""
        return ()

    async def checked(self) -> None:
        """Once the peer begins to connect."""
        while not any(
            each.link is not None and each.link.far_end is self for each in self._network.gathered.values()
        ):
            await asyncio.sleep(0.01)

    async def connect(self, peer: Description, timeout_s: float) -> FakeLink:
        if self._network.unreachable:
            raise NoPathError("the network of this test leads nowhere")
        self.link = FakeLink(self._network, self, self._network.gathered[peer.ufrag])
        try:
            async with asyncio.timeout(timeout_s):
                while not self.has_path:
                    await asyncio.sleep(0)
        except TimeoutError:
            raise NoPathError("the other side does not connect") from None
        return self.link

    def why_no_path(self) -> NoPathError:
        return NoPathError("the network of this test leads nowhere")

    async def close(self) -> None:
        self.closed = True
        if self.link is not None:
            await self.link.close()


class FakeLink:
    """See `link.link.Link`. It loses nothing and measures nothing."""

    network_packet_bytes = 1160

    def __init__(self, network: FakeNetwork, near: FakeGatheredLink, far_end: FakeGatheredLink) -> None:
        self.role = near.role
        self.closed = False
        self.is_mute = False  # nothing leaves until `unmute`, and nobody is told
        self._held: list[tuple[int, bytes]] = []
        self.silence_s = 0.0
        self.lost: PeerVanished | None = None
        self.on_lost: Callable[[PeerVanished], None] | None = None
        self.hears_last_words = True  # what the peer's transport acknowledges in the end
        self.far_end = far_end
        self.traits = LinkTraits(
            engine="fake",
            notes=(),
            path=PathInfo("direct", ADDRESS, 1, ADDRESS, 2),
            fingerprints=(near.description.fingerprint, far_end.description.fingerprint),
            reliable=near.description.reliable or far_end.description.reliable,
            retransmissions=0,
            window_bytes=16 * 1024 * 1024,
            max_message_bytes=MAX_MESSAGE_BYTES,
        )
        self._network = network
        count = min(near.description.channels, far_end.description.channels)
        self.control, *data = (FakeChannel(self, index) for index in range(count + 1))
        self.data = tuple(data)

    def path_figures(self) -> None:
        return None

    def carry(self, index: int, message: bytes) -> None:
        """Take a message to the other end, through whatever the network does to it."""
        network = self._network
        network.sent[self.role, index] += 1
        network.sent_bytes[self.role] += len(message)
        far = self.far_end.link
        if self.is_mute:
            self._held.append((index, message))
        if network.silent or self.is_mute or far is None:
            return
        loop = asyncio.get_running_loop()
        for each in network.tamper(self.role, index, message):
            loop.call_soon(far.arrived, index, each)

    def unmute(self) -> None:
        self.is_mute, held, self._held = False, self._held, []
        for index, message in held:
            self.carry(index, message)

    def arrived(self, index: int, message: bytes) -> None:
        channel = (self.control, *self.data)[index]
        if not self.closed and channel.state == "open":
            channel.deliver(message)

    async def drain(self, timeout_s: float | None) -> bool:
        """Everything arrives on the next turn of the loop."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.lost is None and self.hears_last_words

    async def say_last(self, timeout_s: float) -> bool:
        return await self.drain(timeout_s)

    def lose(self, error: PeerVanished) -> None:
        """The connection ends, and this end notices."""
        if self.lost is not None or self.closed:
            return
        self.lost = error
        if self.on_lost is not None:
            self.on_lost(error)
        self._end_channels()

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._end_channels()
        far = self.far_end.link
        if far is not None and not (self._network.silent or self.is_mute):
            far.lose(PeerVanished("the other side closed the connection", Loss.CLOSED))

    def _end_channels(self) -> None:
        for channel in (self.control, *self.data):
            channel.lost()


class FakeNetwork:
    """Where the links of one test meet, and what happens to what they send. `prepare` is a `PrepareLink`."""

    def __init__(self) -> None:
        self.gathered: dict[str, FakeGatheredLink] = {}
        self.unreachable = False
        self.silent = False  # nothing arrives any more, and nobody is told
        self.tamper: Tamper = lambda _role, _index, message: [message]
        self.sent: Counter[tuple[LinkRole, int]] = Counter()  # messages
        self.sent_bytes: Counter[LinkRole] = Counter()
        self._numbers = itertools.count(1)

    async def prepare(self, role: LinkRole, options: LinkOptions) -> FakeGatheredLink:
        gathered = FakeGatheredLink(self, role, options, next(self._numbers))
        self.gathered[gathered.description.ufrag] = gathered
        return gathered

    async def pair(self, options: LinkOptions | None = None) -> tuple[FakeGatheredLink, FakeGatheredLink]:
        """A host's and a joiner's end, not connected yet."""
        options = options or LinkOptions()
        return await self.prepare("host", options), await self.prepare("joiner", options)

    async def link(self) -> FakeLink:
        """An open link whose far end is nobody's concern."""
        near, far = await self.pair()
        link, _ = await asyncio.gather(near.connect(far.description, 5.0), far.connect(near.description, 5.0))
        return link

    @property
    def links(self) -> list[FakeLink]:
        """Those that opened."""
        return [each.link for each in self.gathered.values() if each.link is not None]

    def mute(self) -> None:
        """Nothing arrives any more over the connections that there are, and nobody is told."""
        for link in self.links:
            link.is_mute = True

    def cut(self) -> None:
        """Every connection breaks, and both ends notice."""
        for link in self.links:
            link.lose(PeerVanished("the other side no longer answers"))
