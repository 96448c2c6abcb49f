"""What somebody who knows the code can do through SCTP, before anything is confirmed: fail. Both engines."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tallow_cli.link.link import LinkOptions
from tallow_cli.webrtc.engines import ENGINES
from tests.support.hostile_peer import HostilePeer, chunk, data_chunk, parameter
from tests.support.link_end import LinkEnd

pytestmark = pytest.mark.timeout(60)

TIMEOUT_S = 20.0
OPEN = 3
DCEP, TEXT, BINARY = 50, 51, 53


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def attacked(engine: str) -> AsyncIterator[tuple[LinkEnd, LinkEnd, HostilePeer]]:
    """(victim, the attacker's honest half, its hostile half), connected."""
    victim = await LinkEnd.prepare("host", LinkOptions(engine=engine))
    attacker = await LinkEnd.prepare("joiner", LinkOptions(engine=engine))
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    try:
        await asyncio.gather(
            victim.connect(attacker.description, TIMEOUT_S), attacker.connect(victim.description, TIMEOUT_S)
        )
        yield victim, attacker, HostilePeer(attacker)
    finally:
        await asyncio.gather(victim.close(), attacker.close())
    assert complaints == []
    assert victim.sctp.stumbles == 0


async def still_hears(victim: LinkEnd, attacker: LinkEnd, content: bytes = b"still here") -> None:
    heard = asyncio.get_running_loop().create_future()
    victim.control.on_message = lambda message: None if heard.done() else heard.set_result(message)
    attacker.control.send(content)
    async with asyncio.timeout(TIMEOUT_S):
        assert await heard == content


@pytest.mark.parametrize("length", [0, 1, 3, 5, 0xFFFF])
async def test_a_parameter_that_lies_about_its_length_is_dropped_at_once(engine: str, length: int) -> None:
    fixed = {
        1: struct.pack("!LLHHL", 7, 1 << 20, 9, 9, 7),
        2: struct.pack("!LLHHL", 7, 1 << 20, 9, 9, 7),
    }
    async with attacked(engine) as (victim, attacker, hostile):
        started = time.monotonic()
        for kind in (1, 2, 4, 5, 9, 130):
            lying = fixed.get(kind, b"") + parameter(1, length=length)
            await hostile.say(chunk(kind, lying), tag=0 if kind == 1 else None)
        await still_hears(victim, attacker)
        assert time.monotonic() - started < 10


async def test_an_abort_with_causes_that_make_no_sense_is_an_abort(engine: str) -> None:
    async with attacked(engine) as (victim, _, hostile):
        ended = asyncio.get_running_loop().create_future()
        victim.link.on_lost = ended.set_result
        await hostile.say(chunk(6, parameter(12, length=0)))
        async with asyncio.timeout(TIMEOUT_S):
            await ended


async def test_channels_that_nobody_asked_for_are_not_opened(engine: str) -> None:
    async with attacked(engine) as (victim, attacker, hostile):
        label = bytes(1000)
        opening = struct.pack("!BBHLHH", OPEN, 0, 0, 0, len(label), 0) + label
        first = hostile.take_tsns(300)
        for number in range(300):
            await hostile.say(data_chunk(first + number, 100 + number, DCEP, opening))
            if number % 50 == 0:
                await asyncio.sleep(0)
        await still_hears(victim, attacker)
        assert len(victim.sctp._data_channels) == 1 + len(victim.data)
        assert len(victim.sctp._inbound_streams) <= 1 + len(victim.data)


async def test_text_and_messages_on_unknown_streams_reach_nobody_and_stall_nobody(engine: str) -> None:
    async with attacked(engine) as (victim, attacker, hostile):
        heard: list[bytes] = []
        victim.control.on_message = heard.append
        first = hostile.take_tsns(5)
        # On stream 1, unordered, so that the control channel's own order is left alone.
        for number, (stream, ppid, content) in enumerate(
            [(1, TEXT, b"\xff\xfe"), (1, TEXT, b"words"), (1, 54, b"x"), (1, 56, b"\0"), (900, BINARY, b"x")]
        ):
            await hostile.say(data_chunk(first + number, stream, ppid, content, flags=7))
        for channel in victim.data:
            channel.on_message = heard.append
        await still_hears(victim, attacker)
        assert heard == []


async def test_a_peer_that_ignores_the_window_is_not_given_the_memory(engine: str) -> None:
    """Fragments without a beginning in sight, and every other TSN left out so that nothing ever joins: what has grown
    longer than a message may be is thrown away at once.
    """
    async with attacked(engine) as (victim, _, hostile):
        first = hostile.take_tsns(1) + 1
        content = bytes(1160)
        most = 0
        for number in range(20_000 if engine == "turbo" else 2_500):
            await hostile.say(data_chunk(first + 2 * number, 1, BINARY, content, flags=4 if number else 6))
            # asyncio hands aiortc one datagram a turn of the loop.
            if engine == "aiortc" or number % 20 == 19:
                await asyncio.sleep(0)
                most = max(most, _held_bytes(victim))
        window = (16 if engine == "turbo" else 1) * 1024 * 1024
        assert window // 2 < most <= window * 5 // 4


async def test_gap_blocks_that_overlap_cost_nothing(engine: str) -> None:
    async with attacked(engine) as (victim, attacker, hostile):
        gaps = [(1, 0xFFFF)] * 300
        sack = struct.pack("!LLHH", hostile.sctp._last_received_tsn or 0, 1 << 20, len(gaps), 0)
        sack += b"".join(struct.pack("!HH", *gap) for gap in gaps)
        started = time.process_time()
        for _ in range(20):
            await hostile.say(chunk(3, sack))
        await still_hears(victim, attacker)
        assert time.process_time() - started < 5


async def test_an_init_of_another_association_changes_nothing(engine: str) -> None:
    async with attacked(engine) as (victim, attacker, hostile):
        other = struct.pack("!LLHHL", 0x01020304, 1 << 20, 9, 9, 77)
        await hostile.say(chunk(1, other), tag=0)
        own = struct.pack(
            "!LLHHL", hostile.sctp._local_verification_tag, 1 << 20, 9, 9, hostile.sctp._local_tsn
        )
        await still_hears(victim, attacker)
        await hostile.say(chunk(1, own), tag=0)
        await still_hears(victim, attacker, b"and again")


def _held_bytes(victim: LinkEnd) -> int:
    sctp: Any = victim.sctp
    if getattr(sctp, "_association", None) is not None:
        return int(sctp._association.held_bytes)
    return sum(
        len(piece.user_data) for stream in sctp._inbound_streams.values() for piece in stream.reassembly
    )
