"""What somebody without the code can do to the UDP port of whoever waits: nothing. Both engines, real sockets."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aioice import stun
from aiortc import RTCCertificate
from aiortc.rtcdtlstransport import SRTP_PROFILES
from OpenSSL import SSL

from tallow_cli.link.link import LinkOptions
from tallow_cli.webrtc.engines import ENGINES
from tallow_cli.webrtc.ice_wall import MAX_EARLY_BYTES, MAX_QUEUED_BYTES
from tests.support.hostile_peer import HostilePeer
from tests.support.link_end import LinkEnd

pytestmark = pytest.mark.timeout(60)

TIMEOUT_S = 20.0


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Stranger:
    """A socket that knows a link's addresses and nothing else."""

    def __init__(self, victim: LinkEnd) -> None:
        self.targets = [(each.address, each.port) for each in victim.description.candidates]
        families = {socket.AF_INET6 if ":" in host else socket.AF_INET for host, _ in self.targets}
        self._socks = {family: socket.socket(family, socket.SOCK_DGRAM) for family in families}
        for sock in self._socks.values():
            sock.setblocking(False)

    def send(self, datagram: bytes) -> None:
        for target in self.targets:
            family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
            try:
                self._socks[family].sendto(datagram, target)
            except BlockingIOError:
                continue

    def answers(self) -> list[bytes]:
        heard = []
        for sock in self._socks.values():
            while True:
                try:
                    heard.append(sock.recv(2048))
                except BlockingIOError:
                    break
        return heard

    def close(self) -> None:
        for sock in self._socks.values():
            sock.close()


@asynccontextmanager
async def waiting(engine: str) -> AsyncIterator[tuple[LinkEnd, LinkEnd, Stranger]]:
    """A host that waits, its joiner that is still to come, and a stranger. Nothing may end up on the loop's handler."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    host = await LinkEnd.prepare("host", LinkOptions(engine=engine))
    joiner = await LinkEnd.prepare("joiner", LinkOptions(engine=engine))
    stranger = Stranger(host)
    try:
        yield host, joiner, stranger
    finally:
        stranger.close()
        await asyncio.gather(host.close(), joiner.close())
    assert complaints == []


async def connect(host: LinkEnd, joiner: LinkEnd) -> None:
    await asyncio.gather(
        host.connect(joiner.description, TIMEOUT_S), joiner.connect(host.description, TIMEOUT_S)
    )


async def talk(host: LinkEnd, joiner: LinkEnd) -> None:
    for out, into in ((host, joiner), (joiner, host)):
        heard = asyncio.get_running_loop().create_future()
        into.control.on_message = lambda message, heard=heard: (
            None if heard.done() else heard.set_result(message)
        )
        out.control.send(b"words")
        async with asyncio.timeout(TIMEOUT_S):
            assert await heard == b"words"


def client_hello() -> bytes:
    connection = SSL.Connection(
        RTCCertificate.generateCertificate()._create_ssl_context(srtp_profiles=SRTP_PROFILES)
    )
    connection.set_connect_state()
    with suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(2048)


async def turns(seconds: float = 0.05) -> None:
    await asyncio.sleep(seconds)


async def test_a_strangers_client_hello_does_not_spoil_the_connection_to_come(engine: str) -> None:
    async with waiting(engine) as (host, joiner, stranger):
        for _ in range(5):
            stranger.send(client_hello())
        await turns()
        await connect(host, joiner)
        await talk(host, joiner)


async def test_strangers_fill_no_memory_while_a_sender_waits(engine: str) -> None:
    async with waiting(engine) as (host, joiner, stranger):
        flood = b"\x16\xfe\xfd" + bytes(8) + struct.pack("!H", 59_987) + bytes(59_987)
        hello = client_hello()
        for number in range(600):
            stranger.send(flood if number % 2 else hello)
            await asyncio.sleep(0)
        await turns()
        connection = host.ice._connection
        assert connection._queue.qsize() == 0
        assert connection.dropped > 100
        await connect(host, joiner)
        await talk(host, joiner)


async def test_a_scan_of_the_port_gets_no_answer(engine: str) -> None:
    async with waiting(engine) as (host, joiner, stranger):
        pwd = host.description.pwd.encode()
        bare = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        stranger.send(bytes(bare))
        for user, key in (("aaaa:bbbb", pwd), (f"{host.description.ufrag}:bbbb", b"x" * 22)):
            guess = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
            guess.attributes.update({"USERNAME": user, "PRIORITY": 1, "ICE-CONTROLLED": 1})
            guess.add_message_integrity(key)
            stranger.send(bytes(guess))
        for method in (stun.Method.ALLOCATE, stun.Method.SEND, stun.Method.SHARED_SECRET):
            stranger.send(bytes(stun.Message(method, stun.Class.REQUEST)))
        await turns(0.2)
        assert stranger.answers() == []
        await connect(host, joiner)
        stranger.send(bytes(bare))
        await turns(0.2)
        assert stranger.answers() == []
        await talk(host, joiner)


async def test_whatever_a_stranger_sends_before_during_and_after_nobody_stumbles(engine: str) -> None:
    seed = int(os.environ.get("TALLOW_SEED", "7"))
    rng = random.Random(seed)
    genuine = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    genuine.attributes.update({"USERNAME": "a:b", "PRIORITY": 1, "ICE-CONTROLLING": 1})
    genuine.add_message_integrity(b"k" * 22)
    hello = client_hello()

    def noise() -> bytes:
        kind = rng.randrange(6)
        if kind == 0:
            return b""
        if kind == 1:
            return rng.randbytes(rng.randrange(1, 1500))
        base = bytearray(hello if kind in (2, 3) else bytes(genuine))
        for _ in range(rng.randrange(6)):
            base[rng.randrange(len(base))] = rng.randrange(256)
        return bytes(base[: rng.randrange(len(base) + 1)] if rng.random() < 0.3 else base)

    async def babble() -> None:
        while True:
            # asyncio hands on one datagram a turn: more would drown the honest ones in the kernel's buffer.
            stranger.send(noise())
            await asyncio.sleep(0.001)

    async with waiting(engine) as (host, joiner, stranger):
        babbling = asyncio.create_task(babble())
        await turns(0.2)
        await connect(host, joiner)
        for _ in range(5):
            await talk(host, joiner)
            await turns()
        babbling.cancel()
        await asyncio.gather(babbling, return_exceptions=True)
        await talk(host, joiner)


async def test_an_honest_client_hello_that_comes_early_is_not_lost(engine: str) -> None:
    """A ClientHello dropped is repeated after a second: ten connections, none of them so slow."""
    slow = 0
    for _ in range(10):
        async with waiting(engine) as (host, joiner, _stranger):
            started = time.monotonic()
            await connect(host, joiner)
            slow += time.monotonic() - started > 0.95
    assert slow <= 1  # a crowded machine may be slow by itself


async def test_data_is_taken_from_checked_addresses_only_and_the_queue_is_bounded(engine: str) -> None:
    async with waiting(engine) as (host, joiner, stranger):
        await connect(host, joiner)
        connection = host.ice._connection
        protocol = connection._protocols[0]
        hello = client_hello()
        for address in stranger.targets:
            connection.datagram_received_untrusted(hello, (address[0], 9), protocol)
        assert connection._queue.qsize() == 0
        remote = connection._nominated[1]
        for _ in range(3 * MAX_QUEUED_BYTES // len(hello)):
            connection.datagram_received_untrusted(hello, remote.remote_addr, remote.protocol)
        assert MAX_QUEUED_BYTES - len(hello) <= connection._queue.size_bytes <= MAX_QUEUED_BYTES
        while not connection._queue.empty():
            connection._queue.get_nowait()
        assert connection._queue.size_bytes == 0
        await talk(host, joiner)


async def test_before_a_pair_is_chosen_only_a_few_small_records_are_kept() -> None:
    async with waiting("turbo") as (host, _, _stranger):
        connection = host.ice._connection
        protocol = connection._protocols[0]
        connection._remember(protocol, ("192.0.2.1", 5))
        hello = client_hello()
        for _ in range(1000):
            connection.datagram_received_untrusted(hello, ("192.0.2.1", 5), protocol)
        assert MAX_EARLY_BYTES - len(hello) <= connection._queue.size_bytes <= MAX_EARLY_BYTES


async def test_a_peer_that_answers_from_ever_new_addresses_is_not_followed_to_all_of_them(
    engine: str,
) -> None:
    async with waiting(engine) as (host, joiner, _stranger):
        await connect(host, joiner)
        connection = host.ice._connection
        target = connection._protocols[0]
        user = f"{host.description.ufrag}:{joiner.description.ufrag}"
        for port in range(2000):
            check = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
            check.attributes.update({"USERNAME": user, "PRIORITY": 1, "ICE-CONTROLLED": 1})
            check.add_message_integrity(host.description.pwd.encode())
            target.datagram_received(bytes(check), ("127.0.0.9", 1024 + port))
        assert len(connection._remote_candidates) <= 64
        assert len(connection._check_list) <= 100
        await talk(host, joiner)


async def test_a_peer_that_disputes_the_roles_is_not_argued_with(engine: str) -> None:
    async with waiting(engine) as (host, joiner, _stranger):
        await connect(host, joiner)
        connection = host.ice._connection
        remote = connection._nominated[1]
        check = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        check.attributes.update(
            {
                "USERNAME": f"{host.description.ufrag}:{joiner.description.ufrag}",
                "PRIORITY": 1,
                "ICE-CONTROLLING": 2**64 - 1,
            }
        )
        check.add_message_integrity(host.description.pwd.encode())
        remote.protocol.datagram_received(bytes(check), remote.remote_addr)
        assert connection.ice_controlling
        await talk(host, joiner)


async def test_records_larger_or_more_than_one_reads_at_a_time_do_not_pile_up() -> None:
    async with waiting("aiortc") as (host, joiner, _stranger):
        await connect(host, joiner)
        hostile = HostilePeer(joiner)
        for _ in range(50):
            await hostile.say_packet(bytes(1400))
            # A record of more than 1,500 bytes, whole.
            joiner.dtls._ssl.send(bytes(9000))
            await joiner.ice._send(joiner.dtls._ssl.bio_read(20_000))
            await asyncio.sleep(0)
        await turns()
        assert host.dtls._ssl.pending() == 0
        started = time.monotonic()
        await talk(host, joiner)
        assert time.monotonic() - started < 0.9
