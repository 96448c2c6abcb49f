"""From gathered addresses to an open link, over real sockets of this machine; and what stands in the way."""

from __future__ import annotations

import asyncio
import socket
import time

import msgspec
import pytest

from tallow_cli.errors import NoPathError, PeerProtocolError, PeerVanished
from tallow_cli.link.description import decode_untrusted, encode
from tallow_cli.link.link import LinkOptions
from tallow_cli.webrtc.engines import ENGINES, EngineOptions
from tests.support.link_end import LOOPS, TIMEOUT_S, kill, two_links

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=sorted(ENGINES))
def options(request: pytest.FixtureRequest) -> LinkOptions:
    return LinkOptions(engine=request.param)


async def test_with_a_relay_given_the_peer_is_sought_there_and_nowhere_else() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind(("127.0.0.1", 0))
        relay.setblocking(False)
        async with two_links(LinkOptions(via=relay.getsockname()), connect=False) as (a, b):
            seeking = asyncio.create_task(a.connect(b.description, timeout_s=0.5))
            assert await asyncio.get_running_loop().sock_recv(relay, 2048)
            with pytest.raises(NoPathError, match="1 host by IPv4"):
                await seeking


async def test_the_smaller_number_of_channels_and_the_stricter_wishes_win() -> None:
    strict = LinkOptions(channels=4, reliable=True)
    async with two_links(strict, LinkOptions(channels=2)) as (a, b):
        for link in (a, b):
            assert len(link.data) == 2
            assert link.link.traits.reliable


@pytest.mark.parametrize("engine", sorted(ENGINES))
async def test_each_side_chooses_how_often_its_own_packets_are_sent_again(engine: str) -> None:
    asked = [LinkOptions(engine=engine, max_retransmits=5), LinkOptions(engine=engine)]
    async with two_links(*asked) as links:
        own = ENGINES[engine](EngineOptions()).retransmissions
        for link, expected in zip(links, (5, own), strict=True):
            assert link.link.traits.retransmissions == expected
            control, *data = [
                channel.maxRetransmits for _, channel in sorted(link.sctp._data_channels.items())
            ]
            assert control is None
            assert data == [expected] * 3


async def test_a_certificate_other_than_the_described_one_is_a_protocol_error(options: LinkOptions) -> None:
    async with two_links(options, options, connect=False) as (a, b):
        wrong = msgspec.structs.replace(b.description, fingerprint=a.description.fingerprint)
        results = await asyncio.gather(
            a.connect(wrong, 0.5), b.connect(a.description, 0.5), return_exceptions=True
        )
        assert isinstance(results[0], PeerProtocolError)


async def test_nobody_at_the_other_addresses_is_no_path_within_the_timeout() -> None:
    async with two_links(connect=False) as (a, b):
        description = b.description
        await b.close()
        started = time.perf_counter()
        with pytest.raises(NoPathError, match="addresses"):
            await a.connect(description, 0.3)
        assert time.perf_counter() - started < 1.0


async def test_a_peer_without_addresses_is_no_path_at_once() -> None:
    async with two_links(connect=False) as (a, b):
        with pytest.raises(NoPathError, match="the other side has no address that can be used"):
            await a.connect(msgspec.structs.replace(b.description, candidates=()), TIMEOUT_S)


async def test_a_peer_that_goes_away_while_connecting_ends_the_wait_at_the_timeout() -> None:
    async with two_links(connect=False) as (a, b):
        connecting = asyncio.create_task(a.connect(b.description, 0.5))
        await asyncio.sleep(0)
        await b.close()
        with pytest.raises(NoPathError):
            await connecting


async def test_a_cancelled_connect_leaves_nothing_behind() -> None:
    async with two_links(connect=False) as (a, b):
        connecting = asyncio.create_task(a.connect(b.description, TIMEOUT_S))
        await asyncio.sleep(0.05)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


async def test_two_hosts_cannot_connect_to_each_other() -> None:
    async with two_links(connect=False) as (a, _):
        with pytest.raises(PeerProtocolError, match="role"):
            await a.connect(a.description, TIMEOUT_S)


async def test_both_sides_agree_on_the_path_and_the_fingerprints(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, b):
        assert a.link.traits.path.kind == b.link.traits.path.kind == "direct"
        ours, theirs = a.link.traits, b.link.traits
        assert (ours.path.local_address, ours.path.local_port) == (
            theirs.path.remote_address,
            theirs.path.remote_port,
        )
        assert ours.fingerprints == theirs.fingerprints[::-1]
        assert len(set(ours.fingerprints)) == 2
        assert (ours.engine, ours.notes) == (options.engine, ())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_peer_killed_before_dtls_is_gone_and_no_firewall(loop: str, engine: str) -> None:
    async def die() -> None:
        options = LinkOptions(engine=engine)
        async with two_links(options, options, connect=False) as (a, b):
            connecting = asyncio.create_task(a.connect(decode_untrusted(encode(b.description)), TIMEOUT_S))
            await b.gathered._find_path(decode_untrusted(encode(a.description)))
            kill(b)
            started = time.perf_counter()
            with pytest.raises(PeerVanished, match="gone"):
                await connecting
            assert time.perf_counter() - started < 3.0

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(die())
