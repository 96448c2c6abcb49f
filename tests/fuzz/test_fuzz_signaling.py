"""The real signaling server and the real signaling client, on sockets, under hostile HTTP and WebSocket bytes."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from signaling.protocol import (
    Allocate,
    Allocated,
    Error,
    Hello,
    Join,
    Joined,
    PeerJoined,
    PeerLeft,
    Relay,
    Relayed,
    Welcome,
    encode,
)
from signaling.server import SignalingServer
from tallow_cli.errors import TallowError
from tallow_cli.meeting.signaling_client import SignalingClient
from tests.fuzz.harness import probing
from tests.fuzz.hostile_input import mutated, some_bytes, websocket_frames
from tests.support.hostile_server import HostileServer, Wire, frame

pytestmark = pytest.mark.timeout(0)  # the harness has a watchdog of its own

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def client_texts(rng: Random) -> list[str]:
    number = str(rng.randrange(1, 10_000))
    texts = [
        encode(each) for each in (Hello(1), Allocate(), Allocate(number), Join(number), Relay(b"x" * 60))
    ]
    return [*texts, '{"type":"hello","version":2}', "[" * 900, '{"type":"relay","body":"!"}', ""] + [
        mutated(rng, each.encode()).decode(errors="replace") for each in texts
    ]


def server_texts(rng: Random) -> list[str]:
    texts = [
        encode(each)
        for each in (
            Welcome(1),
            Allocated("4821"),
            Joined(),
            PeerJoined(),
            Relayed(some_bytes(rng, 300)),
            PeerLeft(),
            Error("unknown-nameplate", "none"),
            Error("rate-limited"),
            Error("no-such-code", "x" * 100),
        )
    ]
    return (
        texts + [mutated(rng, each.encode()).decode(errors="replace") for each in texts] + ["{}", "[" * 900]
    )


async def hostile_client(rng: Random, port: int) -> None:
    """One connection: a wrong request, or a right one and then anything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(0.4):
                if rng.random() < 0.3:
                    writer.write(mutated(rng, HANDSHAKE, 3) + some_bytes(rng, 300))
                    if rng.random() < 0.2:
                        writer.write(b"X-Header: " + bytes(30_000))
                else:
                    writer.write(HANDSHAKE)
                    await reader.readuntil(b"\r\n\r\n")
                    if rng.random() < 0.8:
                        hello = encode(Hello(1)).encode()
                        writer.write(struct.pack("!BB", 0x81, 0x80 | len(hello)) + bytes(4) + hello)
                    for _ in range(rng.randrange(1, 6)):
                        writer.write(websocket_frames(rng, masked=True, texts=client_texts(rng)))
                        await asyncio.sleep(0.001 * rng.randrange(4))
                if rng.random() < 0.7:
                    while await reader.read(65_536):
                        pass
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.transport.abort()


async def test_clients_of_the_server() -> None:
    async with probing("signaling server") as probe:
        while probe.goes_on():
            server = SignalingServer()
            port = await server.start("127.0.0.1", 0)
            try:
                host = await SignalingClient.connect(f"127.0.0.1:{port}")
                joiner = await SignalingClient.connect(f"127.0.0.1:{port}")
                nameplate = await host.allocate()
                attack = asyncio.gather(*(hostile_client(probe.rng, port) for _ in range(40)))
                await joiner.join(nameplate)
                await host.wait_for_peer(timeout_s=10)
                while not attack.done():
                    await joiner.send(b"question")
                    assert await host.recv() == b"question"
                    await host.send(b"answer")
                    assert await joiner.recv() == b"answer"
                    await asyncio.sleep(0.1)
                await attack
                await asyncio.gather(host.close(), joiner.close())
                async with asyncio.timeout(10):
                    while server._connected or server._gate.unopened:
                        await asyncio.sleep(0.02)
            finally:
                await server.close()


async def test_servers_of_the_client() -> None:
    async with probing("signaling client") as probe:
        rng = probe.rng

        async def misbehave(wire: Wire) -> None:
            request = await wire.request()
            if rng.random() < 0.2:
                await wire.raw(mutated(rng, wire.acceptance(request)) + some_bytes(rng, 300))
            else:
                await wire.raw(wire.acceptance(request))
                if rng.random() < 0.9:
                    await wire.raw(frame(1, encode(Welcome(1)).encode()))
                if rng.random() < 0.5:
                    await wire.hear()
                    answer = rng.choice((Allocated("4821"), Joined(), PeerJoined()))
                    await wire.raw(frame(1, encode(answer).encode()))
                for _ in range(rng.randrange(5)):
                    await wire.raw(websocket_frames(rng, masked=False, texts=server_texts(rng)))
            if rng.random() < 0.5:
                await wire.silence()

        async def use(url: str) -> None:
            client: SignalingClient | None = None
            uses: list[Any] = [
                lambda c: c.allocate(),
                lambda c: c.join("4821"),
                lambda c: c.wait_for_peer(timeout_s=0.3),
                lambda c: c.send(b"x" * 100),
                lambda c: c.recv(timeout_s=0.3),
            ]
            try:
                client = await SignalingClient.connect(url, timeout_s=0.3)
                async with asyncio.timeout(0.8):
                    for _ in range(4):
                        await rng.choice(uses)(client)
            except (TallowError, TimeoutError):
                pass
            finally:
                if client is not None:
                    await client.close()

        while probe.goes_on():
            async with HostileServer(misbehave) as url, asyncio.timeout(15):
                await asyncio.gather(*(use(url) for _ in range(20)))
