"""Real links of both engines under hostile SCTP, STUN and DTLS, while and after an honest pair goes on beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tallow_cli.errors import TallowError
from tallow_cli.link.link import LinkOptions
from tallow_cli.webrtc.engines import ENGINES
from tests.fuzz.harness import Probe, probing
from tests.fuzz.hostile_input import SctpFuzzer, dtls_records, some_bytes, stun_message
from tests.security.test_strangers import Stranger, client_hello, connect
from tests.support.hostile_peer import HostilePeer
from tests.support.link_end import LinkEnd

pytestmark = pytest.mark.timeout(0)  # the harness has a watchdog of its own

TIMEOUT_S = 20.0
PIECE = bytes(range(256)) * 40


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def links(engine: str) -> AsyncIterator[tuple[LinkEnd, LinkEnd]]:
    """(victim, attacker), gathered. After the round the victim's transports must not have stumbled over anything."""
    victim = await LinkEnd.prepare("host", LinkOptions(engine=engine))
    attacker = await LinkEnd.prepare("joiner", LinkOptions(engine=engine))
    try:
        yield victim, attacker
    finally:
        await asyncio.gather(victim.close(), attacker.close())
    assert stumbles(victim) == 0


def stumbles(link: LinkEnd) -> int:
    sockets: list[Any] = getattr(link.dtls, "sockets", [])
    return getattr(link.sctp, "stumbles", 0) + sum(each.counters.stumbles for each in sockets)


async def exchange(a: LinkEnd, b: LinkEnd, count: int = 4) -> None:
    """A few pieces each way, whole and in order, on the control channel."""
    for out, into in ((a, b), (b, a)):
        heard: list[bytes] = []
        done = asyncio.Event()

        def received(message: bytes, heard: list[bytes] = heard, done: asyncio.Event = done) -> None:
            heard.append(message)
            if len(heard) == count:
                done.set()

        into.control.on_message = received
        for number in range(count):
            out.control.send(PIECE + bytes([number]))
        async with asyncio.timeout(TIMEOUT_S):
            await done.wait()
        assert heard == [PIECE + bytes([number]) for number in range(count)]


@asynccontextmanager
async def honest_pair(engine: str) -> AsyncIterator[asyncio.Task[None]]:
    """Two links that talk without a pause until the end of the block."""
    a = await LinkEnd.prepare("host", LinkOptions(engine=engine))
    b = await LinkEnd.prepare("joiner", LinkOptions(engine=engine))
    ended = asyncio.Event()

    async def talk() -> None:
        while not ended.is_set():
            await exchange(a, b)
            await asyncio.sleep(0.01)

    try:
        await connect(a, b)
        talking = asyncio.create_task(talk())
        yield talking
        ended.set()
        await talking
        await exchange(a, b)
    finally:
        await asyncio.gather(a.close(), b.close())


async def breathe(probe: Probe) -> None:
    await asyncio.sleep(0.002 if probe.rng.random() < 0.1 else 0)


async def test_sctp_of_a_peer_that_is_connected(engine: str) -> None:
    async with probing(f"sctp, connected, {engine}") as probe, honest_pair(engine) as honest:
        while probe.goes_on():
            async with links(engine) as (victim, attacker):
                await connect(victim, attacker)
                hostile = HostilePeer(attacker)
                fuzzer = SctpFuzzer(probe.rng)
                fuzzer.tag = hostile.victims_tag
                fuzzer.own_tag = hostile.sctp._local_verification_tag
                fuzzer.own_tsn = fuzzer.tsn = hostile.take_tsns(1)
                fuzzer.acked = int(hostile.sctp._last_received_tsn or 0)
                victim.control.on_message = lambda message: None
                for _ in range(300):
                    await hostile.say_packet(fuzzer.packet())
                    if probe.rng.random() < 0.05 and victim.control.state == "open":
                        victim.control.send(some_bytes(probe.rng, 3000) or b"x")
                    await breathe(probe)
            assert not honest.done()


async def test_sctp_before_there_is_an_association(engine: str) -> None:
    async with probing(f"sctp, early, {engine}") as probe, honest_pair(engine) as honest:
        while probe.goes_on():
            async with links(engine) as (victim, attacker):
                connecting = asyncio.create_task(victim.connect(attacker.description, TIMEOUT_S))
                path = await attacker.gathered._find_path(victim.description)
                dtls = await attacker.gathered._secure(victim.description)
                while victim.sctp is None and not connecting.done():
                    await asyncio.sleep(0.002)
                if victim.sctp is not None:
                    hostile = HostilePeer(attacker)
                    fuzzer = SctpFuzzer(probe.rng)
                    fuzzer.tag = victim.sctp._local_verification_tag
                    for _ in range(100):
                        await hostile.say_packet(fuzzer.packet())
                        await breathe(probe)
                if probe.rng.random() < 0.5:
                    with suppress(TimeoutError, TallowError):
                        async with asyncio.timeout(0.3):
                            await attacker.gathered._open(victim.description, path, dtls)
                connecting.cancel()
                with suppress(asyncio.CancelledError, TallowError):
                    await connecting
            assert not honest.done()


async def test_whatever_strangers_send(engine: str) -> None:
    async with probing(f"strangers, {engine}") as probe, honest_pair(engine) as honest:
        rng = probe.rng
        hello = client_hello()
        while probe.goes_on():
            async with links(engine) as (victim, other):
                stranger = Stranger(victim)

                def noise(ufrag: str = victim.description.ufrag) -> bytes:
                    kind = rng.randrange(4)
                    if kind == 0:
                        return stun_message(rng, rng.choice((ufrag, "else")))
                    return dtls_records(rng, hello) if kind < 3 else some_bytes(rng, 1500)

                async def babble(stranger: Stranger = stranger, noise: Any = noise) -> None:
                    while True:
                        stranger.send(noise())
                        await asyncio.sleep(0.001)

                babbling = asyncio.create_task(babble())
                try:
                    await asyncio.sleep(0.05)
                    await connect(victim, other)
                    for _ in range(3):
                        await exchange(victim, other)
                    # The last answers may belong to the victim's own checks; nobody else gets any.
                    assert stranger.answers() == []
                finally:
                    babbling.cancel()
                    await asyncio.gather(babbling, return_exceptions=True)
                    stranger.close()
            assert not honest.done()


async def test_stun_and_dtls_from_the_peers_own_address(engine: str) -> None:
    """During the DTLS handshake and after it. A handshake may fail by this; the program may not."""
    async with probing(f"datagrams of the peer, {engine}") as probe, honest_pair(engine) as honest:
        rng = probe.rng
        hello = client_hello()
        while probe.goes_on():
            async with links(engine) as (victim, attacker):
                connecting = asyncio.create_task(victim.connect(attacker.description, TIMEOUT_S))
                await attacker.gathered._find_path(victim.description)
                pair = attacker.ice._connection._nominated[1]
                user = (victim.description.ufrag, victim.description.pwd)
                early = rng.random() < 0.5
                if not early:
                    await attacker.gathered._secure(victim.description)
                for _ in range(300):
                    if rng.random() < 0.5:
                        datagram = stun_message(rng, *user)
                    else:
                        datagram = dtls_records(rng, hello) if rng.random() < 0.8 else some_bytes(rng, 1500)
                    pair.protocol.transport.sendto(datagram, pair.remote_addr)
                    await breathe(probe)
                connecting.cancel()
                with suppress(asyncio.CancelledError, TallowError):
                    await connecting
            assert not honest.done()
