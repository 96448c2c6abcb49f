"""The seam between a session and whatever connects it with its peer: WebRTC, or a fake in a test.

    gathered = await prepare("host", LinkOptions(channels=3))
    … exchange gathered.description for the peer's through the handshake …
    link = await gathered.connect(peer_description, timeout_s=30)
    link.control.send(b"…"); link.data[0].send(b"…"); print(link.traits.path)
    await gathered.close()

A link has two phases, and a type for each: what can be known only of an open one is not there before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from tallow_cli.errors import BadOption, NoPathError, PeerVanished
from tallow_cli.link.channels import (
    DEFAULT_CHANNELS,
    Channel,
    check_channel_count,
    check_max_retransmits,
)
from tallow_cli.link.description import Description
from tallow_cli.tracing import Trace

LinkRole = Literal["host", "joiner"]

# What kind of way leads to the peer; docs/reference/json.md says when each is said.
Way = Literal["same-machine", "local-network", "tunnel", "across-nats", "direct", "relayed"]

DEFAULT_ENGINE: Final = "turbo"
MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server: `stun:host:port`, `turn:host:port?transport=udp`."""

    url: str
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("stun:", "stuns:", "turn:", "turns:")):
            raise BadOption("--ice-server", f"{self.url!r} does not begin with stun: or turn:")


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How to connect. Where the two sides differ, the smaller number of channels and the reliable kind win.

    `ice_servers` is empty by default: on one network STUN finds nothing that the interfaces do not say.
    """

    engine: str = DEFAULT_ENGINE
    channels: int = DEFAULT_CHANNELS
    reliable: bool = False
    max_retransmits: int | None = None  # of what this side sends, unless reliable; None: the engine's own
    ice_servers: tuple[IceServer, ...] = ()
    relay_only: bool = False  # no address of this machine leaves it, and no check leaves from one
    # This machine's to be reached by, the likeliest first; None: all. More may be offered later.
    own_addresses: tuple[str, ...] | None = None
    through: int | None = (
        None  # the index of the interface that all leaves by, also what goes to relays; None: any
    )
    udp_ports: tuple[int, int] | None = None  # those that may be bound, both ends included; None: any
    offload: bool = True  # GSO and GRO, where the system has them
    # Speak to this UDP relay (an IP literal, a port) in place of the peer's own addresses.
    via: tuple[str, int] | None = None
    trace: Trace | None = None  # told what the engine sees of the path

    def __post_init__(self) -> None:
        check_channel_count(self.channels)
        check_max_retransmits(self.max_retransmits, reliable=self.reliable)
        check_udp_ports(self.udp_ports)


def check_udp_ports(ports: tuple[int, int] | None) -> None:
    """Raises BadOption."""
    if ports is not None and not 1 <= ports[0] <= ports[1] <= MAX_PORT:
        raise BadOption(
            "--udp-ports", f"{ports[0]}-{ports[1]} is no range of ports; write it like 50000-50099"
        )


@dataclass(frozen=True, slots=True)
class PathInfo:
    """The way ICE chose. Addresses are IP literals; of a relayed end they are the relay's.

    `seen_as`: this end's address and port as the peer sees it (None: it did not say). `is_peer_translated`: what is
    known of the peer's is not an address of its own, but what a NAT shows. `relay`: the URL of the relay at this end.
    """

    kind: Literal["direct", "relayed"]
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    seen_as: tuple[str, int] | None = None
    is_peer_translated: bool = False
    relay: str | None = None
    is_peer_relayed: bool = False

    @property
    def is_translated(self) -> bool:
        """Whether a NAT stands between the two, as far as that can be known from here."""
        is_ours = self.seen_as is not None and self.seen_as != (self.local_address, self.local_port)
        return self.is_peer_translated or is_ours


class PathFigures(NamedTuple):
    """What an engine that handles packets itself has measured since the connection began."""

    rtt_s: float  # smoothed, without what waits in our own queue; 0.0 before the first sample
    jitter_s: float  # RFC 3550's, over all samples
    sent_packets: int
    lost_packets: int
    path_loss: float | None = None  # what the path loses however little is sent, if that is asked
    is_growing: bool = False  # how much the path carries is still being found out


@dataclass(frozen=True, slots=True)
class LinkTraits:
    """What was settled when the link opened, and stays so."""

    engine: str  # the one in use, which after a fall-back is not the one asked for
    notes: tuple[str, ...]  # fall-backs taken, one sentence each
    path: PathInfo
    fingerprints: tuple[str, str]  # (ours, the peer's), which its certificate was checked against
    reliable: bool
    retransmissions: (
        int  # how often unreliable channels send a packet of ours again before giving its message up
    )
    window_bytes: int  # how much data, sent and not acknowledged, the engine is best at
    max_message_bytes: int  # the largest message both ends take


class GatheredLink(Protocol):
    """This machine's end, before there is another. Call `close` whatever happens."""

    @property
    def description(self) -> Description:
        """What the peer needs to connect to this end."""
        ...

    @property
    def has_path(self) -> bool:
        """Whether a way to the peer was found: then that, too, has our description."""
        ...

    async def offer(self, own_addresses: Sequence[str]) -> None:
        """Offer these addresses of this machine, too, and prefer them in this order: more is known of them now. Nothing
        with `relay_only`. Raises BadOption where no port of `udp_ports` is free.
        """
        ...

    async def add_servers(self, servers: Sequence[IceServer]) -> tuple[str, ...]:
        """Ask these for more addresses, which `description` has then: STUN servers for what NATs make of ours, relays
        for one of theirs. Costs a second at most where they do not answer. Never raises.

        Returns what each relay that gave none has said, for people; without credentials.
        """
        ...

    async def checked(self) -> None:
        """Return once the peer has tried one of our addresses: it has our description, and knows the code."""
        ...

    async def connect(self, peer: Description, timeout_s: float) -> Link:
        """Connect to the peer; returns when every channel is open. Call once.

        Raises NoPathError when no address of the peer answers or the connection cannot be set up in time, PeerVanished
        when the peer goes away meanwhile, PeerProtocolError when its description cannot be used or its certificate is
        not the one described. Call `close` after any of these, and after cancelling.
        """
        ...

    def why_no_path(self) -> NoPathError:
        """What is known, once `connect` was called, of why there is no way to the peer yet."""
        ...

    async def close(self) -> None:
        """End what there is, the open link too; quick, and harmless when repeated."""
        ...


class Link(Protocol):
    """An open connection to one peer.

    `on_lost(error)` is called once if the connection ends in any way but by `close`, before every channel's
    `on_close`. `lost` keeps the error for whoever listens only later.
    """

    on_lost: Callable[[PeerVanished], None] | None

    @property
    def traits(self) -> LinkTraits: ...

    @property
    def control(self) -> Channel:
        """Ordered and reliable."""
        ...

    @property
    def data(self) -> tuple[Channel, ...]: ...

    @property
    def lost(self) -> PeerVanished | None:
        """How the connection ended, if it did in any way but by `close`."""
        ...

    @property
    def silence_s(self) -> float:
        """For how long the peer has not answered; 0.0 while it does."""
        ...

    def lose(self, error: PeerVanished) -> None:
        """Count it as lost, because of `error`: another one has taken its place. As if it were noticed here."""
        ...

    @property
    def network_packet_bytes(self) -> int:
        """How much of a message one network packet carries now: what is lost, or not, as a whole."""
        ...

    def path_figures(self) -> PathFigures | None:
        """What the engine measures of the path; None if it does not see packets."""
        ...

    async def drain(self, timeout_s: float | None) -> bool:
        """Wait until the peer's transport has acknowledged all that was sent. Only then is it known to have it.

        False if that takes too long (None: it never does), or the connection is lost. What was lost on unreliable
        channels, or given up, counts as settled.
        """
        ...

    async def say_last(self, timeout_s: float) -> bool:
        """Let what is queued on the control channel leave ahead of everything, and give up what the data channels
        still hold. Returns whether the peer's transport has acknowledged it in time."""
        ...

    async def close(self) -> None:
        """End the connection and free its sockets and tasks; quick, and harmless when repeated.

        Data still queued is dropped. The peer is told. Channels report their `on_close`.
        """
        ...


class PrepareLink(Protocol):
    """Makes this machine's end of a link."""

    def __call__(self, role: LinkRole, options: LinkOptions) -> Awaitable[GatheredLink]:
        """Gather this machine's addresses. Raises BadOption for an unknown engine. Cancelling leaves nothing behind."""
        ...
