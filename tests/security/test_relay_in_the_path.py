"""Relayed paths go through the same walls: a transfer over coturn, and a relay's server that sends nonsense."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aioice import stun

from tallow_cli.link.description import decode_untrusted, encode
from tallow_cli.link.link import IceServer, LinkOptions
from tallow_cli.webrtc.engines import ENGINES
from tests.security.test_strangers import connect, talk
from tests.support.link_end import LinkEnd

TURNSERVER = shutil.which("turnserver")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def coturn(directory: Path) -> AsyncIterator[int]:
    assert TURNSERVER is not None
    port = free_port()
    options = (
        f"-n --listening-ip 127.0.0.1 --relay-ip 127.0.0.1 --listening-port {port} --user u:p --realm r --lt-cred-mech "
        f"--allow-loopback-peers --no-tls --no-dtls --no-cli --log-file {directory}/log --simple-log "
        f"--pidfile {directory}/pid --userdb {directory}/db"
    )
    process = await asyncio.create_subprocess_exec(
        TURNSERVER, *options.split(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                break
        yield port
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(TURNSERVER is None, reason="coturn is not installed")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("engine", sorted(ENGINES))
async def test_two_peers_talk_over_a_relay(engine: str, transport: str, tmp_path: Path) -> None:
    async with coturn(tmp_path) as port:
        server = IceServer(f"turn:127.0.0.1:{port}?transport={transport}", "u", "p")
        options = LinkOptions(engine=engine, ice_servers=(server,), relay_only=True)
        host = await LinkEnd.prepare("host", options)
        joiner = await LinkEnd.prepare("joiner", options)
        try:
            await connect(host, joiner)
            assert host.link.traits.path.kind == joiner.link.traits.path.kind == "relayed"
            await talk(host, joiner)
        finally:
            await asyncio.gather(host.close(), joiner.close())


@pytest.mark.skipif(TURNSERVER is None, reason="coturn is not installed")
async def test_where_only_a_relay_may_be_used_the_description_holds_no_other_address(tmp_path: Path) -> None:
    """What the other side decrypts, whatever this machine has, and whatever becomes known of it later."""
    async with coturn(tmp_path) as port:
        servers = (
            IceServer(f"stun:127.0.0.1:{port}"),
            IceServer(f"turn:127.0.0.1:{port}", "u", "p"),
        )
        own = ("127.0.0.2", "127.0.0.3")
        for options in (
            LinkOptions(ice_servers=servers, relay_only=True),
            LinkOptions(
                ice_servers=servers, relay_only=True, own_addresses=own[:1], udp_ports=(50_300, 50_399)
            ),
        ):
            hidden = await LinkEnd.prepare("host", options)
            try:
                await hidden.gathered.offer(own)
                await hidden.gathered.add_servers(servers[:1])
                (shown,) = decode_untrusted(encode(hidden.description)).candidates
                assert (shown.type, shown.related_address, shown.related_port) == ("relay", "0.0.0.0", 9)
                assert not any(address.encode() in encode(hidden.description) for address in own)
                assert [each.local_candidate.type for each in hidden.ice._connection._protocols] == ["relay"]
            finally:
                await hidden.close()


class _Nonsense(asyncio.DatagramProtocol):
    """A TURN server that answers each request with many things, the request's own number in some of them."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert self.transport is not None
        for _ in range(100):
            self.transport.sendto(nonsense(self._rng, data), addr)


def nonsense(rng: random.Random, request: bytes) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(80))
    if kind == 1:
        return struct.pack("!HH", 0x4000 | rng.randrange(8), rng.randrange(70)) + rng.randbytes(
            rng.randrange(60)
        )
    body = b"".join(
        struct.pack("!HH", rng.choice((9, 13, 20, 21, 22, 32, 0x8028, 0x24)), size)
        + rng.randbytes(size + -size % 4)
        for size in (rng.choice((0, 1, 3, 4, 8, 20)) for _ in range(rng.randrange(6)))
    )
    kinds = (0x0113, 0x0103, 0x0017, 0x0111, 0x0101)
    return struct.pack("!HHI", rng.choice(kinds), len(body), 0x2112A442) + request[8:20] + body


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_relay_server_that_sends_nonsense_costs_its_relay_and_nothing_else(transport: str) -> None:
    rng = random.Random(int(os.environ.get("TALLOW_SEED", "5")))
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read(2000)
        for _ in range(200):
            writer.write(nonsense(rng, request))
        await writer.drain()
        writer.close()

    if transport == "udp":
        endpoint, _ = await loop.create_datagram_endpoint(lambda: _Nonsense(rng), local_addr=("127.0.0.1", 0))
        port = endpoint.get_extra_info("sockname")[1]
        closing = endpoint.close
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        closing = server.close
    try:
        for _ in range(3):
            options = LinkOptions(
                ice_servers=(IceServer(f"turn:127.0.0.1:{port}?transport={transport}", "u", "p"),)
            )
            host = await LinkEnd.prepare("host", options)
            joiner = await LinkEnd.prepare("joiner", LinkOptions())
            try:
                await connect(host, joiner)
                await talk(host, joiner)
            finally:
                await asyncio.gather(host.close(), joiner.close())
    finally:
        closing()
        await asyncio.sleep(0.05)
    assert complaints == []


@pytest.mark.parametrize("relayed", [("192.0.2.9", 0), ("224.0.0.1", 9), ("0.0.0.0", 9)])
async def test_a_relay_whose_address_cannot_be_one_gave_none(relayed: tuple[str, int]) -> None:
    class Relay(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            asked = stun.parse_message(data)
            answer = stun.Message(asked.message_method, stun.Class.RESPONSE, asked.transaction_id)
            answer.attributes["LIFETIME"] = 600
            answer.attributes["XOR-MAPPED-ADDRESS"] = addr
            answer.attributes["XOR-RELAYED-ADDRESS"] = relayed
            self.transport.sendto(bytes(answer), addr)

    endpoint, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Relay, local_addr=("127.0.0.1", 0)
    )
    url = f"turn:127.0.0.1:{endpoint.get_extra_info('sockname')[1]}"
    end = await LinkEnd.prepare("host", LinkOptions(ice_servers=(IceServer(url, "u", "p"),)))
    try:
        described = decode_untrusted(encode(end.description))
        assert "relay" not in [each.type for each in described.candidates]
        assert described.survey.relay == "failed"
    finally:
        await end.close()
        endpoint.close()
