"""Two SCTP transports of any kind on this machine, connected through real sockets, without Tallow's link."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsTransport,
    RTCIceTransport,
    RTCSctpCapabilities,
    RTCSctpTransport,
)

from tallow_cli.webrtc.aiortc_internals import IceGatherer
from tallow_cli.webrtc.dtls_batch import BatchDtlsTransport
from tallow_cli.webrtc.dtls_transport import DtlsTransport
from tallow_cli.webrtc.stock_sctp import StockSctpTransport
from tallow_cli.webrtc.turbo_sctp import TurboSctpTransport

TIMEOUT_S = 20.0
MAX_MESSAGE = 262144


class LossyDtls(BatchDtlsTransport):
    """Loses, repeats and reorders some of the datagrams it is handed."""

    loss = 0.0
    rng = random.Random(1)

    def datagrams_received(self, run: memoryview, segment: int) -> None:
        datagrams = [run[start : start + segment] for start in range(0, len(run), segment)]
        kept = [each for each in datagrams if self.rng.random() >= self.loss]
        if self.loss:
            kept += [each for each in datagrams if self.rng.random() < self.loss / 4]
            for position in range(len(kept) - 1):
                if self.rng.random() < self.loss:
                    kept[position], kept[position + 1] = kept[position + 1], kept[position]
        for each in kept:
            super().datagrams_received(each, len(each))


@dataclass
class Peer:
    ice: RTCIceTransport
    dtls: RTCDtlsTransport
    sctp: RTCSctpTransport
    channels: list[RTCDataChannel] = field(default_factory=list)

    def open(self, **parameters: Any) -> RTCDataChannel:
        """A channel; negotiated if it has an `id`."""
        channel = RTCDataChannel(
            self.sctp, RTCDataChannelParameters(negotiated="id" in parameters, **parameters)
        )
        self.channels.append(channel)
        return channel

    async def stop(self) -> None:
        await self.sctp.stop()
        await self.dtls.stop()
        await self.ice.stop()


async def _peer(kind: str, *, is_host: bool, loss: float, both_turbo: bool) -> Peer:
    gatherer = IceGatherer(controlling=is_host)
    ice = RTCIceTransport(gatherer)
    await gatherer.gather()
    certificate = RTCCertificate.generateCertificate()
    role = "server" if is_host else "client"
    if kind in ("stock", "walled"):
        dtls: RTCDtlsTransport = DtlsTransport(ice, certificate, role)
        if kind == "stock":
            return Peer(ice, dtls, RTCSctpTransport(dtls))
        walled = StockSctpTransport(dtls)
        walled.takes_in_band_channels = True
        return Peer(ice, dtls, walled)
    lossy = LossyDtls(ice, certificate, role, offload=kind != "plain", takes_sockets=kind != "relayed")
    lossy.loss = loss
    turbo = TurboSctpTransport(lossy, peer_is_tallow=both_turbo)
    turbo.takes_in_band_channels = True
    return Peer(ice, lossy, turbo)


@asynccontextmanager
async def connected(
    host_kind: str,
    joiner_kind: str,
    *,
    prepare: Callable[[Peer, Peer], None] | None = None,
    loss: float = 0.0,
) -> AsyncIterator[tuple[Peer, Peer]]:
    """Two peers of kind "stock" (aiortc's own), "walled" (the same behind our checks), "turbo", "plain" (turbo without
    offload) or "relayed" (turbo without sockets of its own), ESTABLISHED. All but "stock" take channels opened in band,
    as foreign stacks do.

    `prepare` is called before they connect, to open negotiated channels or change a transport.
    """
    tasks_before = asyncio.all_tasks()
    both_turbo = not {"stock", "walled"} & {host_kind, joiner_kind}
    a = await _peer(host_kind, is_host=True, loss=loss, both_turbo=both_turbo)
    b = await _peer(joiner_kind, is_host=False, loss=loss, both_turbo=both_turbo)
    if prepare is not None:
        prepare(a, b)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(_connect(a, b), _connect(b, a))
            while not (a.sctp.state == b.sctp.state == "connected"):
                await asyncio.sleep(0.005)
        yield a, b
    finally:
        await asyncio.gather(a.stop(), b.stop())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks_before


async def _connect(ours: Peer, theirs: Peer) -> None:
    for candidate in theirs.ice.iceGatherer.getLocalCandidates():
        await ours.ice.addRemoteCandidate(candidate)
    await ours.ice.addRemoteCandidate(None)
    await ours.ice.start(theirs.ice.iceGatherer.getLocalParameters())
    await ours.dtls.start(theirs.dtls.getLocalParameters())
    assert ours.dtls.state == "connected"
    await ours.sctp.start(RTCSctpCapabilities(maxMessageSize=MAX_MESSAGE), 5000)


class Inbox:
    """What a channel received."""

    def __init__(self, channel: RTCDataChannel) -> None:
        self.messages: list[bytes | str] = []
        self._changed = asyncio.Event()
        channel.on("message", self._add)

    def _add(self, message: bytes | str) -> None:
        self.messages.append(message)
        self._changed.set()

    async def until(self, count: int) -> list[bytes | str]:
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.messages) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.messages
