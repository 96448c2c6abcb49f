"""Properties of the transfer protocol's parts: models, inverses, and a parser that only ever says no politely."""

from __future__ import annotations

import itertools
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from tallow_cli.errors import PeerProtocolError
from tallow_cli.offer.name_rules import POSIX
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer import frames
from tallow_cli.transfer.driving import ChannelState, Failed
from tallow_cli.transfer.frames import (
    Ack,
    Control,
    Credit,
    Data,
    Floor,
    Frame,
    Ping,
    encode_frames,
    encode_header,
    parse_frames_untrusted,
    parse_header_untrusted,
)
from tallow_cli.transfer.messages import (
    Accept,
    ControlAssembler,
    Offer,
    Ready,
    decode_message_untrusted,
    encode_message,
)
from tallow_cli.transfer.messagesize import even_split
from tallow_cli.transfer.receiver import ReceiveMachine, ReceiveState
from tallow_cli.transfer.sender import SendMachine
from tests.support.transfer_peer import HandPeer

bounds = st.integers(0, 60)
operations = st.lists(st.tuples(st.sampled_from(["add", "remove"]), bounds, bounds), max_size=40)


@given(operations, bounds, bounds)
def test_a_range_set_is_a_set_of_integers(steps, low, high):
    ranges, model = RangeSet(), set()
    for action, start, end in steps:
        before = len(model)
        if action == "add":
            model |= set(range(start, end))
            assert ranges.add(start, end) == len(model) - before
        else:
            model -= set(range(start, end))
            assert ranges.remove(start, end) == before - len(model)
    assert {n for start, end in ranges for n in range(start, end)} == model
    assert ranges.total == len(model)
    pairs = list(ranges)
    assert all(start < end for start, end in pairs)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(pairs)), "disjoint, merged"
    assert ranges.covers(low, high) == (set(range(low, high)) <= model)
    assert (low in ranges) == (low in model)
    gaps = {n for start, end in ranges.gaps(low, high) for n in range(start, end)}
    assert gaps == set(range(low, high)) - model
    until = ranges.covered_until(low)
    assert set(range(low, until)) <= model
    assert until not in model
    assert list(reversed(ranges)) == pairs[::-1]


@st.composite
def acks(draw: st.DrawFn) -> Ack:
    top = draw(st.integers(0, frames.MAX_NUMBER))
    ranges, last = [], top
    for length, gap in draw(
        st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=30)
    ):
        first = last - length + 1
        if first < 0:
            break
        ranges.append((first, last))
        last = first - gap - 1
    return Ack(draw(st.integers(1, 16)), draw(st.integers(0, 2**32 - 1)), tuple(ranges) or ((top, top),))


some_bytes = st.binary(min_size=1, max_size=100).map(memoryview)
offsets = st.integers(0, frames.MAX_OFFSET - 100)
small_frames = st.one_of(
    st.just(Ping()), acks(), st.builds(Credit, offsets), st.builds(Floor, st.integers(0, frames.MAX_OFFSET))
)
last_frames = st.one_of(
    st.builds(Data, offsets, st.booleans(), some_bytes), st.builds(Control, st.booleans(), some_bytes)
)


@given(st.lists(small_frames, max_size=20), st.none() | last_frames)
def test_what_is_encoded_is_parsed_as_the_same_frames(small: list[Frame], last: Frame | None):
    sent = small + ([last] if last is not None else [])
    if sent:
        assert parse_frames_untrusted(encode_frames(sent)) == sent


@given(st.booleans(), st.integers(0, frames.MAX_CHANNEL_INDEX), st.integers(0, frames.MAX_NUMBER))
def test_every_header_is_read_back(sealed, channel, number):
    header = parse_header_untrusted(encode_header(sealed, channel, number) + b"x")
    assert (header.sealed, header.channel, header.number) == (sealed, channel, number)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_a_protocol_error(data):
    for parse in (parse_frames_untrusted, parse_header_untrusted, decode_message_untrusted):
        with suppress(PeerProtocolError):
            parse(data)


@given(st.lists(small_frames, min_size=1, max_size=5), st.data())
def test_damaged_frames_raise_nothing_but_a_protocol_error(sent, data):
    payload = bytearray(encode_frames(sent))
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] = data.draw(st.integers(0, 255))
    with suppress(PeerProtocolError):
        parse_frames_untrusted(payload)
    with suppress(PeerProtocolError):
        parse_frames_untrusted(payload[:position])


@given(st.binary(max_size=300), st.integers(1, 50))
def test_fragments_of_any_size_assemble_to_the_message(manifest, size):
    encoded = encode_message(Offer(1, manifest))
    assembler = ControlAssembler()
    whole = None
    for start in range(0, len(encoded), size):
        whole = assembler.feed(encoded[start : start + size], more=start + size < len(encoded))
    assert whole == Offer(1, manifest)


@given(st.integers(1, 10_000_000), st.integers(1, 300_000))
def test_an_even_split_is_even_and_no_longer_than_it_must_be(size, limit):
    first = even_split(size, limit)
    messages = -(-size // limit)
    assert first <= limit
    assert first * messages >= size
    assert first * (messages - 1) < size or messages == 1


class Chunks:
    chunk_size = 5000


hostile_payloads = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.lists(small_frames, min_size=1, max_size=4).map(encode_frames),
    last_frames.map(lambda frame: encode_frames([frame])),
    st.builds(
        lambda offset, size: encode_frames([Data(offset, True, memoryview(bytes(size)))]),
        st.integers(0, 20_100),
        st.integers(1, 5000),
    ),
)
hostile_packets = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50), hostile_payloads), max_size=30)


@settings(max_examples=200)
@given(hostile_packets)
def test_no_packets_make_the_receiver_raise_write_twice_or_leave_its_bounds(packets):
    machine = ReceiveMachine(channels=2, now=0.0)
    peer = HandPeer(machine)
    peer.say(Offer(1, b"m"))
    machine.accept(0.0, [10_000, 20_000])
    on_disk = RangeSet()
    for now, (channel, number, payload) in enumerate(packets):
        machine.receive(float(now), channel, number, payload)
        for offset, data in machine.writes():
            assert on_disk.add(offset, offset + len(data)) == len(data)
            machine.written(float(now), offset, len(data))
        machine.packets(float(now))
        machine.handle_timeout(float(now))
    assert not on_disk or next(reversed(on_disk))[1] <= 20_000
    failures = [event for event in machine.events() if isinstance(event, Failed)]
    assert (machine.state is ReceiveState.FAILED) == bool(failures)


@settings(max_examples=200)
@given(hostile_packets)
def test_no_packets_make_the_sender_raise_or_leave_its_bounds(packets):
    machine = SendMachine(channels=2, chunk_sizer=Chunks(), now=0.0)
    peer = HandPeer(machine)
    peer.say(Ready(1, POSIX))
    machine.offer(0.0, b"m", (20_000,))
    peer.say(Accept(1 << 20))
    sent = 0
    for now, (channel, number, payload) in enumerate(packets):
        while (request := machine.next_read(float(now))) is not None:
            machine.chunk_read(float(now), request.offset, bytes(request.size))
        sent += len(machine.packets(float(now)))
        machine.receive(float(now), channel, number, payload)
        machine.handle_timeout(float(now))
        figures = machine.figures
        assert 0 <= figures.bytes_acked <= 20_000
        assert figures.bytes_in_flight >= 0
        assert 0 <= figures.retained_bytes <= 20_000
    machine.channel_state(100.0, 1, ChannelState.CLOSED)
    machine.packets(100.0)
