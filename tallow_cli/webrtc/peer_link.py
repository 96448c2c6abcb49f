"""The connection to one peer: ICE, DTLS, SCTP and the channels on it.

    link = await PeerLink.prepare("host", LinkOptions(channels=3))
    … exchange link.description for the peer's through the handshake …
    await link.connect(peer_description, timeout_s=30)
    link.control.send(b"…"); link.data[0].send(b"…"); print(link.path)
    await link.close()

Built from aiortc's ORTC objects, so that no SDP is needed and an engine can put its own transports in place.
Importing this module is cheap; aiortc is imported by `prepare`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from tallow_cli.awake import awake_timeout
from tallow_cli.errors import BadOption, NoPathError, PeerProtocolError, PeerVanished
from tallow_cli.link.channels import DEFAULT_CHANNELS, check_channel_count, check_max_retransmits
from tallow_cli.link.description import MAX_CANDIDATES, CandidateInfo, Description, worth_trying
from tallow_cli.tracing import Trace
from tallow_cli.webrtc.engines import (
    DEFAULT_ENGINE,
    Engine,
    EngineOptions,
    LinkChannel,
    PathFigures,
    make_engine,
)
from tallow_cli.webrtc.ice_consent import SILENT

if TYPE_CHECKING:
    from aiortc import (
        RTCCertificate,
        RTCDtlsTransport,
        RTCIceCandidate,
        RTCIceGatherer,
        RTCIceServer,
        RTCIceTransport,
        RTCSctpTransport,
    )

LinkRole = Literal["host", "joiner"]
T = TypeVar("T")

CONTROL_LABEL: Final = "tallow-control"
DATA_LABEL: Final = "tallow-group-transfer"
DATA_PROTOCOL: Final = "pqc-v1"
CLOSED_BY_PEER: Final = "the other side closed the connection"
SILENCE_S: Final = (
    5.0  # checks go every second: a path that was there carries none of so many only if it is gone
)
CONTROL_STREAM: Final = 0
SCTP_PORT: Final = 5000
# Once everything is closed politely nothing takes longer than a few ms; a hung socket must not hold up an
# exit.
CLOSE_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server: `stun:host:port`, `turn:host:port?transport=udp`."""

    url: str
    username: str | None = None
    credential: str | None = None

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
    relay_only: bool = False
    offload: bool = True  # GSO and GRO, where the system has them
    # Speak to this UDP relay (an IP literal, a port) in place of the peer's own addresses.
    via: tuple[str, int] | None = None
    trace: Trace | None = None  # told what the engine sees of the path

    def __post_init__(self) -> None:
        check_channel_count(self.channels)
        check_max_retransmits(self.max_retransmits, reliable=self.reliable)


@dataclass(frozen=True, slots=True)
class PathInfo:
    """The way ICE chose. Addresses are IP literals."""

    kind: Literal["direct", "relayed"]
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int


class PeerLink:
    """One connection. Make it with `prepare`; call `close` whatever happens after that.

    `on_closed(reason)` is called once if the connection ends in any way but by `close`, before every channel's
    `on_close`. The reason is for people. `lost_reason` keeps it for whoever listens only later.
    """

    def __init__(self, role: LinkRole, options: LinkOptions, engine: Engine) -> None:
        """Use `prepare`."""
        self.on_closed: Callable[[str], None] | None = None
        self._role: LinkRole = role
        self._options = options
        self._engine = engine
        self._phase = "gathering addresses"
        self._closing = False
        self._lost: str | None = None
        self._opened = asyncio.Event()
        self._gatherer: RTCIceGatherer | None = None
        self._certificate: RTCCertificate | None = None
        self._ice: RTCIceTransport | None = None
        self._dtls: RTCDtlsTransport | None = None
        self._sctp: RTCSctpTransport | None = None
        self._description: Description | None = None
        self._peer: Description | None = None
        self._channels: tuple[LinkChannel, ...] = ()
        self._path: PathInfo | None = None

    @classmethod
    async def prepare(cls, role: LinkRole, options: LinkOptions | None = None) -> PeerLink:
        """Gather this machine's addresses and make a certificate: `description` can be sent then.

        The host is the ICE controlling side and the DTLS server. Raises BadOption for an unknown engine.
        Cancelling leaves nothing behind.
        """
        options = options or LinkOptions()
        choice = EngineOptions(offload=options.offload, trace=options.trace)
        link = cls(role, options, make_engine(options.engine, choice))
        try:
            await link._gather()
        except BaseException:
            await link.close()
            raise
        return link

    async def _gather(self) -> None:
        from aiortc import RTCCertificate, RTCIceTransport

        from tallow_cli.webrtc.aiortc_internals import IceGatherer

        self._gatherer = IceGatherer(
            controlling=self._role == "host",
            ice_servers=[_rtc_ice_server(server) for server in self._options.ice_servers],
            relay_only=self._options.relay_only,
        )
        self._ice = RTCIceTransport(self._gatherer)
        await self._gatherer.gather()
        self._certificate = RTCCertificate.generateCertificate()
        self._description = self._describe(self._gatherer, self._certificate)

    def _describe(self, gatherer: RTCIceGatherer, certificate: RTCCertificate) -> Description:
        parameters = gatherer.getLocalParameters()
        candidates = sorted(gatherer.getLocalCandidates(), key=lambda c: -c.priority)
        fingerprint = next(f.value for f in certificate.getFingerprints() if f.algorithm == "sha-256")
        return Description(
            ufrag=parameters.usernameFragment or "",
            pwd=parameters.password or "",
            fingerprint=fingerprint,
            dtls_role="server" if self._role == "host" else "client",
            sctp_port=SCTP_PORT,
            max_message_size=self._engine.max_message_size,
            candidates=tuple(_candidate_info(candidate) for candidate in candidates[:MAX_CANDIDATES]),
            engine=self._engine.name,
            capabilities=self._engine.capabilities,
            channels=self._options.channels,
            reliable=self._options.reliable,
        )

    # What is known before connecting

    @property
    def role(self) -> LinkRole:
        return self._role

    @property
    def description(self) -> Description:
        return _present(self._description)

    @property
    def fingerprints(self) -> tuple[str, str]:
        """(ours, the peer's). The peer's certificate was checked against the second during `connect`."""
        return self.description.fingerprint, _present(self._peer).fingerprint

    # What is known once connected

    @property
    def control(self) -> LinkChannel:
        """Ordered and reliable."""
        return _present(self._channels[0] if self._channels else None)

    @property
    def data(self) -> tuple[LinkChannel, ...]:
        return self._channels[1:]

    @property
    def has_path(self) -> bool:
        """Whether ICE has found a way to the peer: then that, too, has our description."""
        return self._path is not None

    @property
    def lost_reason(self) -> str | None:
        """Why the connection ended, if it did in any way but by `close`."""
        return self._lost

    @property
    def path(self) -> PathInfo:
        return _present(self._path)

    @property
    def engine(self) -> str:
        """The engine in use, which after a fall-back is not the one asked for; see `notes`."""
        return self._engine.name

    @property
    def notes(self) -> tuple[str, ...]:
        return self._engine.notes

    @property
    def max_message_size(self) -> int:
        """The largest message both engines take."""
        return min(self._engine.max_message_size, _present(self._peer).max_message_size)

    def path_figures(self) -> PathFigures | None:
        """What the engine measures of the path; None if it does not see packets."""
        return self._engine.path_figures()

    @property
    def window_bytes(self) -> int:
        """How much data, sent and not acknowledged, the engine is best at."""
        return self._engine.window_bytes

    @property
    def network_packet_bytes(self) -> int:
        """How much of a message one network packet carries now: what is lost, or not, as a whole."""
        return self._engine.network_packet_bytes

    @property
    def reliable(self) -> bool:
        return self.description.reliable or _present(self._peer).reliable

    @property
    def retransmissions(self) -> int:
        """How often unreliable channels send a packet of ours again before they give its message up."""
        chosen = self._options.max_retransmits
        return self._engine.retransmissions if chosen is None else chosen

    # Connecting

    async def checked(self) -> None:
        """Return once the peer has checked one of our addresses: it has our description, and knows the code."""
        from tallow_cli.webrtc.aiortc_internals import checked_by_peer

        await checked_by_peer(_present(self._ice))

    async def connect(self, peer: Description, timeout_s: float) -> None:
        """Connect to the peer; returns when every channel is open. Call once.

        Raises NoPathError when no address of the peer answers or the connection cannot be set up in time,
        PeerVanished when the peer goes away meanwhile, PeerProtocolError when its description cannot be
        used or its certificate is not the one described. Call `close` after any of these, and after
        cancelling.
        """
        if peer.dtls_role == self.description.dtls_role:
            raise PeerProtocolError(f"both sides take the DTLS role {peer.dtls_role}")
        self._peer = peer
        try:
            async with awake_timeout(timeout_s):
                await self._find_path(peer)
                await self._secure(peer)
                await self._open_channels(peer)
        except TimeoutError:
            raise self._no_answer(timeout_s) from None
        if self._lost is not None:
            raise PeerVanished(self._lost)

    def _no_answer(self, timeout_s: float) -> NoPathError | PeerVanished:
        """What it means that the time for connecting is over."""
        if self._path is not None:
            from tallow_cli.webrtc.aiortc_internals import ice_silence_s

            if ice_silence_s(_present(self._ice)) > SILENCE_S:
                return PeerVanished(SILENT)
        return NoPathError(f"{self._phase}: no answer within {timeout_s:g} s")

    async def _find_path(self, peer: Description) -> None:
        from aiortc import RTCIceParameters

        from tallow_cli.webrtc.aiortc_internals import nominated_pair

        ice = _present(self._ice)
        ours = self.description.candidates
        theirs = worth_trying(peer.candidates, ours)
        if self._options.via is not None:
            theirs = (_relay_candidate(*self._options.via),)
        self._phase = f"trying {len(theirs)} addresses from {len(ours)} of ours"
        if not ours:
            raise NoPathError("this machine has no usable network address")
        if not theirs:
            raise NoPathError("the other side has no usable network address")
        for candidate in theirs:
            await ice.addRemoteCandidate(_rtc_candidate(candidate))
        await ice.addRemoteCandidate(None)
        await ice.start(RTCIceParameters(usernameFragment=peer.ufrag, password=peer.pwd))
        pair = nominated_pair(ice)
        if ice.state != "completed" or pair is None:
            raise NoPathError(f"{self._phase}: none answered")
        local, remote = pair
        self._path = PathInfo(
            kind="relayed" if "relay" in (local.type, remote.type) else "direct",
            local_address=local.host,
            local_port=local.port,
            remote_address=remote.host,
            remote_port=remote.port,
        )

    async def _secure(self, peer: Description) -> None:
        from aiortc import RTCDtlsFingerprint, RTCDtlsParameters

        from tallow_cli.webrtc.aiortc_internals import ice_loss_reason

        self._phase = "securing the path (DTLS)"
        self._dtls = dtls = self._engine.dtls(
            _present(self._ice), _present(self._certificate), self.description.dtls_role
        )
        await dtls.start(RTCDtlsParameters([RTCDtlsFingerprint("sha-256", peer.fingerprint)]))
        if dtls.state == "connected":
            dtls.on("statechange", self._dtls_changed)
        elif dtls.encrypted:
            raise PeerProtocolError("its DTLS certificate is not the one it described")
        else:
            reason = ice_loss_reason(_present(self._ice))
            if reason is not None:
                raise PeerVanished(reason)
            raise NoPathError("the path was found, but DTLS could not be set up on it")

    async def _open_channels(self, peer: Description) -> None:
        from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpCapabilities

        self._phase = "opening the channels (SCTP)"
        self._sctp = sctp = self._engine.sctp(_present(self._dtls), SCTP_PORT, peer)
        count = min(self._options.channels, peer.channels)
        options: dict[str, Any] = (
            {} if self.reliable else {"ordered": False, "maxRetransmits": self.retransmissions}
        )
        parameters = [RTCDataChannelParameters(label=CONTROL_LABEL, negotiated=True, id=CONTROL_STREAM)] + [
            RTCDataChannelParameters(
                label=DATA_LABEL, protocol=DATA_PROTOCOL, negotiated=True, id=n, **options
            )
            for n in range(1, count + 1)
        ]
        channels = [RTCDataChannel(sctp, each) for each in parameters]
        # Before the channels listen themselves: they know no reason, and the control channel closes first.
        channels[0].on("close", lambda: self._fail(CLOSED_BY_PEER))
        self._channels = tuple(self._engine.channel(channel) for channel in channels)
        # SCTP opens every negotiated channel in one go, in the order of their making.
        channels[-1].on("open", self._opened.set)
        await sctp.start(RTCSctpCapabilities(maxMessageSize=peer.max_message_size), peer.sctp_port)
        await self._opened.wait()

    # The end

    def _dtls_changed(self) -> None:
        from tallow_cli.webrtc.aiortc_internals import ice_loss_reason

        if self._dtls is not None and self._dtls.state in ("closed", "failed"):
            self._fail(ice_loss_reason(_present(self._ice)) or CLOSED_BY_PEER)

    def _fail(self, reason: str) -> None:
        if self._lost is not None or self._closing:
            return
        self._lost = reason
        self._opened.set()
        if self.on_closed is not None:
            self.on_closed(reason)
        for channel in self._channels:
            channel.lost()

    async def drain(self, timeout_s: float | None) -> bool:
        """Wait until the peer's SCTP has acknowledged all that was sent. Only then is it known to have it.

        False if that takes too long (None: it never does), or the connection is lost. What was lost on unreliable
        channels, or given up, counts as settled.
        """
        try:
            async with asyncio.timeout(timeout_s):
                # aiortc has no event for this; it is mostly over in a few round trips.
                while self._lost is None and not self._engine.all_acknowledged():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            return False
        return self._engine.all_acknowledged()  # also where the peer acknowledged it and closed in one go

    async def say_last(self, timeout_s: float) -> bool:
        """Let what is queued on the control channel leave ahead of everything, and give up what the data channels
        still hold. Returns whether the peer's SCTP has acknowledged it in time."""
        if self._lost is not None:
            return False
        await self._engine.keep_only(CONTROL_STREAM)
        return await self.drain(timeout_s)

    async def close(self) -> None:
        """End the connection and free its sockets and tasks; quick, and harmless when repeated.

        Data still queued is dropped. The peer is told. Channels report their `on_close`.
        """
        if self._closing:
            return
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._stop_transports()
        except TimeoutError:
            return
        finally:
            self._engine.close()
            for channel in self._channels:
                channel.lost()

    async def _stop_transports(self) -> None:
        if self._sctp is not None:
            await self._sctp.stop()
        if self._dtls is not None:
            await self._dtls.stop()
        if self._ice is not None:
            await self._ice.stop()


def _present(value: T | None) -> T:
    """The value, which an earlier step must have set."""
    if value is None:
        raise RuntimeError("the link is not that far yet")
    return value


def _rtc_ice_server(server: IceServer) -> RTCIceServer:
    from aiortc import RTCIceServer

    return RTCIceServer(server.url, server.username, server.credential)


def _candidate_info(candidate: RTCIceCandidate) -> CandidateInfo:
    return CandidateInfo(
        address=candidate.ip,
        port=candidate.port,
        type=candidate.type,  # type: ignore[arg-type]  # a str in aiortc
        priority=candidate.priority,
        foundation=candidate.foundation,
        related_address=candidate.relatedAddress,
        related_port=candidate.relatedPort,
    )


def _relay_candidate(address: str, port: int) -> CandidateInfo:
    # The only candidate, so its priority is as good as any.
    return CandidateInfo(address=address, port=port, type="host", priority=1, foundation="via")


def _rtc_candidate(candidate: CandidateInfo) -> RTCIceCandidate:
    from aiortc import RTCIceCandidate

    return RTCIceCandidate(
        component=1,
        foundation=candidate.foundation,
        ip=candidate.address,
        port=candidate.port,
        priority=candidate.priority,
        protocol="udp",
        type=candidate.type,
        relatedAddress=candidate.related_address,
        relatedPort=candidate.related_port,
    )
