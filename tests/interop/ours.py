"""Our side of an interop test: an engine's transports as a link over WebRTC builds them, with channels of any kind."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from typing import Any, Final, NamedTuple

from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceCandidate,
    RTCIceParameters,
    RTCIceTransport,
    RTCSctpCapabilities,
    RTCSctpTransport,
)

from tallow_cli.link.description import CandidateInfo, Description, DtlsRole
from tallow_cli.webrtc.aiortc_internals import IceGatherer
from tallow_cli.webrtc.engines import make_engine

SCTP_PORT: Final = 5000
TIMEOUT_S: Final = 20.0


class Message(NamedTuple):
    kind: str  # "text" or "bytes"
    size: int
    digest: str

    @classmethod
    def of(cls, content: bytes | str) -> Message:
        data = content.encode() if isinstance(content, str) else content
        kind = "text" if isinstance(content, str) else "bytes"
        return cls(kind, len(content), hashlib.sha256(data).hexdigest()[:16])


class OurSide:
    """Make it with `gather`, then `secure`, open channels, `associate`; `stop` at the end, whatever happened.

    The offerer is the ICE controlling side; a peer that is offered `actpass` becomes the DTLS client
    (RFC 8842 section 5.3), as we do when we answer.
    """

    def __init__(self, engine: str, *, offers: bool) -> None:
        self.channels: dict[str, RTCDataChannel] = {}
        self.messages: defaultdict[str, list[Message]] = defaultdict(list)
        self._engine = make_engine(engine)
        self._role: DtlsRole = "server" if offers else "client"
        self._gatherer = IceGatherer(controlling=offers)
        self._ice = RTCIceTransport(self._gatherer)
        self._certificate = RTCCertificate.generateCertificate()
        self._dtls: RTCDtlsTransport | None = None
        self._sctp: RTCSctpTransport | None = None

    async def gather(self) -> Description:
        await self._gatherer.gather()
        parameters = self._gatherer.getLocalParameters()
        return Description(
            ufrag=parameters.usernameFragment or "",
            pwd=parameters.password or "",
            fingerprint=next(
                f.value for f in self._certificate.getFingerprints() if f.algorithm == "sha-256"
            ),
            dtls_role=self._role,
            sctp_port=SCTP_PORT,
            max_message_size=self._engine.max_message_size,
            candidates=tuple(
                CandidateInfo(c.ip, c.port, "host", c.priority, c.foundation)
                for c in self._gatherer.getLocalCandidates()
            ),
        )

    @property
    def sctp(self) -> RTCSctpTransport:
        if self._sctp is None:
            raise RuntimeError("not secured yet")
        return self._sctp

    @property
    def dtls(self) -> RTCDtlsTransport:
        if self._dtls is None:
            raise RuntimeError("not secured yet")
        return self._dtls

    async def secure(self, peer: Description) -> None:
        """ICE and DTLS; channels can be opened then."""
        for candidate in peer.candidates:
            await self._ice.addRemoteCandidate(
                RTCIceCandidate(
                    component=1,
                    foundation=candidate.foundation,
                    ip=candidate.address,
                    port=candidate.port,
                    priority=candidate.priority,
                    protocol="udp",
                    type=candidate.type,
                )
            )
        await self._ice.addRemoteCandidate(None)
        await self._ice.start(RTCIceParameters(usernameFragment=peer.ufrag, password=peer.pwd))
        assert self._ice.state == "completed", f"ICE {self._ice.state}"
        self._dtls = self._engine.dtls(self._ice, self._certificate, self._role)
        await self._dtls.start(RTCDtlsParameters([RTCDtlsFingerprint("sha-256", peer.fingerprint)]))
        assert self._dtls.state == "connected", f"DTLS {self._dtls.state}"
        self._sctp = self._engine.sctp(self._dtls, SCTP_PORT, peer)
        self._sctp.takes_in_band_channels = True  # type: ignore[attr-defined]  # both engines' transports are walled
        self._sctp.on("datachannel", self._adopt)

    async def associate(self, peer: Description) -> None:
        await self.sctp.start(RTCSctpCapabilities(maxMessageSize=peer.max_message_size), peer.sctp_port)
        async with asyncio.timeout(TIMEOUT_S):
            while self.sctp.state != "connected":
                await asyncio.sleep(0.005)

    def open(self, label: str, **parameters: Any) -> RTCDataChannel:
        """A channel, negotiated if it has an `id`, else opened in band."""
        channel = RTCDataChannel(
            self.sctp, RTCDataChannelParameters(label=label, negotiated="id" in parameters, **parameters)
        )
        self._adopt(channel)
        return channel

    async def opened(self, label: str) -> RTCDataChannel:
        """The channel of that label, ours or the peer's, once it is open."""
        await self._until(lambda: label in self.channels and self.channels[label].readyState == "open")
        return self.channels[label]

    async def closed(self, label: str) -> None:
        await self._until(lambda: self.channels[label].readyState == "closed")

    async def received(self, label: str, count: int) -> list[Message]:
        await self._until(lambda: len(self.messages[label]) >= count)
        return self.messages[label]

    async def flushed(self) -> None:
        """The peer has acknowledged, or we gave up, everything."""
        await self._until(self._engine.all_acknowledged)

    async def stop(self) -> None:
        if self._sctp is not None:
            await self._sctp.stop()
        if self._dtls is not None:
            await self._dtls.stop()
        await self._ice.stop()
        self._engine.close()

    def _adopt(self, channel: RTCDataChannel) -> None:
        self.channels[channel.label] = channel
        self.messages[channel.label].clear()
        channel.on("message", lambda content: self._received(channel.label, content))

    def _received(self, label: str, content: bytes | str) -> None:
        self.messages[label].append(Message.of(content))

    async def _until(self, holds: Any) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():
                await asyncio.sleep(0.005)
