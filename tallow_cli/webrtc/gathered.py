"""The first phase of a link over WebRTC: addresses are gathered, then ICE, DTLS and SCTP connect; see `link.link`.

Built from aiortc's ORTC objects, so that no SDP is needed and an engine can put its own transports in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceParameters,
    RTCIceTransport,
    RTCSctpCapabilities,
)
from msgspec.structs import replace

from tallow_cli.awake import awake_timeout
from tallow_cli.errors import NoPathError, PeerProtocolError, PeerVanished
from tallow_cli.link.description import Description, worth_trying
from tallow_cli.link.link import IceServer, LinkOptions, LinkRole, LinkTraits, PathInfo
from tallow_cli.link.no_path import diagnosis
from tallow_cli.webrtc.aiortc_internals import (
    IceGatherer,
    checked_by_peer,
    checks,
    gathering,
    ice_loss,
    ice_silence_s,
    nominated_pair,
    seen_as,
)
from tallow_cli.webrtc.candidates import (
    candidate_info,
    likeliest,
    relay_candidate,
    relay_servers,
    rtc_candidate,
    stun_questions,
)
from tallow_cli.webrtc.engines import Engine
from tallow_cli.webrtc.ice_consent import vanished
from tallow_cli.webrtc.open_link import CLOSE_TIMEOUT_S, CONTROL_STREAM, OpenLink, Transports

CONTROL_LABEL: Final = "tallow-control"
DATA_LABEL: Final = "tallow-group-transfer"
DATA_PROTOCOL: Final = "pqc-v1"
# Checks go every second: a path that was there carries none of so many only if it is gone.
SILENCE_S: Final = 5.0
SCTP_PORT: Final = 5000


class RtcGatheredLink:
    """See `link.link.GatheredLink`. Made by `gather`."""

    def __init__(
        self,
        options: LinkOptions,
        engine: Engine,
        transports: Transports,
        certificate: RTCCertificate,
        describe: Callable[[], Description],
    ) -> None:
        self._describe = describe
        self.has_path = False
        self._options = options
        self._engine = engine
        self.transports: Final = transports
        self._certificate = certificate
        self._phase = ""
        self._link: OpenLink | None = None
        self._peer: Description | None = None  # with those of its candidates that are worth trying

    @property
    def description(self) -> Description:
        return self._describe()

    async def offer(self, own_addresses: Sequence[str]) -> None:
        await gathering(self.transports.ice).offer(own_addresses)

    async def add_servers(self, servers: Sequence[IceServer]) -> tuple[str, ...]:
        connection = gathering(self.transports.ice)
        asked, others = stun_questions(servers)
        await asyncio.gather(connection.ask_stun(asked, others), connection.add_relay(relay_servers(servers)))
        return tuple(f"{url}: {problem}" for url, problem in connection.gathered.relay_refusals)

    async def checked(self) -> None:
        await checked_by_peer(self.transports.ice)

    async def connect(self, peer: Description, timeout_s: float) -> OpenLink:
        if peer.dtls_role == self.description.dtls_role:
            raise PeerProtocolError(f"both sides take the DTLS role {peer.dtls_role}")
        try:
            async with awake_timeout(timeout_s):
                path = await self._find_path(peer)
                dtls = await self._secure(peer)
                return await self._open(peer, path, dtls)
        except TimeoutError:
            raise self._no_answer(timeout_s) from None

    def _no_answer(self, timeout_s: float) -> NoPathError | PeerVanished:
        """What it means that the time for connecting is over."""
        if self.has_path and ice_silence_s(self.transports.ice) > SILENCE_S:
            return vanished()
        return (
            NoPathError(f"{self._phase}: no answer within {timeout_s:g} s")
            if self.has_path
            else self.why_no_path()
        )

    def why_no_path(self) -> NoPathError:
        if self._peer is None:
            return NoPathError("the two sides have not tried yet")
        gathered = gathering(self.transports.ice).gathered
        return diagnosis(self.description, self._peer, checks(self.transports.ice), gathered.relay_refusals)

    async def _find_path(self, peer: Description) -> PathInfo:
        ice = self.transports.ice
        ours = self.description.candidates
        theirs = worth_trying(peer.candidates, ours)
        if self._options.via is not None:
            theirs = (relay_candidate(*self._options.via),)
        self._phase = f"trying {len(theirs)} addresses from {len(ours)} of ours"
        self._peer = replace(peer, candidates=theirs)
        if not ours or not theirs:
            raise self.why_no_path()
        for candidate in theirs:
            await ice.addRemoteCandidate(rtc_candidate(candidate))
        await ice.addRemoteCandidate(None)
        await ice.start(RTCIceParameters(usernameFragment=peer.ufrag, password=peer.pwd))
        pair = nominated_pair(ice)
        if ice.state != "completed" or pair is None:
            raise self.why_no_path()
        local, remote = pair
        self.has_path = True
        relay = gathering(ice).gathered.relay
        return PathInfo(
            kind="relayed" if "relay" in (local.type, remote.type) else "direct",
            local_address=local.host,
            local_port=local.port,
            remote_address=remote.host,
            remote_port=remote.port,
            seen_as=seen_as(ice),
            is_peer_translated=remote.type in ("srflx", "prflx"),
            relay=relay.url if local.type == "relay" and relay is not None else None,
            is_peer_relayed=remote.type == "relay",
        )

    async def _secure(self, peer: Description) -> RTCDtlsTransport:
        self._phase = "securing the path (DTLS)"
        ice = self.transports.ice
        dtls = self._engine.dtls(ice, self._certificate, self.description.dtls_role)
        self.transports.dtls = dtls
        await dtls.start(RTCDtlsParameters([RTCDtlsFingerprint("sha-256", peer.fingerprint)]))
        if dtls.state == "connected":
            return dtls
        if dtls.encrypted:
            raise PeerProtocolError("its DTLS certificate is not the one it described")
        lost = ice_loss(ice)
        if lost is not None:
            raise lost
        raise NoPathError("the path was found, but DTLS could not be set up on it")

    async def _open(self, peer: Description, path: PathInfo, dtls: RTCDtlsTransport) -> OpenLink:
        self._phase = "opening the channels (SCTP)"
        engine, chosen = self._engine, self._options.max_retransmits
        reliable = self.description.reliable or peer.reliable
        retransmissions = engine.retransmissions if chosen is None else chosen
        sctp = self.transports.sctp = engine.sctp(dtls, SCTP_PORT, peer)
        unreliable: dict[str, Any] = {} if reliable else {"ordered": False, "maxRetransmits": retransmissions}
        control = RTCDataChannelParameters(label=CONTROL_LABEL, negotiated=True, id=CONTROL_STREAM)
        data = [
            RTCDataChannelParameters(
                label=DATA_LABEL, protocol=DATA_PROTOCOL, negotiated=True, id=number, **unreliable
            )
            for number in range(1, min(self._options.channels, peer.channels) + 1)
        ]
        traits = LinkTraits(
            engine=engine.name,
            notes=engine.notes,
            path=path,
            fingerprints=(self.description.fingerprint, peer.fingerprint),
            reliable=reliable,
            retransmissions=retransmissions,
            window_bytes=engine.window_bytes,
            max_message_bytes=min(engine.max_message_size, peer.max_message_size),
        )
        channels = [RTCDataChannel(sctp, parameters) for parameters in (control, *data)]
        self._link = link = OpenLink(engine, self.transports, dtls, channels, traits)
        await sctp.start(RTCSctpCapabilities(maxMessageSize=peer.max_message_size), peer.sctp_port)
        await link.opened()
        return link

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.transports.stop()
        except TimeoutError:
            return
        finally:
            self._engine.close()


async def gather(role: LinkRole, options: LinkOptions, engine: Engine) -> RtcGatheredLink:
    """Gather this machine's addresses and make a certificate.

    The host is the ICE controlling side and the DTLS server. Cancelling leaves nothing behind.
    """
    gatherer = IceGatherer(
        controlling=role == "host",
        relay_only=options.relay_only,
        own_addresses=options.own_addresses,
        through=options.through,
        ports=options.udp_ports,
    )
    transports = Transports(RTCIceTransport(gatherer))

    def describe() -> Description:
        parameters = gatherer.getLocalParameters()
        return Description(
            ufrag=parameters.usernameFragment or "",
            pwd=parameters.password or "",
            fingerprint=next(f.value for f in certificate.getFingerprints() if f.algorithm == "sha-256"),
            dtls_role="server" if role == "host" else "client",
            sctp_port=SCTP_PORT,
            max_message_size=engine.max_message_size,
            candidates=likeliest([candidate_info(each) for each in gatherer.getLocalCandidates()]),
            engine=engine.name,
            capabilities=engine.capabilities,
            channels=options.channels,
            reliable=options.reliable,
            survey=gathering(transports.ice).gathered.survey,
        )

    try:
        await gatherer.gather()
        certificate = RTCCertificate.generateCertificate()
        link = RtcGatheredLink(options, engine, transports, certificate, describe)
        await link.add_servers(options.ice_servers)
    except BaseException:
        await transports.stop()
        raise
    return link
