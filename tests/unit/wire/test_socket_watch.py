"""A socket that reports errors is still watched afterwards, on any event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import pytest

from tallow_cli.wire.socket_watch import SocketWatch

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
IP_RECVERR, MSG_ERRQUEUE = 11, 0x2000


def closed_port() -> tuple[str, int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        address: tuple[str, int] = sock.getsockname()
        return address


class Watched:
    """A socket, and what its watch called for."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind(("127.0.0.1", 0))
        self.calls = 0
        self.received: list[bytes] = []
        self.errors = 0
        self._changed = asyncio.Event()
        self.watch = SocketWatch(self.sock, self._ready)

    def _ready(self) -> None:
        self.calls += 1
        with contextlib.suppress(OSError):
            self.received.append(self.sock.recv(100))
        with contextlib.suppress(OSError):
            while self.sock.recvmsg(1, 512, MSG_ERRQUEUE):
                self.errors += 1
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def close(self) -> None:
        self.watch.close()
        self.watch.close()
        self.sock.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_an_icmp_error_is_told_and_data_after_it_too(loop: str) -> None:
    async def run() -> None:
        watched = Watched()
        try:
            if not watched.watch.survives_errors:
                pytest.skip("no epoll here")
            watched.sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            for number in range(1, 4):
                watched.sock.sendto(b"x", closed_port())
                await watched.until(lambda n=number: watched.errors >= n)  # type: ignore[misc]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"alive", watched.sock.getsockname())
                await watched.until(lambda: watched.received == [b"alive"])
        finally:
            watched.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


@pytest.mark.parametrize("loop", LOOPS)
def test_room_to_write_is_told_while_it_is_wanted(loop: str) -> None:
    async def run() -> None:
        watched = Watched()
        try:
            watched.watch.want_writes(True)
            await watched.until(lambda: watched.calls > 0)
            watched.watch.want_writes(False)
            before = watched.calls
            for _ in range(20):
                await asyncio.sleep(0)
            assert watched.calls <= before + 1
        finally:
            watched.close()
        watched.watch.want_writes(True)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())
