"""Two links in one process over real sockets of this machine, from their opening to their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tallow_cli.errors import Loss, PeerVanished
from tallow_cli.link.channels import Channel
from tallow_cli.link.link import LinkOptions
from tallow_cli.webrtc.engines import ENGINES
from tallow_cli.webrtc.gathered import CONTROL_LABEL, DATA_LABEL
from tests.support.link_end import LOOPS, TIMEOUT_S, LinkEnd, kill, two_links

pytestmark = pytest.mark.filterwarnings("error")


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


def waiter() -> tuple[Callable[[PeerVanished], None], Callable[[], Awaitable[PeerVanished]]]:
    future: asyncio.Future[PeerVanished] = asyncio.get_running_loop().create_future()

    async def wait() -> PeerVanished:
        async with asyncio.timeout(TIMEOUT_S):
            return await future

    return future.set_result, wait


@pytest.fixture(params=sorted(ENGINES))
def options(request: pytest.FixtureRequest) -> LinkOptions:
    return LinkOptions(engine=request.param)


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


async def test_what_comes_before_anybody_listens_is_kept_in_order(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, b):
        for number in range(3):
            a.control.send(bytes([number]))
        assert await a.link.drain(TIMEOUT_S)
        await asyncio.sleep(0.02)
        receiving = asyncio.create_task(messages(b.control, 4))
        await asyncio.sleep(0)
        a.control.send(b"last")
        assert await receiving == [b"\0", b"\1", b"\2", b"last"]


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
        assert await a.link.drain(TIMEOUT_S)
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
        b.link.on_lost = closed
        dead: list[str] = []
        for channel in (b.control, *b.data):
            channel.on_close = lambda: dead.append("channel")
        started = time.perf_counter()
        await a.close()
        assert time.perf_counter() - started < 0.1
        lost = await reason()
        assert (lost.loss, "closed" in lost.detail) == (Loss.CLOSED, True)
        assert time.perf_counter() - started < 0.5
        assert len(dead) == 4
        assert all(channel.state == "closed" for channel in (a.control, *a.data, b.control, *b.data))
        with pytest.raises(PeerVanished):
            b.data[0].send(b"late")
        with pytest.raises(PeerVanished):
            a.control.send(b"late")
        assert await b.link.drain(0.1), "it had nothing to say that was not acknowledged"
        assert not await b.link.say_last(0.1)
        await a.close()


async def test_closing_with_a_full_queue_is_quick_and_quiet(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, _):
        for _ in range(100):
            a.data[0].send(bytes(60_000))
        started = time.perf_counter()
        await a.close()
        assert time.perf_counter() - started < 0.2


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
            a.link.on_lost = lambda why: (order.append("link"), closed(why))[1]
            a.control.on_close = lambda: order.append("channel")
            started = time.perf_counter()
            kill(b)
            if speaks:
                a.control.send(b"anybody there?")
            lost = await reason()
            assert (lost.loss, "gone" in lost.detail) == (Loss.PEER_GONE, True)
            assert time.perf_counter() - started < 3.0, "two, and this machine's noise"
            assert a.link.lost is lost
            assert order == ["link", "channel"]
            assert a.control.state == "closed"
            assert not await a.link.say_last(1.0)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(die())


async def test_last_words_are_acknowledged_by_a_peer_that_closes_as_soon_as_it_hears_them(
    options: LinkOptions,
) -> None:
    for _ in range(3):
        async with two_links(options, options) as (a, b):
            closing: list[asyncio.Task[None]] = []

            def close(_message: bytes, b: LinkEnd = b, closing: list[asyncio.Task[None]] = closing) -> None:
                closing.append(asyncio.create_task(b.close()))

            b.control.on_message = close
            a.control.send(b"cancel")
            assert await a.link.say_last(5.0)
            await asyncio.gather(*closing)


async def test_last_words_leave_ahead_of_a_full_queue(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, b):
        heard = asyncio.create_task(messages(b.control, 1))
        await asyncio.sleep(0)
        for _ in range(400):
            a.data[0].send(bytes(60_000))
        a.control.send(b"cancel")
        assert await a.link.say_last(5.0)
        assert await heard == [b"cancel"]
        assert b.data[0].state == "open"


async def test_the_side_that_closes_is_not_told_that_it_closed(options: LinkOptions) -> None:
    async with two_links(options, options) as (a, _):
        told: list[PeerVanished] = []
        a.link.on_lost = told.append
        await a.close()
        assert told == []
