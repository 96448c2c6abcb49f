"""One side of a link, for compare.py: peer_protocol.py's commands, as far as a throughput run needs them.

    tallow_peer.py ENGINE [--ethernet] [--no-offload]

--ethernet keeps packets to what Ethernet's MTU takes (loopback's would let them grow to 16 KiB), --no-offload does
without GSO and GRO. Its "sdp" is Tallow's own session description. There is one channel, the ordered and reliable one.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop
from peer_protocol import (
    HIGH_WATER_BYTES,
    LOW_WATER_BYTES,
    Command,
    Receiving,
    emit,
    random_messages,
    serve,
)

from tallow_cli.link.description import decode_untrusted, encode
from tallow_cli.link.link import LinkOptions
from tallow_cli.webrtc import turbo_sctp
from tests.support.link_end import LinkEnd

CONNECT_TIMEOUT_S = 15.0


class TallowPeer:
    def __init__(self, engine: str, flags: list[str]) -> None:
        self.options = LinkOptions(engine=engine, offload="--no-offload" not in flags)
        if "--ethernet" in flags:
            turbo_sctp.TALLOW_MAX_PACKET = turbo_sctp.FOREIGN_MAX_PACKET_V6  # type: ignore[misc]
        self.link: LinkEnd | None = None
        self.receiving = Receiving("")

    async def handle(self, command: Command) -> None:
        await getattr(self, "do_" + command["do"])(command)

    async def do_channel(self, command: Command) -> None:
        self.receiving = Receiving(command["label"])

    async def do_offer(self, command: Command) -> None:
        self.link = await LinkEnd.prepare("host", self.options)
        emit("description", type="offer", sdp=encode(self.link.description).decode())

    async def do_remote(self, command: Command) -> None:
        if self.link is None:
            self.link = await LinkEnd.prepare("joiner", self.options)
            emit("description", type="answer", sdp=encode(self.link.description).decode())
        await self.link.connect(decode_untrusted(command["sdp"].encode()), CONNECT_TIMEOUT_S)
        self.link.control.on_message = self.receiving.add
        emit("open", label=self.receiving.label)

    async def do_sink(self, command: Command) -> None:
        self.receiving.count_only()

    async def do_flood(self, command: Command) -> None:
        if self.link is None:
            raise RuntimeError("not connected")
        channel = self.link.control
        (message,) = random_messages([command["size"]])
        low = asyncio.Event()
        channel.low_threshold = LOW_WATER_BYTES
        channel.on_low = low.set
        cpu = time.process_time()
        end = time.perf_counter() + command["seconds"]
        while time.perf_counter() < end:
            low.clear()
            while channel.buffered_amount < HIGH_WATER_BYTES:
                channel.send(message)
            await low.wait()
        await self.link.link.drain(10)
        emit("flooded", label=command["label"], cpu=time.process_time() - cpu)

    async def do_report(self, command: Command) -> None:
        self.receiving.report()

    async def do_quit(self, command: Command) -> None:
        if self.link is not None:
            await self.link.close()


async def main() -> None:
    await serve(TallowPeer(sys.argv[1], sys.argv[2:]).handle)


if __name__ == "__main__":
    uvloop.run(main())
