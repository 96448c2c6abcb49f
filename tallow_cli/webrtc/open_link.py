"""The second phase of a link over WebRTC: its channels are open, until it is lost or closed; see `link.link`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiortc import RTCDataChannel, RTCDtlsTransport, RTCIceTransport, RTCSctpTransport

from tallow_cli.errors import Loss, PeerVanished
from tallow_cli.link.link import LinkTraits, PathFigures
from tallow_cli.webrtc.aiortc_internals import ice_loss, ice_silence_s
from tallow_cli.webrtc.engines import Engine, LinkChannel

CLOSED_BY_PEER: Final = "the other side closed the connection"
CONTROL_STREAM: Final = 0
# Once everything is closed politely nothing takes longer than a few ms; a hung socket must not hold up an exit.
CLOSE_TIMEOUT_S: Final = 1.0


@dataclass(slots=True)
class Transports:
    """What there is of one connection so far."""

    ice: RTCIceTransport
    dtls: RTCDtlsTransport | None = None
    sctp: RTCSctpTransport | None = None

    async def stop(self) -> None:
        """Each tells the peer over the one below, so the highest goes first."""
        if self.sctp is not None:
            await self.sctp.stop()
        if self.dtls is not None:
            await self.dtls.stop()
        await self.ice.stop()


class OpenLink:
    """See `link.link.Link`. Its channels open once `sctp` is started: wait for `opened` then."""

    def __init__(
        self,
        engine: Engine,
        transports: Transports,
        dtls: RTCDtlsTransport,
        channels: Sequence[RTCDataChannel],
        traits: LinkTraits,
    ) -> None:
        self.on_lost: Callable[[PeerVanished], None] | None = None
        self.traits: Final = traits
        self._engine = engine
        self.transports: Final = transports
        self._closing = False
        self._lost: PeerVanished | None = None
        self._opened = asyncio.Event()
        dtls.on("statechange", self._dtls_changed)
        # Before the channels listen themselves: they know no reason, and the control channel closes first.
        channels[CONTROL_STREAM].on("close", self._closed_by_peer)
        self._channels: tuple[LinkChannel, ...] = tuple(engine.channel(channel) for channel in channels)
        # SCTP opens every negotiated channel in one go, in the order of their making.
        channels[-1].on("open", self._opened.set)

    async def opened(self) -> None:
        """Return once the channels are open. Raises PeerVanished."""
        await self._opened.wait()
        if self._lost is not None:
            raise self._lost

    @property
    def control(self) -> LinkChannel:
        return self._channels[CONTROL_STREAM]

    @property
    def data(self) -> tuple[LinkChannel, ...]:
        return self._channels[1:]

    @property
    def lost(self) -> PeerVanished | None:
        return self._lost

    @property
    def silence_s(self) -> float:
        return ice_silence_s(self.transports.ice)

    @property
    def network_packet_bytes(self) -> int:
        return self._engine.network_packet_bytes

    def path_figures(self) -> PathFigures | None:
        return self._engine.path_figures()

    # The end

    def _closed_by_peer(self) -> None:
        self.lose(PeerVanished(CLOSED_BY_PEER, Loss.CLOSED))

    def _dtls_changed(self) -> None:
        dtls = self.transports.dtls
        if dtls is not None and dtls.state in ("closed", "failed"):
            self.lose(ice_loss(self.transports.ice) or PeerVanished(CLOSED_BY_PEER, Loss.CLOSED))

    def lose(self, error: PeerVanished) -> None:
        if self._lost is not None or self._closing:
            return
        self._lost = error
        self._opened.set()
        if self.on_lost is not None:
            self.on_lost(error)
        for channel in self._channels:
            channel.lost()

    async def drain(self, timeout_s: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                # aiortc has no event for this; it is mostly over in a few round trips.
                while self._lost is None and not self._engine.all_acknowledged():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            return False
        return self._engine.all_acknowledged()  # also where the peer acknowledged it and closed in one go

    async def say_last(self, timeout_s: float) -> bool:
        if self._lost is not None:
            return False
        await self._engine.keep_only(CONTROL_STREAM)
        return await self.drain(timeout_s)

    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.transports.stop()
        except TimeoutError:
            return
        finally:
            self._engine.close()
            for channel in self._channels:
                channel.lost()
