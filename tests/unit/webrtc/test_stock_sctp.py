"""aiortc's SCTP behind our bounds, one packet at a time."""

from __future__ import annotations

import struct

import pytest
from aiortc.rtcsctptransport import HeartbeatAckChunk, SackChunk

from tallow_cli.webrtc.stock_sctp import (
    MAX_DUPLICATES,
    MAX_GAP_BLOCKS,
    STOCK_RWND_BYTES,
    StockSctpTransport,
)
from tests.support.hostile_peer import chunk, data_chunk, packet, parameter
from tests.unit.webrtc.test_sctp_wall import Dtls, established, open_channel, sent

BINARY = 53
FIRST = 100  # the TSN that `init` announces


@pytest.fixture
async def sctp() -> StockSctpTransport:
    transport = StockSctpTransport(Dtls())  # type: ignore[arg-type]
    transport._remote_port = 5000
    return transport


async def receive(sctp: StockSctpTransport, *chunks: bytes) -> None:
    await sctp._handle_data(packet(sctp._local_verification_tag, *chunks))


def held(sctp: StockSctpTransport) -> int:
    return sum(len(piece.user_data) for each in sctp._inbound_streams.values() for piece in each.reassembly)


async def test_messages_arrive_and_are_acknowledged(sctp: StockSctpTransport) -> None:
    await established(sctp)
    _, heard = open_channel(sctp, 1)
    await receive(sctp, data_chunk(FIRST, 1, BINARY, b"one"), data_chunk(FIRST + 1, 1, BINARY, b"two", ssn=1))
    assert heard == [b"one", b"two"]
    assert sent(sctp)[-1].cumulative_tsn == FIRST + 1


async def test_packets_that_would_end_aiortcs_receiving_task_are_dropped(sctp: StockSctpTransport) -> None:
    await established(sctp)
    _, heard = open_channel(sctp, 1)
    answers = len(sent(sctp))
    hostile = [
        chunk(0, bytes(5)),
        chunk(0, bytes(12)),
        chunk(3, bytes(5)),
        chunk(3, struct.pack("!LLHH", 0, 0, 9, 0)),
        chunk(192, bytes(7)),
        chunk(130, parameter(13, bytes(3))),
        chunk(7, bytes(1)),
        chunk(4, parameter(1, length=0)),
        chunk(1, init_body()) + chunk(11),
    ]
    for each in hostile:
        await receive(sctp, each)
    await sctp._handle_data(b"")
    await sctp._handle_data(packet(sctp._local_verification_tag ^ 1, chunk(11)))
    broken = packet(sctp._local_verification_tag, chunk(4, parameter(1)))
    await sctp._handle_data(broken[:8] + bytes(4) + broken[12:])
    assert (sctp.dropped, len(sent(sctp))) == (len(hostile) + 3, answers)
    await receive(sctp, data_chunk(FIRST, 1, BINARY, b"x"))
    assert heard == [b"x"]


def init_body() -> bytes:
    return struct.pack("!LLHHL", 7, 1 << 20, 9, 9, FIRST)


async def test_data_and_forward_tsn_before_the_peers_init_are_dropped(sctp: StockSctpTransport) -> None:
    open_channel(sctp, 1)
    await receive(sctp, data_chunk(FIRST, 1, BINARY, b"x"))
    await receive(sctp, chunk(192, bytes(4)))
    assert (sctp.dropped, sent(sctp)) == (2, [])


async def test_heartbeats_are_answered_and_their_answers_mean_nothing(sctp: StockSctpTransport) -> None:
    await established(sctp)
    await receive(sctp, chunk(4, parameter(1, b"info")), chunk(5, parameter(1, length=0)))
    (answer,) = [each for each in sent(sctp) if isinstance(each, HeartbeatAckChunk)]
    assert answer.params == [(1, b"info")]


async def test_the_announced_window_is_enforced_but_for_what_fills_the_first_gap(
    sctp: StockSctpTransport,
) -> None:
    await established(sctp)
    open_channel(sctp, 1)
    content = bytes(60_000)
    for number in range(1, 40):
        await receive(sctp, data_chunk(FIRST + number, 1, BINARY, content, flags=4))
    assert STOCK_RWND_BYTES - 60_000 < held(sctp) <= STOCK_RWND_BYTES * 5 // 4
    before = held(sctp)
    await receive(sctp, data_chunk(FIRST, 1, BINARY, content, flags=6))
    assert held(sctp) == before + 60_000


async def test_tiny_fragments_and_numbers_far_ahead_are_bounded_too(sctp: StockSctpTransport) -> None:
    most = sctp.max_fragments = 2 * MAX_GAP_BLOCKS
    await established(sctp)
    open_channel(sctp, 1)
    for number in range(1, most + 50):
        await receive(sctp, data_chunk(FIRST + 2 * number, 1, BINARY, b"x", flags=4))
        await receive(sctp, data_chunk(FIRST + 2 * number, 900, BINARY, b"x", flags=4))
    assert len(sctp._sack_misordered) == most
    await receive(sctp, data_chunk(FIRST + 70_000, 1, BINARY, b"x"))
    assert len(sctp._sack_misordered) == most
    sack = sent(sctp)[-1]
    assert isinstance(sack, SackChunk)
    assert len(sack.gaps) == MAX_GAP_BLOCKS
    assert len(bytes(sack)) < 1189


async def test_duplicates_in_a_sack_are_bounded(sctp: StockSctpTransport) -> None:
    await established(sctp)
    open_channel(sctp, 1)
    await receive(sctp, data_chunk(FIRST, 1, BINARY, b"x"))
    await receive(sctp, *[data_chunk(FIRST, 1, BINARY, b"x")] * 200)
    assert len(sent(sctp)[-1].duplicates) == MAX_DUPLICATES


async def test_streams_that_nobody_reads_leave_nothing_behind(sctp: StockSctpTransport) -> None:
    await established(sctp)
    open_channel(sctp, 1)
    for number in range(50):
        await receive(sctp, data_chunk(FIRST + number, 1000 + number, BINARY, b"x", flags=2))
    skipped = b"".join(struct.pack("!HH", 2000 + number, 5) for number in range(200))
    await receive(sctp, chunk(192, struct.pack("!L", FIRST + 60) + skipped + struct.pack("!HH", 1, 3)))
    assert set(sctp._inbound_streams) == {1}
    assert sctp._inbound_streams[1].sequence_number == 4
    assert sent(sctp)[-1].cumulative_tsn == FIRST + 60


async def test_a_sack_for_what_was_never_sent_is_dropped(sctp: StockSctpTransport) -> None:
    await established(sctp)
    channel, _ = open_channel(sctp, 1)
    before = sctp._last_sacked_tsn
    highest = (sctp._local_tsn - 1) & 0xFFFFFFFF
    ahead = struct.pack("!LLHH", (highest + 1) & 0xFFFFFFFF, 1 << 20, 0, 0)
    gap_ahead = struct.pack("!LLHHHH", highest, 1 << 20, 1, 0, 2, 60_000)
    for body in (ahead, gap_ahead):
        await receive(sctp, chunk(3, body))
    assert (sctp.dropped, sctp._last_sacked_tsn) == (2, before)
    await receive(sctp, chunk(3, struct.pack("!LLHH", highest, 1 << 20, 0, 0)))
    assert (sctp.dropped, channel.readyState) == (2, "open")


async def test_a_second_association_is_not_begun(sctp: StockSctpTransport) -> None:
    await established(sctp)
    await sctp._handle_data(packet(0, chunk(1, struct.pack("!LLHHL", 99, 1 << 20, 9, 9, 5))))
    assert (sctp.dropped, sctp._remote_verification_tag) == (1, 7)
