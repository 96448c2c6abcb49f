"""A libdatachannel peer (PyPI `aiolibdatachannel`), driven as peer_protocol.py says. Python 3.12 or newer."""

from __future__ import annotations

import asyncio
import time

from aiolibdatachannel import (
    ConnectionClosedError,
    DataChannel,
    DataChannelOptions,
    PeerConnection,
    RTCConfiguration,
    StateChangeEvent,
)
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


class LibdatachannelPeer:
    def __init__(self) -> None:
        self.connection = PeerConnection(RTCConfiguration())
        self.channels: dict[str, DataChannel] = {}
        self.receiving: dict[str, Receiving] = {}
        self.tasks = [
            asyncio.create_task(self._watch_connection()),
            asyncio.create_task(self._accept()),
        ]

    async def handle(self, command: Command) -> None:
        await getattr(self, "do_" + command["do"])(command)

    async def do_channel(self, command: Command) -> None:
        options = DataChannelOptions(
            ordered=command.get("ordered", True),
            max_retransmits=command.get("max_retransmits"),
            protocol=command.get("protocol", ""),
            negotiated=command.get("id") is not None,
            stream_id=command.get("id"),
        )
        self._adopt(await self.connection.create_data_channel(command["label"], options))

    async def do_offer(self, command: Command) -> None:
        offer = await self.connection.create_offer()
        emit("description", type=offer.type, sdp=offer.sdp)

    async def do_remote(self, command: Command) -> None:
        await self.connection.set_remote_description(command["sdp"], command["type"])
        if command["type"] == "offer":
            answer = await self.connection.create_answer()
            emit("description", type=answer.type, sdp=answer.sdp)

    async def do_send(self, command: Command) -> None:
        messages = random_messages(command["sizes"])
        emit("sent", label=command["label"], digests=[digest(each) for each in messages])
        for message in messages:
            await self._send(self.channels[command["label"]], message)

    async def do_send_text(self, command: Command) -> None:
        emit("sent", label=command["label"], digests=[digest(each) for each in command["texts"]])
        for text in command["texts"]:
            await self._send(self.channels[command["label"]], text)

    async def do_close_channel(self, command: Command) -> None:
        channel = self.channels[command["label"]]
        while channel.buffered_amount:
            await asyncio.sleep(0.005)
        channel.close()

    async def do_sink(self, command: Command) -> None:
        self.receiving[command["label"]].count_only()

    async def do_flood(self, command: Command) -> None:
        channel = self.channels[command["label"]]
        (message,) = random_messages([command["size"]])
        cpu = time.process_time()
        end = time.perf_counter() + command["seconds"]
        while time.perf_counter() < end:
            await self._send(channel, message)
        while channel.buffered_amount and not channel.is_closed:
            await asyncio.sleep(0.005)
        emit("flooded", label=command["label"], cpu=time.process_time() - cpu)

    async def do_report(self, command: Command) -> None:
        self.receiving[command["label"]].report()

    async def do_quit(self, command: Command) -> None:
        await self.connection.aclose()
        for task in self.tasks:
            task.cancel()

    async def _send(self, channel: DataChannel, message: bytes | str) -> None:
        while channel.buffered_amount > HIGH_WATER_BYTES:
            await asyncio.sleep(0.0005)
        await channel.send(message, wait_for_drain=False)

    def _adopt(self, channel: DataChannel) -> None:
        label = channel.label
        channel.set_buffered_amount_low_threshold(LOW_WATER_BYTES)
        self.channels[label] = channel
        self.receiving[label] = Receiving(label)
        self.tasks.append(asyncio.create_task(self._receive(label, channel)))

    async def _receive(self, label: str, channel: DataChannel) -> None:
        try:
            await channel.wait_open()
            emit("open", label=label, protocol=channel.protocol, id=channel.stream_id)
            async for message in channel:
                self.receiving[label].add(message)
        except ConnectionClosedError:
            pass
        emit("closed", label=label)

    async def _accept(self) -> None:
        async for channel in self.connection.incoming_data_channels():
            self._adopt(channel)

    async def _watch_connection(self) -> None:
        async for event in self.connection.events():
            if isinstance(event, StateChangeEvent):
                emit("connection", state=event.state.name.lower())


async def main() -> None:
    await serve(LibdatachannelPeer().handle)


if __name__ == "__main__":
    asyncio.run(main())
