"""A peer of stock aiortc's `RTCPeerConnection`, driven as peer_protocol.py says. With --uvloop on uvloop."""

from __future__ import annotations

import asyncio
import sys
import time

from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from peer_protocol import (
    HIGH_WATER_BYTES,
    LOW_WATER_BYTES,
    Command,
    Receiving,
    digest,
    emit,
    random_messages,
    serve,
)


class AiortcPeer:
    def __init__(self) -> None:
        self.connection = RTCPeerConnection()
        self.channels: dict[str, RTCDataChannel] = {}
        self.receiving: dict[str, Receiving] = {}
        self.connection.on("datachannel", self._accept)
        self.connection.on(
            "connectionstatechange", lambda: emit("connection", state=self.connection.connectionState)
        )

    async def handle(self, command: Command) -> None:
        await getattr(self, "do_" + command["do"])(command)

    async def do_channel(self, command: Command) -> None:
        identifier = command.get("id")
        self._adopt(
            self.connection.createDataChannel(
                command["label"],
                ordered=command.get("ordered", True),
                maxRetransmits=command.get("max_retransmits"),
                protocol=command.get("protocol", ""),
                negotiated=identifier is not None,
                id=identifier,
            )
        )

    async def do_offer(self, command: Command) -> None:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        self._describe()

    async def do_remote(self, command: Command) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(command["sdp"], command["type"]))
        if command["type"] == "offer":
            await self.connection.setLocalDescription(await self.connection.createAnswer())
            self._describe()

    async def do_send(self, command: Command) -> None:
        messages = random_messages(command["sizes"])
        emit("sent", label=command["label"], digests=[digest(each) for each in messages])
        for message in messages:
            self.channels[command["label"]].send(message)

    async def do_send_text(self, command: Command) -> None:
        emit("sent", label=command["label"], digests=[digest(each) for each in command["texts"]])
        for text in command["texts"]:
            self.channels[command["label"]].send(text)

    async def do_close_channel(self, command: Command) -> None:
        self.channels[command["label"]].close()

    async def do_sink(self, command: Command) -> None:
        self.receiving[command["label"]].count_only()

    async def do_flood(self, command: Command) -> None:
        channel = self.channels[command["label"]]
        (message,) = random_messages([command["size"]])
        low = asyncio.Event()
        channel.bufferedAmountLowThreshold = LOW_WATER_BYTES
        channel.on("bufferedamountlow", low.set)
        cpu = time.process_time()
        end = time.perf_counter() + command["seconds"]
        while time.perf_counter() < end:
            low.clear()
            while channel.bufferedAmount < HIGH_WATER_BYTES:
                channel.send(message)
            await low.wait()
        while channel.bufferedAmount:
            await asyncio.sleep(0.005)
        emit("flooded", label=command["label"], cpu=time.process_time() - cpu)

    async def do_report(self, command: Command) -> None:
        self.receiving[command["label"]].report()

    async def do_quit(self, command: Command) -> None:
        await self.connection.close()

    def _describe(self) -> None:
        local = self.connection.localDescription
        emit("description", type=local.type, sdp=local.sdp)

    def _accept(self, channel: RTCDataChannel) -> None:
        self._adopt(channel)
        self._opened(channel)

    def _adopt(self, channel: RTCDataChannel) -> None:
        label = channel.label
        self.channels[label] = channel
        self.receiving[label] = Receiving(label)
        channel.on("message", self.receiving[label].add)
        channel.on("open", lambda: self._opened(channel))
        channel.on("close", lambda: emit("closed", label=label))

    def _opened(self, channel: RTCDataChannel) -> None:
        emit("open", label=channel.label, protocol=channel.protocol, ordered=channel.ordered, id=channel.id)


async def main() -> None:
    await serve(AiortcPeer().handle)


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
