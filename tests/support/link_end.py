"""One end of a link over WebRTC in this process: both its phases, and the transports below, in one hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tallow_cli.link.description import Description, decode_untrusted, encode
from tallow_cli.link.link import LinkOptions, LinkRole
from tallow_cli.webrtc.engines import EngineOptions, make_engine
from tallow_cli.webrtc.gathered import RtcGatheredLink, gather
from tallow_cli.webrtc.open_link import OpenLink
from tallow_cli.webrtc.stock_engine import StockChannel
from tallow_cli.wire.udp_batch import BatchSocket

TIMEOUT_S = 20.0
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


class LinkEnd:
    def __init__(self, gathered: RtcGatheredLink) -> None:
        self.gathered = gathered
        self._link: OpenLink | None = None

    @classmethod
    async def prepare(cls, role: LinkRole, options: LinkOptions | None = None) -> LinkEnd:
        options = options or LinkOptions()
        engine = make_engine(options.engine, EngineOptions(offload=options.offload, trace=options.trace))
        return cls(await gather(role, options, engine))

    async def connect(self, peer: Description, timeout_s: float) -> OpenLink:
        self._link = await self.gathered.connect(peer, timeout_s)
        return self._link

    async def close(self) -> None:
        await self.gathered.close()

    @property
    def description(self) -> Description:
        return self.gathered.description

    @property
    def link(self) -> OpenLink:
        assert self._link is not None, "it is not connected"
        return self._link

    @property
    def control(self) -> StockChannel:
        channel = self.link.control
        assert isinstance(channel, StockChannel)
        return channel

    @property
    def data(self) -> tuple[Any, ...]:
        return self.link.data

    # For what has to reach below

    @property
    def ice(self) -> Any:
        return self.gathered.transports.ice

    @property
    def dtls(self) -> Any:
        return self.gathered.transports.dtls

    @property
    def sctp(self) -> Any:
        return self.gathered.transports.sctp


@asynccontextmanager
async def two_links(
    host: LinkOptions | None = None, joiner: LinkOptions | None = None, *, connect: bool = True
) -> AsyncIterator[tuple[LinkEnd, LinkEnd]]:
    tasks_before = asyncio.all_tasks()
    a = await LinkEnd.prepare("host", host)
    b = await LinkEnd.prepare("joiner", joiner)
    try:
        if connect:
            await asyncio.gather(
                a.connect(decode_untrusted(encode(b.description)), TIMEOUT_S),
                b.connect(decode_untrusted(encode(a.description)), TIMEOUT_S),
            )
        yield a, b
    finally:
        await asyncio.gather(a.close(), b.close())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks_before


def kill(link: LinkEnd) -> None:
    """What the kernel does for a killed process: its sockets are gone, and nobody was told."""
    for protocol in link.ice._connection._protocols:
        transport = protocol.transport
        if isinstance(transport, BatchSocket):
            transport.close()
        else:
            transport.abort()
