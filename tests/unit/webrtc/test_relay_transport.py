"""webrtc.relay_transport: channels to peers, runs both ways, and a relay that is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aioice import stun

from tallow_cli.webrtc.relay_client import RelayClient
from tallow_cli.webrtc.relay_transport import RelayTransport

PEER, OTHER = ("192.0.2.7", 4000), ("192.0.2.8", 4000)
RECORDS = (b"\x17" + b"x" * 99) * 2


class Client(RelayClient):
    """A relay that binds when it is let."""

    def __init__(self) -> None:
        super().__init__(("192.0.2.1", 3478), "u", "p", 600, 500)
        self.transport = Connection()
        self.sent: list[tuple[bytes, int, int]] = []
        self.bound: list[tuple[int, Any]] = []
        self.refuses = False
        self.may_bind = asyncio.Event()
        self.may_bind.set()

    async def connect(self) -> tuple[str, int]:
        self.mapped_address = ("198.51.100.1", 9)
        return ("203.0.113.9", 50_000)

    async def channel_bind(self, channel_number: int, addr: tuple[str, int]) -> None:
        await self.may_bind.wait()
        self.bound.append((channel_number, addr))
        if self.refuses:
            raise stun.TransactionTimeout

    async def delete(self) -> None:
        self.transport.close()

    def send_run(self, run: bytes, segment: int, channel: int) -> None:
        self.sent.append((run, segment, channel))

    @property
    def is_blocked(self) -> bool:
        return False


class Connection(asyncio.DatagramTransport):
    closed = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Protocol:
    """Stands where ice_wall.WalledStun does."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))

    def admits(self, addr: Any) -> bool:
        return bool(addr == PEER)


class Receiver:
    def __init__(self) -> None:
        self.runs: list[tuple[bytes, int]] = []

    def datagrams_received(self, run: memoryview, segment: int) -> None:
        self.runs.append((bytes(run), segment))

    def batch_ended(self) -> None: ...

    def port_unreachable(self, address: Any) -> None: ...


async def relayed(**options: Any) -> tuple[RelayTransport, Client, Protocol]:
    client, protocol = Client(), Protocol()
    transport = RelayTransport(client, protocol, **options)  # type: ignore[arg-type]
    await transport.connect()
    assert protocol.transport is transport
    return transport, client, protocol


async def until_idle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_first_datagram_for_a_peer_binds_a_channel_and_waits_for_it_and_others_follow_at_once() -> (
    None
):
    transport, client, _ = await relayed()
    client.may_bind.clear()
    transport.sendto(b"check", PEER)
    transport.send_run(RECORDS, 100, PEER)
    transport.sendto(b"check", OTHER)
    await until_idle()
    assert client.sent == []
    client.may_bind.set()
    await until_idle()
    assert [number for number, _ in client.bound] == [0x4000, 0x4001]
    assert client.sent[:2] == [(b"check", 5, 0x4000), (RECORDS, 100, 0x4000)]
    transport.send_run(RECORDS, 100, PEER)
    assert client.sent[-1] == (RECORDS, 100, 0x4000), "no task in between"
    transport.close()
    await until_idle()


async def test_what_waits_for_a_channel_is_bounded_and_a_channel_that_was_refused_is_tried_again() -> None:
    transport, client, _ = await relayed()
    client.refuses = True
    for _ in range(100):
        transport.sendto(b"check", PEER)
    await until_idle()
    assert client.sent == []
    client.refuses = False
    transport.sendto(b"again", PEER)
    await until_idle()
    assert client.bound == [(0x4000, PEER)] * 2, "the same channel, which RFC 8656 section 12 allows"
    assert client.sent == [(b"again", 5, 0x4000)]
    transport.close()
    await until_idle()


async def test_a_channel_is_bound_anew_before_its_permission_ends() -> None:
    transport, client, _ = await relayed(channel_refresh_s=0.001)
    transport.sendto(b"check", PEER)
    async with asyncio.timeout(5):
        while len(client.bound) < 3:
            await asyncio.sleep(0.001)
    assert set(client.bound) == {(0x4000, PEER)}
    transport.close()
    await until_idle()


async def test_records_of_a_checked_peer_go_on_as_a_run_and_all_else_to_the_wall() -> None:
    transport, client, protocol = await relayed()
    client.channel_to_peer.update({0x4000: PEER, 0x4001: OTHER})
    transport.receiver = receiver = Receiver()
    transport.channel_data(0x4000, memoryview(RECORDS), 100)
    assert receiver.runs == [(RECORDS, 100)]
    transport.channel_data(0x4000, memoryview(b"\x01\x01stun"), 6)
    transport.channel_data(0x4001, memoryview(RECORDS), 100)
    transport.channel_data(0x4002, memoryview(RECORDS), 100)
    assert protocol.received == [(b"\x01\x01stun", PEER), (RECORDS[:100], OTHER), (RECORDS[:100], OTHER)]


@pytest.mark.parametrize(("heard", "is_gone"), [(False, True), (True, False)])
async def test_a_relay_whose_machine_says_that_nobody_listens_is_left_unless_it_is_heard(
    heard: bool, is_gone: bool
) -> None:
    now = 100.0
    transport, client, _ = await relayed(clock=lambda: now)
    for _ in range(5):
        transport.relay_refused()
        now += 0.2
        if heard:
            transport.channel_data(0x4000, memoryview(RECORDS), 100)
    assert client.transport.is_closing() is is_gone


async def test_nothing_is_sent_after_the_end() -> None:
    transport, client, _ = await relayed()
    transport.close()
    transport.sendto(b"late", PEER)
    await until_idle()
    assert client.sent == []
    assert client.bound == []
    assert transport.is_closing()
