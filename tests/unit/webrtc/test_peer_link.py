"""Two links in one process over real sockets of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiortc import RTCDataChannel

from tallow_cli.errors import BadOption, NoPathError, PeerProtocolError, PeerVanished
from tallow_cli.link.channels import Channel
from tallow_cli.link.description import decode_untrusted, encode
from tallow_cli.webrtc.engines import ENGINES, EngineOptions
from tallow_cli.webrtc.peer_link import CONTROL_LABEL, DATA_LABEL, IceServer, LinkOptions, PeerLink
from tallow_cli.wire.udp_batch import BatchSocket

TIMEOUT_S = 20.0

pytestmark = pytest.mark.filterwarnings("error")


@asynccontextmanager
async def two_links(
    host: LinkOptions | None = None, joiner: LinkOptions | None = None, *, connect: bool = True
) -> AsyncIterator[tuple[PeerLink, PeerLink]]:
    tasks_before = asyncio.all_tasks()
    a = await PeerLink.prepare("host", host)
    b = await PeerLink.prepare("joiner", joiner)
    try:
        if connect:
            await asyncio.gather(
                a.connect(decode_untrusted(encode(b.description)), TIMEOUT_S),
                b.connect(decode_untrusted(encode(a.description)), TIMEOUT_S),
            )
        yield a, b
    finally:
        await asyncio.gather(a.close(), b.close())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks_before


async def messages(channel: Channel, count: int) -> list[bytes]:
    """The next `count` messages of a channel."""
    got: list[bytes] = []
    done = asyncio.Event()

    def received(message: bytes) -> None:
        got.append(message)
        if len(got) == count:
            done.set()

    channel.on_message = received
    async with asyncio.timeout(TIMEOUT_S):
        await done.wait()
    return got


def waiter() -> tuple[Callable[[str], None], Callable[[], Awaitable[str]]]:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait() -> str:
        async with asyncio.timeout(TIMEOUT_S):
            return await future

    return future.set_result, wait


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
            with pytest.raises(NoPathError, match="trying 1 addresses"):
                await seeking


async def test_two_peers_connect_and_talk_on_every_channel_both_ways(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, b):
        assert [channel.label for channel in (a.control, *a.data)] == [CONTROL_LABEL] + [DATA_LABEL] * 3
        for sender, receiver in ((a, b), (b, a)):
            for out, into in zip(
                (sender.control, *sender.data), (receiver.control, *receiver.data), strict=True
            ):
                assert out.state == "open"
                receiving = asyncio.create_task(messages(into, 2))
                await asyncio.sleep(0)
                out.send(b"hello")
                out.send(bytes(range(256)) * 200)
                assert await receiving == [b"hello", bytes(range(256)) * 200]


async def test_both_sides_agree_on_the_path_and_the_fingerprints(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, b):
        assert a.path.kind == b.path.kind == "direct"
        assert (a.path.local_address, a.path.local_port) == (b.path.remote_address, b.path.remote_port)
        assert a.fingerprints == b.fingerprints[::-1]
        assert len(set(a.fingerprints)) == 2
        assert (a.engine, a.notes) == (options.engine, ())


async def test_what_comes_before_anybody_listens_is_kept_in_order(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, b):
        for number in range(3):
            a.control.send(bytes([number]))
        assert await a.drain(TIMEOUT_S)
        await asyncio.sleep(0.02)
        receiving = asyncio.create_task(messages(b.control, 4))
        await asyncio.sleep(0)
        a.control.send(b"last")
        assert await receiving == [b"\0", b"\1", b"\2", b"last"]


async def test_the_smaller_number_of_channels_and_the_stricter_wishes_win() -> None:
    strict = LinkOptions(channels=4, reliable=True)
    async with two_links(strict, LinkOptions(channels=2)) as (a, b):
        for link in (a, b):
            assert len(link.data) == 2
            assert link.reliable


@pytest.mark.parametrize("engine", sorted(ENGINES))
async def test_each_side_chooses_how_often_its_own_packets_are_sent_again(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[RTCDataChannel] = []

    class Recorded(RTCDataChannel):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr("aiortc.RTCDataChannel", Recorded)
    asked = [LinkOptions(engine=engine, max_retransmits=5), LinkOptions(engine=engine)]
    async with two_links(*asked) as links:
        own = ENGINES[engine](EngineOptions()).retransmissions
        for link, expected in zip(links, (5, own), strict=True):
            assert link.retransmissions == expected
            control, *data = [c.maxRetransmits for c in made if c.transport is link._sctp]
            assert control is None
            assert data == [expected] * 3


def test_repetitions_out_of_range_or_on_reliable_channels_are_refused() -> None:
    for wrong in ({"max_retransmits": -1}, {"max_retransmits": 9}, {"max_retransmits": 0, "reliable": True}):
        with pytest.raises(BadOption, match="--max-retransmits"):
            LinkOptions(**wrong)  # type: ignore[arg-type]  # a table of mixed fields


async def test_a_megabyte_queued_at_once_arrives_whole_and_low_is_reported_once(options: LinkOptions) -> None:
    reliable = LinkOptions(engine=options.engine, reliable=True)
    async with two_links(reliable, reliable) as (a, b):
        channel = a.data[0]
        channel.low_threshold = 100_000
        lows: list[int] = []
        channel.on_low = lambda: lows.append(channel.buffered_amount)
        receiving = asyncio.create_task(messages(b.data[0], 32))
        for number in range(32):
            channel.send(bytes([number]) * 32768)
        assert channel.buffered_amount == 32 * 32768
        assert await receiving == [bytes([number]) * 32768 for number in range(32)]
        assert await a.drain(TIMEOUT_S)
        assert channel.buffered_amount == 0
        assert len(lows) == 1
        assert lows[0] <= 100_000


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_the_engines_also_run_on_uvloop(engine: str) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def talk() -> None:
        options = LinkOptions(engine=engine, reliable=True)
        async with two_links(options, options) as (a, b):
            for out, into in ((a, b), (b, a)):
                receiving = asyncio.create_task(messages(into.data[0], 20))
                for number in range(20):
                    out.data[0].send(bytes([number]) * 50_000)
                assert await receiving == [bytes([number]) * 50_000 for number in range(20)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())


async def test_closing_is_quick_and_tells_the_other_side_at_once(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, b):
        closed, reason = waiter()
        b.on_closed = closed
        dead: list[str] = []
        for channel in (b.control, *b.data):
            channel.on_close = lambda: dead.append("channel")
        started = time.perf_counter()
        await a.close()
        assert time.perf_counter() - started < 0.1
        assert "closed" in await reason()
        assert time.perf_counter() - started < 0.5
        assert len(dead) == 4
        assert all(channel.state == "closed" for channel in (a.control, *a.data, b.control, *b.data))
        with pytest.raises(PeerVanished):
            b.data[0].send(b"late")
        with pytest.raises(PeerVanished):
            a.control.send(b"late")
        assert await b.drain(0.1), "it had nothing to say that was not acknowledged"
        assert not await b.say_last(0.1)
        await a.close()


async def test_closing_with_a_full_queue_is_quick_and_quiet(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, _):
        for _ in range(100):
            a.data[0].send(bytes(60_000))
        started = time.perf_counter()
        await a.close()
        assert time.perf_counter() - started < 0.2


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


def kill(link: PeerLink) -> None:
    """What the kernel does for a killed process: its sockets are gone, and nobody was told."""
    assert link._ice is not None
    for protocol in link._ice._connection._protocols:
        transport = protocol.transport
        if isinstance(transport, BatchSocket):
            transport.close()
        else:
            transport.abort()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("speaks", [True, False], ids=["while data is sent", "while nobody speaks"])
def test_a_killed_peer_is_noticed_within_two_seconds_and_called_gone(
    loop: str, engine: str, speaks: bool
) -> None:
    async def die() -> None:
        options = LinkOptions(engine=engine)
        async with two_links(options, options) as (a, b):
            order: list[str] = []
            closed, reason = waiter()
            a.on_closed = lambda why: (order.append("link"), closed(why))[1]
            a.control.on_close = lambda: order.append("channel")
            started = time.perf_counter()
            kill(b)
            if speaks:
                a.control.send(b"anybody there?")
            assert "gone" in await reason()
            assert time.perf_counter() - started < 3.0, "two, and this machine's noise"
            assert a.lost_reason == await reason()
            assert order == ["link", "channel"]
            assert a.control.state == "closed"
            assert not await a.say_last(1.0)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(die())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_peer_killed_before_dtls_is_gone_and_no_firewall(loop: str, engine: str) -> None:
    async def die() -> None:
        options = LinkOptions(engine=engine)
        async with two_links(options, options, connect=False) as (a, b):
            connecting = asyncio.create_task(a.connect(decode_untrusted(encode(b.description)), TIMEOUT_S))
            await b._find_path(decode_untrusted(encode(a.description)))
            kill(b)
            started = time.perf_counter()
            with pytest.raises(PeerVanished, match="gone"):
                await connecting
            assert time.perf_counter() - started < 3.0

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(die())


async def test_last_words_are_acknowledged_by_a_peer_that_closes_as_soon_as_it_hears_them(
    options: LinkOptions,
) -> None:
    for _ in range(3):
        async with two_links(options, options) as (a, b):
            closing: list[asyncio.Task[None]] = []

            def close(_message: bytes, b: PeerLink = b, closing: list[asyncio.Task[None]] = closing) -> None:
                closing.append(asyncio.create_task(b.close()))

            b.control.on_message = close
            a.control.send(b"cancel")
            assert await a.say_last(5.0)
            await asyncio.gather(*closing)


async def test_last_words_leave_ahead_of_a_full_queue(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, b):
        heard = asyncio.create_task(messages(b.control, 1))
        await asyncio.sleep(0)
        for _ in range(400):
            a.data[0].send(bytes(60_000))
        a.control.send(b"cancel")
        assert await a.say_last(5.0)
        assert await heard == [b"cancel"]
        assert b.data[0].state == "open"


async def test_the_side_that_closes_is_not_told_that_it_closed(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, _):
        told: list[str] = []
        a.on_closed = told.append
        await a.close()
        assert told == []


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
        with pytest.raises(NoPathError, match="no usable network address"):
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


async def test_an_unknown_engine_is_a_bad_option() -> None:
    with pytest.raises(BadOption, match="--engine"):
        await PeerLink.prepare("host", LinkOptions(engine="warp"))


def test_an_ice_server_needs_its_scheme() -> None:
    assert IceServer("stun:192.0.2.1:3478").url
    with pytest.raises(BadOption, match="--ice-server"):
        IceServer("https://example.org")
