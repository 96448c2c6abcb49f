"""The real signaling server and the real client, over sockets."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from signaling.limits import EMBEDDED_LIMITS, ServerLimits
from signaling.listening import CannotListen
from signaling.protocol import MAX_BODY_BYTES
from signaling.server import SignalingServer
from tallow_cli.errors import (
    NameplateTaken,
    PeerNeverCame,
    PeerVanished,
    ServerProtocolError,
    ServerUnreachable,
    SignalingError,
    UnknownNameplate,
)
from tallow_cli.meeting.discovery import announce, find
from tallow_cli.meeting.local_discovery import LocalDirectories
from tallow_cli.meeting.signaling_client import SignalingClient
from tests.support.certificates import self_signed
from tests.support.signaling_program import listening_url

pytestmark = pytest.mark.e2e


@asynccontextmanager
async def running(server: SignalingServer | None = None, host: str = "127.0.0.1") -> AsyncIterator[str]:
    server = server or SignalingServer()
    port = await server.start(host, 0)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.close()


async def pair(url: str) -> tuple[SignalingClient, SignalingClient]:
    host, joiner = await SignalingClient.connect(url), await SignalingClient.connect(url)
    await joiner.join(await host.allocate())
    await host.wait_for_peer(timeout_s=5)
    return host, joiner


# Two clients and a room.


async def test_two_clients_exchange_bodies_through_a_room() -> None:
    async with running() as url:
        host, joiner = await pair(url)
        await joiner.send(b"hello")
        await joiner.send(bytes(MAX_BODY_BYTES))
        assert [await host.recv(), await host.recv()] == [b"hello", bytes(MAX_BODY_BYTES)]
        await host.send(b"\x00\xff")
        assert await joiner.recv() == b"\x00\xff"
        await joiner.close()
        with pytest.raises(PeerVanished):
            await host.recv()
        await host.close()


async def test_after_a_wrong_guess_the_host_offers_a_fresh_room_on_the_same_connection() -> None:
    async with running() as url:
        host, wrong = await pair(url)
        await wrong.send(b"a wrong guess")
        fresh = await host.allocate()
        with pytest.raises(PeerVanished):
            await wrong.recv()
        right = await SignalingClient.connect(url)
        await right.join(fresh)
        await host.wait_for_peer(timeout_s=5)
        await right.send(b"the right one")
        assert await host.recv() == b"the right one", "nothing of the room before is left"
        for client in (host, wrong, right):
            await client.close()


async def test_an_unknown_a_burned_and_a_taken_nameplate() -> None:
    async with running() as url:
        host, joiner = await pair(url)
        third = await SignalingClient.connect(url)
        assert await third.allocate("4821") == "4821"
        with pytest.raises(NameplateTaken, match="under the number 4821"):
            await host.allocate("4821")
        with pytest.raises(UnknownNameplate, match=f"at ws://{url}"):
            await joiner.join("4822")
        await joiner.join("4821")
        with pytest.raises(UnknownNameplate):
            await host.join("4821")
        for client in (host, joiner, third):
            await client.close()


async def test_a_receiver_may_start_before_the_sender() -> None:
    async with running() as url:
        host, joiner = await SignalingClient.connect(url), await SignalingClient.connect(url)
        joining = asyncio.create_task(joiner.join("4821", wait_s=10))
        await asyncio.sleep(0.05)
        await host.allocate("4821")
        await host.wait_for_peer(timeout_s=5)
        await joining
        await host.close()
        await joiner.close()


async def test_a_room_nobody_joins_expires() -> None:
    server = SignalingServer(limits=ServerLimits(unjoined_s=0.1))
    async with running(server) as url, await SignalingClient.connect(url) as host:
        await host.allocate()
        with pytest.raises(PeerNeverCame):
            await host.wait_for_peer(timeout_s=5)
        await host.allocate()


async def test_an_idle_client_is_let_go() -> None:
    server = SignalingServer(limits=ServerLimits(idle_s=0.1))
    async with running(server) as url, await SignalingClient.connect(url) as client:
        await asyncio.sleep(0.3)
        with pytest.raises(SignalingError):
            await client.allocate()


async def test_a_hundred_transfers_one_after_another_meet_no_limit() -> None:
    async with running() as url:
        for _ in range(100):
            host, joiner = await pair(url)
            await joiner.send(b"x")
            assert await host.recv() == b"x"
            await joiner.close()
            await host.close()


# Starting and stopping.


async def test_closing_the_server_is_quick_and_tells_every_client() -> None:
    server = SignalingServer(limits=EMBEDDED_LIMITS)
    port = await server.start("127.0.0.1", 0)
    host, joiner = await pair(f"127.0.0.1:{port}")
    _, half_open = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.05)
    begun = time.perf_counter()
    waiting = asyncio.create_task(host.recv())
    await server.close()
    assert time.perf_counter() - begun < 0.5
    with pytest.raises((ServerUnreachable, PeerVanished)):
        await waiting
    with pytest.raises((ServerUnreachable, PeerVanished)):
        await joiner.recv()
    with pytest.raises(ServerUnreachable, match="nothing listens there"):
        await SignalingClient.connect(f"127.0.0.1:{port}")
    half_open.close()
    await host.close()
    await joiner.close()
    await server.close()
    assert (server.metrics.connections, server.metrics.rooms) == (0, 0)


async def test_every_address_means_ipv4_and_ipv6_on_one_port() -> None:
    async with running(host="") as url:
        hosts = ["127.0.0.1", *(["[::1]"] if socket.has_ipv6 else [])]
        for host in hosts:
            async with await SignalingClient.connect(url.replace("127.0.0.1", host)) as client:
                await client.allocate()


async def test_messages_are_not_held_back_by_nagle() -> None:
    """Sockets from `socket.create_server` have Nagle's algorithm on: a round trip took 40 ms more."""
    async with running(host="") as url, await SignalingClient.connect(url) as client:
        begun = time.perf_counter()
        for _ in range(20):
            with pytest.raises(UnknownNameplate):
                await client.join("4821")
        assert (time.perf_counter() - begun) / 20 < 0.03


async def test_a_port_in_use_is_said_in_one_sentence() -> None:
    async with running() as url, running(host="") as other:
        for host, taken in (("127.0.0.1", url), ("", other)):
            with pytest.raises(CannotListen, match="is in use"):
                await SignalingServer().start(host, int(taken.rpartition(":")[2]))


async def test_an_address_of_another_machine_is_said_in_one_sentence() -> None:
    for host in ("192.0.2.254", "no such name"):
        with pytest.raises(CannotListen, match="is not an address of this machine"):
            await SignalingServer().start(host, 0)


async def test_a_sender_is_found_and_reached_by_its_nameplate(tmp_path: Path) -> None:
    directories = LocalDirectories((tmp_path / "tallow",))
    async with running(SignalingServer(limits=EMBEDDED_LIMITS), host="") as url:
        host = await SignalingClient.connect(url)
        nameplate = await host.allocate()
        async with announce(nameplate, int(url.rpartition(":")[2]), use_mdns=False, directories=directories):
            urls = await find(nameplate, 5.0, use_mdns=False, directories=directories)
            joiner = await SignalingClient.connect_any(urls)
            await joiner.join(nameplate)
            await host.wait_for_peer(timeout_s=5)
        await joiner.close()
        await host.close()


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


async def test_tls_works_with_a_trusted_certificate_and_is_refused_without(
    certificate: tuple[Path, Path],
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with running(SignalingServer(tls=context)) as url:
        async with await SignalingClient.connect(f"wss://{url}", tls=trusting) as client:
            await client.allocate()
        with pytest.raises(ServerUnreachable, match="certificate is not trusted"):
            await SignalingClient.connect(f"wss://{url}")
        with pytest.raises((ServerUnreachable, ServerProtocolError)):
            await SignalingClient.connect(f"ws://{url}", timeout_s=2)


# The command.


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "signaling", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_says_where_it_listens_and_stops_properly(number: signal.Signals) -> None:
    with command("--port", "0") as process:
        url = listening_url(process)
        host, joiner = await pair(url)
        process.send_signal(number)
        with pytest.raises((ServerUnreachable, PeerVanished)):
            await host.recv(timeout_s=5)
        assert process.wait(timeout=5) == 0
        assert process.stderr is not None
        assert process.stderr.read() == "Stopping.\n"
        await host.close()
        await joiner.close()


async def test_the_log_names_no_address_and_no_nameplate() -> None:
    with command("--port", "0", "--verbose") as process:
        host, joiner = await pair(listening_url(process))
        nameplate = await host.allocate("987654321")
        with pytest.raises(UnknownNameplate):
            await joiner.join("123456789")
        await host.close()
        await joiner.close()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=5)
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {event["event"] for event in events} >= {"connected", "disconnected", "stopped"}
    assert events[-1]["tallow_rooms_total"] == 2
    assert nameplate not in log
    assert "123456789" not in log
    assert "127.0.0.1" not in log


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "192.0.2.254"], "192.0.2.254 is not an address of this machine. Choose another --host."),
        (["--tls-key", "key.pem"], "--tls-key needs --tls-cert."),
        (
            ["--tls-cert", "/no/such.pem"],
            "The TLS certificate /no/such.pem cannot be used (No such file or directory).",
        ),
        (["--tls-cert", "/dev/null"], "The TLS certificate /dev/null cannot be used ("),
        (
            ["--trust-proxy", "localhost"],
            "--trust-proxy: 'localhost' is neither an address like 127.0.0.1 nor",
        ),
        (["--trust-proxy", "10.0.0.0/40"], "--trust-proxy: '10.0.0.0/40' is neither an address"),
    ],
)
def test_the_command_says_in_one_sentence_why_it_cannot_start(arguments: list[str], sentence: str) -> None:
    with command("--port", "0", *arguments) as process:
        _, said = process.communicate(timeout=10)
    assert process.returncode == 2
    assert said.startswith(f"tallow-signaling: {sentence}")
    assert said.count("\n") == 1


def test_the_command_says_that_the_port_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with command("--port", str(port)) as process:
            _, said = process.communicate(timeout=10)
    assert process.returncode == 2
    assert said == (
        f"tallow-signaling: Port {port} is in use, so the server cannot listen on 127.0.0.1:{port}. "
        "Choose another with --port.\n"
    )
