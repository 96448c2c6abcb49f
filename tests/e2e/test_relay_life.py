"""A real coturn with lifetimes of seconds: what keeps a relayed way open for hours, and what ends it."""

from __future__ import annotations

import asyncio
import base64
import hmac
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tallow_cli.webrtc.relay_client import RelayOverUdp
from tallow_cli.webrtc.relay_transport import RelayTransport

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed"),
]
LIFETIME_S = 4


class Heard:
    """Stands where the protocol of a candidate does."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.lost = asyncio.Event()

    def connection_made(self, transport: Any) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.datagrams.append(data)

    def error_received(self, exc: Exception) -> None: ...

    def admits(self, addr: Any) -> bool:
        return True


@asynccontextmanager
async def coturn(
    port: int, *options: str, users: str = "--lt-cred-mech --user u:p"
) -> AsyncIterator[subprocess.Popen[bytes]]:
    command = (
        f"turnserver -n -L 127.0.0.1 -E 127.0.0.1 -p {port} {users} -r tallow --no-tls --no-dtls "
        "--no-cli --allow-loopback-peers --cli-password unused --log-file stdout --pidfile /dev/null"
    )
    process = subprocess.Popen(
        [*command.split(), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


@asynccontextmanager
async def relayed(
    port: int, username: str = "u", password: str = "p"
) -> AsyncIterator[tuple[RelayTransport, Heard]]:
    client = RelayOverUdp(
        ("127.0.0.1", port),
        lambda: None,
        username=username,
        password=password,
        lifetime=LIFETIME_S,
        channel_refresh_time=600,
    )
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    client.open(sock)
    heard = Heard()
    transport = RelayTransport(client, heard, channel_refresh_s=1.0)  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(10):
            await transport.connect()
        yield transport, heard
    finally:
        transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await heard.lost.wait()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def echoed(transport: RelayTransport, for_s: float) -> int:
    """How many datagrams a peer got and gave back, four a second. Raises TimeoutError where one does not arrive."""
    loop = asyncio.get_running_loop()
    count = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        ends_at = loop.time() + for_s
        while loop.time() < ends_at:
            transport.sendto(b"\x17there", peer.getsockname())
            data, relay = await asyncio.wait_for(loop.sock_recvfrom(peer, 100), 2)
            assert data == b"\x17there"
            await loop.sock_sendto(peer, b"\x17back", relay)
            count += 1
            await asyncio.sleep(0.25)
    return count


async def test_allocation_channel_and_nonce_are_renewed_for_as_long_as_it_lasts() -> None:
    port = free_port()
    lifetimes = (f"--permission-lifetime={LIFETIME_S}", f"--channel-lifetime={LIFETIME_S}", "--stale-nonce=2")
    async with coturn(port, *lifetimes), relayed(port) as (transport, heard):
        sent = await echoed(transport, 3 * LIFETIME_S)
        assert len(heard.datagrams) >= sent - 2
        assert set(heard.datagrams) == {b"\x17back"}


async def test_credentials_that_expire_meanwhile_end_nothing() -> None:
    """coturn looks at the time only when an allocation is made."""
    port, secret = free_port(), "a-secret-for-this-test-alone"
    username = f"{int(time.time()) + 2}:somebody"
    password = base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()
    async with (
        coturn(port, users=f"--use-auth-secret --static-auth-secret {secret}"),
        relayed(port, username, password) as (transport, heard),
    ):
        await echoed(transport, 2 * LIFETIME_S)
        assert not heard.lost.is_set()


async def test_a_relay_that_ends_is_noticed_while_something_is_sent() -> None:
    port = free_port()
    async with coturn(port) as process, relayed(port) as (transport, heard):
        transport.sendto(b"\x17there", ("127.0.0.1", 9))
        await asyncio.sleep(0.2)
        process.kill()
        process.wait(5)
        async with asyncio.timeout(5):
            while not heard.lost.is_set():
                transport.sendto(b"\x17there", ("127.0.0.1", 9))
                await asyncio.sleep(0.1)
