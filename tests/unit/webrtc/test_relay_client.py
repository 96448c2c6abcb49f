"""webrtc.relay_client: what a relay's bytes may do, and how requests to it are repeated and authenticated."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aioice import stun

from tallow_cli.webrtc.relay_client import RelayOverTcp, RelayOverUdp
from tallow_cli.wire.channel_data import framed, framed_for_stream

OPTIONS: dict[str, Any] = {"username": "u", "password": "p", "lifetime": 600, "channel_refresh_time": 500}
CHANNEL = 0x4000


class Taker:
    def __init__(self) -> None:
        self.runs: list[tuple[int, bytes, int]] = []
        self.batches = self.refusals = self.writable_told = 0

    def channel_data(self, channel: int, run: memoryview, segment: int) -> None:
        self.runs.append((channel, bytes(run), segment))

    def batch_ended(self) -> None:
        self.batches += 1

    def writable(self) -> None:
        self.writable_told += 1

    def relay_refused(self) -> None:
        self.refusals += 1


class Stream(asyncio.Transport):
    """A connection that takes a certain amount."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.buffered = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def write(self, data: Any) -> None:
        self.written += data


@pytest.fixture
async def relay() -> AsyncIterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


@pytest.fixture
async def client(relay: socket.socket) -> AsyncIterator[RelayOverUdp]:
    made = RelayOverUdp(relay.getsockname(), lambda: None, **OPTIONS)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    made.open(sock)
    yield made
    made.transport.close()
    await asyncio.sleep(0)


def refresh() -> stun.Message:
    return stun.Message(stun.Method.REFRESH, stun.Class.REQUEST)


async def received(relay: socket.socket) -> tuple[bytes, Any]:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recvfrom(relay, 65_535)


async def test_a_request_is_repeated_until_it_is_answered(relay: socket.socket, client: RelayOverUdp) -> None:
    asking = asyncio.create_task(client.request(refresh()))
    first, _ = await received(relay)
    second, source = await received(relay)
    assert first == second
    answer = stun.Message(
        stun.Method.REFRESH, stun.Class.RESPONSE, stun.parse_message(first).transaction_id, {"LIFETIME": 600}
    )
    relay.sendto(bytes(answer), source)
    message, _ = await asking
    assert message.attributes["LIFETIME"] == 600


async def test_an_answer_without_our_key_is_none_but_one_that_asks_for_credentials_is(
    client: RelayOverUdp,
) -> None:
    client.integrity_key, client.nonce, client.realm = b"key", b"n", "r"
    request = refresh()
    asking = asyncio.create_task(client.request(request))
    await asyncio.sleep(0)
    for kind, attributes in ((stun.Class.RESPONSE, {}), (stun.Class.ERROR, {"ERROR-CODE": (400, "")})):
        forged = stun.Message(stun.Method.REFRESH, kind, request.transaction_id, attributes)
        client.datagram_received(bytes(forged), client.server)
    stale = {"ERROR-CODE": (438, "Stale Nonce"), "NONCE": b"m"}
    stranger = bytes(stun.Message(stun.Method.REFRESH, stun.Class.ERROR, request.transaction_id, stale))
    client.datagram_received(stranger, ("127.0.0.1", 1))
    await asyncio.sleep(0)
    assert not asking.done()
    client.datagram_received(stranger, client.server)
    with pytest.raises(stun.TransactionFailed, match="438"):
        await asking


async def test_runs_go_and_come_as_runs(relay: socket.socket, client: RelayOverUdp) -> None:
    client.taker = taker = Taker()
    client.send_run(b"\x17" * 250, 100, CHANNEL)
    came = [await received(relay) for _ in range(3)]
    assert [len(data) for data, _ in came] == [104, 104, 54]
    for data, source in came:
        relay.sendto(data, source)
    async with asyncio.timeout(5):
        while sum(len(run) for _, run, _ in taker.runs) < 250:
            await asyncio.sleep(0.001)
    assert {channel for channel, _, _ in taker.runs} == {CHANNEL}
    assert taker.batches


async def test_data_from_anybody_but_the_relay_is_dropped(relay: socket.socket, client: RelayOverUdp) -> None:
    client.taker = taker = Taker()
    target = client.transport.get_extra_info("sockname")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(framed(b"forged", 6, CHANNEL), target)
    relay.sendto(framed(b"honest", 6, CHANNEL), target)
    async with asyncio.timeout(5):
        while not taker.runs:
            await asyncio.sleep(0.001)
    assert taker.runs == [(CHANNEL, b"honest", 6)]


async def test_only_the_relays_own_closed_port_counts(client: RelayOverUdp) -> None:
    client.taker = taker = Taker()
    client.port_unreachable(("192.0.2.1", 3478))
    assert not taker.refusals
    client.port_unreachable(client.server)
    assert taker.refusals == 1


async def test_over_tcp_what_the_system_does_not_take_is_bounded_and_room_is_told() -> None:
    client = RelayOverTcp(("192.0.2.1", 3478), **OPTIONS)
    client.connection_made(stream := Stream())
    client.taker = taker = Taker()
    client.send_run(b"abcde", 5, CHANNEL)
    assert stream.written == framed_for_stream(b"abcde", 5, CHANNEL)
    client.pause_writing()
    assert client.is_blocked
    stream.buffered = 10_000_000
    client.send_run(b"lost", 4, CHANNEL)
    assert b"lost" not in stream.written
    client.resume_writing()
    assert (client.is_blocked, taker.writable_told) == (False, 1)


async def test_over_tcp_a_request_is_sent_once_and_ends_with_the_connection() -> None:
    client = RelayOverTcp(("192.0.2.1", 3478), **OPTIONS)
    client.connection_made(stream := Stream())
    request = refresh()
    asking = asyncio.create_task(client.request(request))
    await asyncio.sleep(0)
    assert stream.written == bytes(request)
    client.data_received(framed_for_stream(b"data", 4, CHANNEL))  # before there is anybody to take it
    client.connection_lost(None)
    with pytest.raises(ConnectionError, match="closed"):
        await asking
