"""Two peer links joined by queues in memory, in place of ICE, DTLS and SCTP: sessions in milliseconds.

    network = FakeNetwork()
    monkeypatch.setattr(meeting, "PeerLink", network)     # for everything from the code on
    host, joiner = await network.pair()                      # or two links by themselves

Messages arrive in order, on the next turn of the event loop, unless the network is told otherwise.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Callable

from tallow_cli.errors import NoPathError, PeerVanished
from tallow_cli.link.channels import ChannelState
from tallow_cli.link.description import CandidateInfo, Description
from tallow_cli.webrtc.peer_link import LinkOptions, LinkRole, PathInfo

ADDRESS = "192.0.2.7"

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


class FakeLink:
    """See `webrtc.peer_link.PeerLink`. Made by a FakeNetwork."""

    engine = "fake"
    notes: tuple[str, ...] = ()
    max_message_size = 65_536
    network_packet_bytes = 1160
    window_bytes = 16 * 1024 * 1024
    retransmissions = 0

    def __init__(self, network: FakeNetwork, role: LinkRole, options: LinkOptions, number: int) -> None:
        self.role = role
        self.options = options
        self.closed = False
        self.lost_reason: str | None = None
        self.on_closed: Callable[[str], None] | None = None
        self.hears_last_words = True  # what the peer's transport acknowledges in the end
        self.peer: FakeLink | None = None
        self._network = network
        self._channels: tuple[FakeChannel, ...] = ()
        self.description = Description(
            ufrag=f"fake{number}",
            pwd="fake" * 6,
            fingerprint=":".join(f"{byte:02X}" for byte in os.urandom(32)),
            dtls_role="server" if role == "host" else "client",
            sctp_port=5000,
            max_message_size=self.max_message_size,
            candidates=(CandidateInfo(ADDRESS, 1000 + number, "host", 1, "1"),),
            channels=options.channels,
            reliable=options.reliable,
        )

    def path_figures(self) -> None:
        """It loses nothing and measures nothing."""

    @property
    def fingerprints(self) -> tuple[str, str]:
        assert self.peer is not None
        return self.description.fingerprint, self.peer.description.fingerprint

    @property
    def control(self) -> FakeChannel:
        return self._channels[0]

    @property
    def data(self) -> tuple[FakeChannel, ...]:
        return self._channels[1:]

    @property
    def path(self) -> PathInfo:
        return PathInfo("direct", ADDRESS, 1, ADDRESS, 2)

    @property
    def reliable(self) -> bool:
        return self.options.reliable

    @property
    def has_path(self) -> bool:
        return self.peer is not None and self.peer.peer is self

    async def checked(self) -> None:
        """Once the peer begins to connect."""
        while not any(link.peer is self for link in self._network.links.values()):
            await asyncio.sleep(0.01)

    async def connect(self, peer: Description, timeout_s: float) -> None:
        if self._network.unreachable:
            raise NoPathError("the network of this test leads nowhere")
        count = min(self.options.channels, peer.channels)
        self._channels = tuple(FakeChannel(self, index) for index in range(count + 1))
        self.peer = self._network.links[peer.ufrag]
        try:
            async with asyncio.timeout(timeout_s):
                while self.peer.peer is not self:
                    await asyncio.sleep(0)
        except TimeoutError:
            raise NoPathError("the other side does not connect") from None

    def carry(self, index: int, message: bytes) -> None:
        """Take a message to the other end, through whatever the network does to it."""
        network = self._network
        network.sent[self.role, index] += 1
        network.sent_bytes[self.role] += len(message)
        if network.silent or self.peer is None:
            return
        loop = asyncio.get_running_loop()
        for each in network.tamper(self.role, index, message):
            loop.call_soon(self.peer.arrived, index, each)

    def arrived(self, index: int, message: bytes) -> None:
        if not self.closed and self._channels[index].state == "open":
            self._channels[index].deliver(message)

    async def drain(self, timeout_s: float | None) -> bool:
        """Everything arrives on the next turn of the loop."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.lost_reason is None and self.hears_last_words

    async def say_last(self, timeout_s: float) -> bool:
        return await self.drain(timeout_s)

    def lose(self, reason: str) -> None:
        """The connection ends, and this end notices."""
        if self.lost_reason is not None or self.closed:
            return
        self.lost_reason = reason
        if self.on_closed is not None:
            self.on_closed(reason)
        for channel in self._channels:
            channel.lost()

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for channel in self._channels:
            channel.lost()
        if self.peer is not None and not self._network.silent:
            self.peer.lose("the other side closed the connection")


class FakeNetwork:
    """Where the links of one test meet, and what the network between them does. Stands in for the class PeerLink."""

    def __init__(self) -> None:
        self.links: dict[str, FakeLink] = {}
        self.unreachable = False
        self.silent = False  # nothing arrives any more, and nobody is told
        self.tamper: Tamper = lambda _role, _index, message: [message]
        self.sent: Counter[tuple[LinkRole, int]] = Counter()  # messages
        self.sent_bytes: Counter[LinkRole] = Counter()
        self._numbers = itertools.count(1)

    async def prepare(self, role: LinkRole, options: LinkOptions | None = None) -> FakeLink:
        link = FakeLink(self, role, options or LinkOptions(), next(self._numbers))
        self.links[link.description.ufrag] = link
        return link

    async def pair(self, options: LinkOptions | None = None) -> tuple[FakeLink, FakeLink]:
        """A host's and a joiner's link, not connected yet."""
        return await self.prepare("host", options), await self.prepare("joiner", options)

    def cut(self) -> None:
        """Every connection breaks, and both ends notice."""
        for link in self.links.values():
            link.lose("the other side no longer answers")
