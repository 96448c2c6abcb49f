"""Whatever a peer sends, the data plane neither raises, nor grows past its bounds, nor delivers wrong bytes."""

from __future__ import annotations

import contextlib
import os
import random
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tallow_cli.dataplane.association import Association
from tallow_cli.dataplane.batches import BatchBuilder
from tallow_cli.dataplane.packets import (
    PacketWriter,
    chunks_untrusted,
    encode_forward_tsn,
    encode_sack,
    parse_forward_tsn_untrusted,
    parse_path_probe_ack,
    parse_sack_untrusted,
)
from tallow_cli.dataplane.reassembly import MessageReceived
from tallow_cli.dataplane.received_tsns import ReceivedTsns
from tallow_cli.dataplane.receiver import Receiver
from tallow_cli.errors import PeerProtocolError
from tests.sim.associations import make_configs

# Longer: TALLOW_FUZZ=50 pytest tests/property
EFFORT = int(os.environ.get("TALLOW_FUZZ", "1"))
FIRST = 2**32 - 20
TAG = 77
RWND = 50_000
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)


def receiver() -> Receiver:
    return Receiver(
        local_tag=TAG,
        remote_tag=78,
        initial_tsn=FIRST,
        local_rwnd_bytes=RWND,
        accept_zero_checksum=True,
        ack_every_packets=4,
        max_message_bytes=20_000,
    )


@given(st.binary(max_size=200))
def test_parsers_raise_nothing_but_their_own_error(body: bytes) -> None:
    for parse in (chunks_untrusted, parse_sack_untrusted, parse_forward_tsn_untrusted):
        with contextlib.suppress(PeerProtocolError):
            parse(body)
    parse_path_probe_ack(body)


near_tsn = st.one_of(st.integers(-5, 60), st.integers(-70_000, 140_000), st.integers(-(2**31), 2**31))
data_chunk = st.builds(
    lambda at, flags, stream, ssn, data: (
        struct.pack("!BBHLHHL", 0, flags, 16 + len(data), (FIRST + at) % 2**32, stream, ssn, 53)
        + data
        + bytes(-len(data) % 4)
    ),
    near_tsn,
    st.integers(0, 15),
    st.integers(0, 2),
    st.one_of(st.integers(0, 5), u16),
    st.binary(max_size=40),
)
forward_chunk = st.builds(
    lambda at, streams: encode_forward_tsn((FIRST + at) % 2**32, streams),
    near_tsn,
    st.lists(st.tuples(u16, u16), max_size=4),
)
sack_chunk = st.builds(
    lambda at, rwnd, gaps, duplicates: encode_sack((FIRST + at) % 2**32, rwnd, gaps, duplicates),
    near_tsn,
    u32,
    st.lists(u16, max_size=12).map(lambda gaps: gaps[: len(gaps) & ~1]),
    st.lists(u32, max_size=3),
)
raw_chunk = st.builds(
    lambda kind, flags, length, body: struct.pack("!BBH", kind, flags, length) + body,
    st.integers(0, 255),
    st.integers(0, 255),
    u16,
    st.binary(max_size=40),
)
hostile_packet = st.builds(
    lambda chunks, tag: PacketWriter(1, 2, tag, zero_checksum=True).control(b"".join(chunks)),
    st.lists(st.one_of(data_chunk, data_chunk, forward_chunk, sack_chunk, raw_chunk), min_size=1, max_size=3),
    st.sampled_from([TAG, TAG, TAG, TAG, 78, 0]),
)
anything = st.one_of(hostile_packet, hostile_packet, hostile_packet, st.binary(max_size=100))


fragment = st.tuples(
    st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1, 2]),  # how far off the next TSN
    st.sampled_from([0, 0, 1, 2, 3, 4, 5, 6, 7, 15]),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([0, 0, 0, 1]),
    st.integers(1, 9),
    st.booleans(),
)


@settings(max_examples=400 * EFFORT, deadline=None)
@given(st.lists(fragment, max_size=40), st.integers(1, 12))
def test_the_hot_loop_does_what_the_plain_road_does_with_nearly_ordinary_fragments(
    fragments: list[tuple[int, int, int, int, int, bool]], batch_size: int
) -> None:
    tsn, packets = FIRST, []
    for skip, flags, stream, ssn, size, zero_checksum in fragments:
        tsn += skip
        chunk = struct.pack("!BBHLHHL", 0, flags, 16 + size, tsn % 2**32, stream, ssn, 53)
        writer = PacketWriter(1, 2, TAG, zero_checksum=zero_checksum)
        packets.append(writer.control(chunk + bytes([tsn % 256]) * size + bytes(-size % 4)))
        tsn += 1
    compare_roads([packets[at : at + batch_size] for at in range(0, len(packets), batch_size)])


@settings(max_examples=200 * EFFORT, deadline=None)
@given(st.lists(st.lists(anything, max_size=8), max_size=8))
def test_the_hot_loop_does_what_the_plain_road_does_with_anything(batches: list[list[bytes]]) -> None:
    compare_roads(batches)


def compare_roads(batches: list[list[bytes]]) -> None:
    fast, plain = receiver(), receiver()
    for now, batch in enumerate(batches):
        others_fast = fast.receive(float(now), batch)
        others_plain: list[Any] = []
        for packet in batch:
            plain._receive_one(float(now), packet, others_plain)
        assert others_fast == others_plain
        assert fast.reassembly.take_delivered() == plain.reassembly.take_delivered()
        if not fast.reassembly.discarded_fragments:
            # Of fragments that contradict each other, how many are thrown away depends on their company.
            assert fast.reassembly.held_bytes == plain.reassembly.held_bytes
        assert fast.tsns.cumulative_end == plain.tsns.cumulative_end
        assert fast.tsns.take_sack(1, 1_000) == plain.tsns.take_sack(1, 1_000)
    assert fast.dropped_packets == plain.dropped_packets


@settings(max_examples=300 * EFFORT, deadline=None)
@given(st.lists(st.lists(anything, max_size=8), max_size=8), st.integers(0, 2**32))
def test_hostile_packets_neither_crash_an_association_nor_fill_its_memory(
    batches: list[list[bytes]], seed: int
) -> None:
    config, _ = make_configs(
        random.Random(seed), first_tsns=(FIRST % 2**32, FIRST % 2**32), local_rwnd_bytes=RWND
    )
    association = Association(config)
    association._receiver._local_tag = TAG
    now = 0.0
    for batch in batches:
        association.send_message(1, 53, bytes(3_000), ordered=False, max_retransmits=0)
        association.send_message(2, 53, bytes(3_000))
        association.receive_packets(now, batch)
        assert association.held_bytes <= 2 * RWND
        association.events()
        association.handle_timeout(now)
        for _ in range(100):
            if not association.packets(now):
                break
        else:
            raise AssertionError("it would send for ever")
        stats = association.stats
        assert 0 <= stats.inflight_bytes <= 8 * 6_200
        at = association.next_timeout()
        now = max(now + 0.001, min(at if at is not None else now, now + 1.0))


@settings(max_examples=200 * EFFORT, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 80), st.integers(1, 12)), max_size=40), st.integers(1, 20))
def test_received_tsns_agree_with_a_set(stretches: list[tuple[int, int]], ack_every: int) -> None:
    tsns, model = ReceivedTsns(FIRST, ack_every), set(range(FIRST - 10, FIRST))
    for at, length in stretches:
        first = FIRST + at
        end = first
        while end < first + length and end not in model:
            end += 1
        if end == first:
            assert first in tsns
            continue
        tsns.add(0.0, first, end)
        model.update(range(first, end))
    cumulative_end = FIRST
    while cumulative_end in model:
        cumulative_end += 1
    assert tsns.cumulative_end == cumulative_end
    assert tsns.highest_end == max(model) + 1
    sack = parse_sack_untrusted(tsns.take_sack(0, 10_000)[4:])
    reported = {
        cumulative_end - 1 + offset
        for start, last in zip(sack.gaps[::2], sack.gaps[1::2], strict=True)
        for offset in range(start, last + 1)
    }
    assert reported == {tsn for tsn in model if tsn >= cumulative_end}


@settings(max_examples=150 * EFFORT, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6_000), st.booleans(), st.integers(0, 2)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_messages_arrive_whole_through_any_order_of_packets(
    messages: list[tuple[int, bool, int]], chance: random.Random, zero_checksum: bool
) -> None:
    r = receiver()
    r._top_limit = r._gap_limit = 10**9
    writer = PacketWriter(1, 2, TAG, zero_checksum=zero_checksum)
    tsn, ssns, packets = FIRST, {0: 0, 1: 0, 2: 0}, []
    expected: list[MessageReceived] = []
    for number, (size, ordered, stream) in enumerate(messages):
        data = chance.randbytes(size)
        fragment = chance.choice([100, 1160])
        count = -(-size // fragment)
        flags = 0 if ordered else 4
        packets += writer.data(tsn, stream, ssns[stream], number, flags, memoryview(data), 0, fragment, count)
        tsn += count
        ssns[stream] += ordered
        expected.append(MessageReceived(stream, number, data))
    packets += chance.sample(packets, len(packets) // 4)
    chance.shuffle(packets)
    got: list[MessageReceived] = []
    while packets:
        size = chance.randint(1, 8)
        r.receive(0.0, packets[:size])
        del packets[:size]
        got += r.reassembly.take_delivered()
    assert sorted(got, key=lambda message: message.ppid) == expected
    for stream in ssns:
        in_order = [m.ppid for m in got if m.stream_id == stream and messages[m.ppid][1]]
        assert in_order == sorted(in_order)
    assert r.reassembly.held_bytes == 0


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from([100, 1160, 1404]), st.integers(1, 1404)), max_size=20
    )
)
def test_batches_keep_every_packet_in_order_and_are_what_gso_takes(runs: list[tuple[int, int, int]]) -> None:
    builder, everything = BatchBuilder(16, 10_000, 37), []
    for number, (count, size, last) in enumerate(runs):
        packets = [number.to_bytes(4) * (size // 4)] * (count - 1) + [bytes(min(size, last))]
        builder.add(packets)
        everything += packets
    assert [packet for batch in builder.batches for packet in batch] == everything
    for batch in builder.batches:
        assert len({len(packet) for packet in batch[:-1]}) <= 1
        assert len(batch[-1]) <= len(batch[0])
        assert len(batch) <= 16
        assert len(batch) == 1 or len(batch) * (len(batch[0]) + 37) <= 10_000
