"""Hostile clients of the signaling server, on the wire: what they cannot take, hold or learn."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from signaling.limits import LOOPBACK_LIMITS, PUBLIC_LIMITS, PrefixLimits, ServerLimits
from signaling.protocol import (
    MAX_BODY_BYTES,
    MAX_MESSAGE_BYTES,
    Allocate,
    Allocated,
    ClientMessage,
    Error,
    Hello,
    Join,
    Joined,
    Relay,
    ServerMessage,
    Welcome,
    decode_server_message_untrusted,
    encode,
)
from signaling.server import SignalingServer
from tests.support.certificates import self_signed

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@asynccontextmanager
async def running(
    prefix: PrefixLimits = LOOPBACK_LIMITS, limits: ServerLimits | None = None, **options: object
) -> AsyncIterator[tuple[SignalingServer, int]]:
    limits = replace(limits or ServerLimits(), loopback=prefix)
    server = SignalingServer(limits=limits, **options)  # type: ignore[arg-type]  # passed through
    port = await server.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(20):
            yield server, port
    finally:
        await server.close()


class Client:
    """Speaks the protocol by hand."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    @classmethod
    async def greeted(cls, port: int, forwarded_for: str | None = None) -> Client:
        headers = {"X-Forwarded-For": forwarded_for} if forwarded_for else {}
        client = cls(
            await connect(f"ws://127.0.0.1:{port}", proxy=None, compression=None, additional_headers=headers)
        )
        assert await client.hear() == Welcome(1)
        await client.say(Hello(1))
        return client

    async def say(self, message: ClientMessage) -> None:
        await self.connection.send(encode(message))

    async def hear(self) -> ServerMessage:
        return decode_server_message_untrusted(await self.connection.recv())

    async def ask(self, message: ClientMessage) -> ServerMessage:
        await self.say(message)
        return await self.hear()

    async def end(self) -> int:
        """The code the server closes with, after whatever it still says."""
        with pytest.raises(ConnectionClosed) as caught:
            await self._hear_all()
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code

    async def _hear_all(self) -> None:
        while True:
            await self.hear()


async def status_of(port: int, **options: object) -> int:
    """The HTTP status a refused WebSocket gets."""
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://127.0.0.1:{port}", proxy=None, **options)  # type: ignore[arg-type]  # passed through
    return caught.value.response.status_code


def error_code(message: ServerMessage) -> str:
    assert isinstance(message, Error)
    return message.code


async def closed_by_server(reader: asyncio.StreamReader) -> None:
    """Read until the server ends the connection."""
    try:
        while await reader.read(65_536):
            pass
    except ConnectionError:
        pass


# Guessing, and taking too much.


async def test_guessing_nameplates_is_stopped_after_five() -> None:
    async with running(replace(LOOPBACK_LIMITS, wrong_nameplates=5)) as (server, port):
        host, guesser = await Client.greeted(port), await Client.greeted(port)
        await host.ask(Allocate("4821"))
        answers = [error_code(await guesser.ask(Join(str(guess)))) for guess in range(1, 6)]
        assert answers == ["unknown-nameplate"] * 5
        assert error_code(await guesser.ask(Join("4821"))) == "rate-limited"
        another = await Client.greeted(port)
        assert error_code(await another.ask(Join("4821"))) == "rate-limited", "a new connection does not help"
        assert server.metrics.limits["penalty"] == 2


async def test_the_public_limits_hold_for_clients_from_elsewhere() -> None:
    """Loopback stands in for the internet: a trusted proxy forwards an address of it."""
    headers = {"X-Forwarded-For": "10.0.0.1, 203.0.113.7"}
    async with running(trusted_proxies=frozenset({"127.0.0.1"})) as (server, port):
        clients = [
            await connect(f"ws://127.0.0.1:{port}", proxy=None, additional_headers=headers)
            for _ in range(PUBLIC_LIMITS.connections)
        ]
        assert await status_of(port, additional_headers=headers) == 429
        other = {"X-Forwarded-For": "203.0.113.8"}
        clients.append(await connect(f"ws://127.0.0.1:{port}", proxy=None, additional_headers=other))
        assert server.metrics.limits == {"prefix-connections": 1}
        for client in clients:
            await client.close()


async def test_a_forwarded_address_from_anybody_else_is_not_believed() -> None:
    async with running(replace(LOOPBACK_LIMITS, connections=1)) as (_, port):
        headers = {"X-Forwarded-For": "203.0.113.7"}
        client = await connect(f"ws://127.0.0.1:{port}", proxy=None, additional_headers=headers)
        assert await status_of(port, additional_headers={"X-Forwarded-For": "203.0.113.8"}) == 429
        await client.close()


async def test_a_full_server_says_so_and_recovers() -> None:
    async with running(limits=ServerLimits(connections=1)) as (_, port):
        client = await Client.greeted(port)
        assert await status_of(port) == 503
        await client.connection.close()
        await asyncio.sleep(0.05)
        await Client.greeted(port)


async def test_a_room_cannot_be_used_as_a_tunnel() -> None:
    async with running() as (_, port):
        host, joiner = await Client.greeted(port), await Client.greeted(port)
        await host.ask(Allocate("4821"))
        assert await joiner.ask(Join("4821")) == Joined()
        for _ in range(11):
            await joiner.say(Relay(bytes(MAX_BODY_BYTES)))
        assert error_code(await joiner.hear()) == "room-limit"


async def test_flooding_ends_the_connection() -> None:
    async with running() as (_, port):
        client = await Client.greeted(port)
        for _ in range(33):
            await client.say(Relay(b"x"))
        assert await client.end() == 4429


# Messages that are none.


@pytest.mark.parametrize("data", [b"binary", "not JSON", '{"type":"list-rooms"}', "[" * 16_000])
async def test_garbage_ends_the_connection(data: str | bytes) -> None:
    async with running() as (server, port):
        client = await Client.greeted(port)
        await client.connection.send(data)
        assert await client.end() == 4400
        assert server.metrics.malformed == 1


async def test_an_oversized_message_ends_the_connection() -> None:
    async with running() as (_, port):
        client = await Client.greeted(port)
        await client.connection.send("x" * (MAX_MESSAGE_BYTES + 1))
        assert await client.end() == 1009


async def test_endless_empty_fragments_end_the_connection() -> None:
    """Each takes memory and none counts as bytes of the message."""
    async with running() as (_, port):
        client = await Client.greeted(port)
        masked_nothing = b"\x80\x00\x00\x00\x00"
        client.connection.transport.write(b"\x01" + masked_nothing + (b"\x00" + masked_nothing) * 20_000)
        assert await client.end() == 1009


async def test_the_server_offers_no_compression() -> None:
    async with running() as (_, port):
        client = await connect(f"ws://127.0.0.1:{port}", proxy=None, compression="deflate")
        assert client.protocol.extensions == []
        await client.close()


# Holding on.


async def test_a_client_that_never_finishes_its_request_is_dropped() -> None:
    async with running(limits=ServerLimits(open_s=0.2)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE[:-2])
        begun = time.perf_counter()
        await closed_by_server(reader)
        assert time.perf_counter() - begun < 1
        writer.close()


async def test_pending_handshakes_of_one_network_do_not_use_up_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(replace(LOOPBACK_LIMITS, pending_handshakes=3)) as (_, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert await status_of(port) == 429
        for _, writer in silent:
            writer.close()
        await asyncio.sleep(0.05)
        await Client.greeted(port)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*self_signed(tmp_path_factory.mktemp("tls")))
    return context


@asynccontextmanager
async def idle_connections(port: int, count: int) -> AsyncIterator[list[socket.socket]]:
    """TCP connections that say nothing: those of them that the server keeps."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.setblocking(False)
            await loop.sock_connect(each, ("127.0.0.1", port))
        await asyncio.sleep(0.2)
        yield [each for each in opened if not is_dropped(each)]


def is_dropped(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("with_tls", [False, True], ids=["ws", "wss"])
async def test_connections_over_a_limit_are_dropped_as_they_are_accepted(
    with_tls: bool, tls: ssl.SSLContext
) -> None:
    prefix = replace(LOOPBACK_LIMITS, pending_handshakes=16)
    limits = ServerLimits(told=4)
    async with (
        running(prefix, limits, tls=tls if with_tls else None) as (server, port),
        idle_connections(port, 200) as kept,
    ):
        assert len(kept) == 16 + 4
        assert server._admission._pending == 16
        assert server.metrics.limits == {"prefix-connections": 184}


async def test_tls_handshakes_that_take_too_long_are_ended(tls: ssl.SSLContext) -> None:
    impatient = ServerLimits(open_s=0.3)
    async with running(limits=impatient, tls=tls) as (server, port), idle_connections(port, 1) as [silent]:
        assert server._admission._pending == 1
        async with asyncio.timeout(2):
            while not is_dropped(silent) or server._admission._pending:
                await asyncio.sleep(0.01)


async def test_a_server_out_of_descriptors_goes_on_when_there_are_some_again() -> None:
    async with running(limits=ServerLimits(breather_s=0.05)) as (_, port):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        client = socket.socket()
        client.setblocking(False)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
            await asyncio.sleep(0.2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.close()
        await Client.greeted(port)


async def test_a_visitor_who_comes_and_goes_without_a_word_is_stopped_like_one_who_guesses() -> None:
    async with running(replace(LOOPBACK_LIMITS, wrong_nameplates=3)) as (_, port):
        host = await Client.greeted(port)
        for _ in range(3):
            await host.ask(Allocate("4821"))
            visitor = await Client.greeted(port)
            assert await visitor.ask(Join("4821")) == Joined()
            await visitor.connection.close()
            await host.hear()  # peer-joined
            await host.hear()  # peer-left
        await host.ask(Allocate("4821"))
        again = await Client.greeted(port)
        assert error_code(await again.ask(Join("4821"))) == "rate-limited"


async def test_a_burned_number_is_not_for_a_stranger_to_choose_but_for_its_own_host() -> None:
    async with running(trusted_proxies=["127.0.0.1"]) as (_, port):
        host, visitor = await Client.greeted(port, "203.0.113.7"), await Client.greeted(port, "198.51.100.9")
        nameplate = (await host.ask(Allocate())).nameplate  # type: ignore[union-attr]
        assert await visitor.ask(Join(nameplate)) == Joined()
        await host.hear()
        assert error_code(await visitor.ask(Allocate(nameplate))) == "nameplate-taken"
        back = await Client.greeted(port, "203.0.113.7")
        assert await back.ask(Allocate(nameplate)) == Allocated(nameplate)


# Proxies.


async def test_on_a_dual_stack_socket_a_proxys_visitors_are_told_apart() -> None:
    server = SignalingServer(trusted_proxies=["127.0.0.0/8"], warn=pytest.fail)
    port = await server.start("", 0)
    try:
        for address in ("203.0.113.7", "203.0.113.8", "203.0.113.7"):
            await Client.greeted(port, address)
        assert len(server._admission._memory._busy) == 3, "two visitors, and the block both are in"
    finally:
        await server.close()


async def test_a_proxy_that_is_not_named_or_does_not_say_whom_it_forwards_is_pointed_out_once() -> None:
    warnings: list[str] = []
    async with running(warn=warnings.append) as (_, port):
        for address in ("203.0.113.7", "203.0.113.8"):
            await Client.greeted(port, address)
        [unnamed] = warnings
        assert unnamed.endswith("Name it: --trust-proxy 127.0.0.1")
    async with running(trusted_proxies=["127.0.0.1"], warn=warnings.append) as (server, port):
        for _ in range(2):
            await Client.greeted(port)
        [_, silent] = warnings
        assert "sends no X-Forwarded-For" in silent
        [usage, *_] = server._admission._memory._busy.values()
        assert usage.limits == PUBLIC_LIMITS, "nobody gets the limits of a local program by accident"


async def test_a_client_that_says_no_hello_is_dropped() -> None:
    async with running(limits=ServerLimits(hello_s=0.1)) as (_, port):
        connection = await connect(f"ws://127.0.0.1:{port}", proxy=None)
        assert await Client(connection).end() == 4408


@pytest.mark.parametrize(
    "broken",
    [b"\xff\x00", b"\x81\x05hello", b"\x81\xfe\xff\xff\x00\x00\x00\x00", b"\x80\x80\x00\x00\x00\x00"],
    ids=["reserved", "unmasked", "65,535 bytes", "a continuation of nothing"],
)
async def test_a_client_that_breaks_the_framing_and_stays_is_dropped(broken: bytes) -> None:
    async with running() as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(broken)
        try:
            await closed_by_server(reader)  # its half; ours stays open
            async with asyncio.timeout(2):
                while server.metrics.connections:
                    await asyncio.sleep(0.01)
        finally:
            writer.close()


async def test_a_client_that_does_not_read_holds_up_neither_its_peer_nor_the_end() -> None:
    async with running() as (server, port):
        host = await Client.greeted(port)
        await host.ask(Allocate("4821"))
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", port))
        await loop.sock_sendall(deaf, HANDSHAKE)
        for message in (Hello(1), Join("4821")):
            data = encode(message).encode()
            await loop.sock_sendall(deaf, bytes((0x81, 0x80 | len(data), 0, 0, 0, 0)) + data)
        await host.hear()
        for _ in range(10):
            await host.say(Relay(bytes(MAX_BODY_BYTES)))
        assert error_code(await host.ask(Join("7"))) == "unknown-nameplate"
        begun = time.perf_counter()
        await server.close()
        assert time.perf_counter() - begun < 2
        deaf.close()


# Web pages, proxies, monitors.


async def test_a_web_page_may_not_connect_unless_it_is_allowed() -> None:
    async with running(allowed_origins=("https://tallow.example",)) as (_, port):
        assert await status_of(port, origin=Origin("https://evil.example")) == 403
        allowed = await connect(f"ws://127.0.0.1:{port}", proxy=None, origin=Origin("https://tallow.example"))
        await allowed.close()


async def test_a_monitor_can_ask_whether_the_server_lives_and_learns_nothing_else() -> None:
    async with running() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nok\n")
        assert b"server:" not in answer.lower()
        writer.close()


# Resources.


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_an_idle_socket_costs_less_than_40_kib() -> None:
    count = 300
    command = [sys.executable, "-m", "signaling", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r":(\d+)$", process.stderr.readline())
            assert found is not None
            warm_up = [_idle_socket(int(found[1])) for _ in range(20)]
            before = _resident_bytes(process.pid)
            sockets = [_idle_socket(int(found[1])) for _ in range(count)]
            each = (_resident_bytes(process.pid) - before) / count
            for one in warm_up + sockets:
                one.close()
        finally:
            process.kill()
    assert each < 40 * 1024, f"{each:,.0f} bytes"


def _idle_socket(port: int) -> socket.socket:
    """A client that has greeted and waits."""
    opened = socket.create_connection(("127.0.0.1", port), timeout=10)
    opened.sendall(HANDSHAKE)
    hello = encode(Hello(1)).encode()
    opened.sendall(bytes((0x81, 0x80 | len(hello), 0, 0, 0, 0)) + hello)
    heard = b""
    while b'"welcome"' not in heard:
        heard += opened.recv(4_096)
    return opened


def _resident_bytes(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
