"""The wire form of packets: what a hostile peer may send is refused, what we send is read back."""

import struct

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer import frames
from tallow_cli.transfer.frames import (
    HEADER_BYTES,
    Ack,
    Control,
    Credit,
    Data,
    Floor,
    PacketHeader,
    Ping,
    encode_ack,
    encode_data,
    encode_frames,
    encode_header,
    parse_frames_untrusted,
    parse_header_untrusted,
)


def ack_bytes(channel=1, largest=10, delay=0, length=1, count=0, pairs=()):
    return struct.pack(f">BBQIIH{len(pairs)}I", 2, channel, largest, delay, length, count, *pairs)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"\x07",
        b"\x03\x00",  # CREDIT cut short
        b"\x04" + b"\xff" * 8,  # FLOOR out of range
        b"\x05\x00" + bytes(8),  # DATA without data
        b"\x05\x02" + bytes(9),  # unknown DATA flag
        b"\x05\x00" + b"\x7f" + b"\xff" * 7 + b"xx",  # DATA beyond the largest offset
        b"\x06\x00",  # CONTROL without data
        b"\x06\x02x",
        b"\x02\x01",
        ack_bytes(channel=0),
        ack_bytes(channel=17),
        ack_bytes(largest=2**56),
        ack_bytes(length=0),
        ack_bytes(length=12),
        ack_bytes(count=1),  # the pair is missing
        ack_bytes(count=256, pairs=(1, 1) * 256, largest=10_000),
        ack_bytes(count=1, pairs=(0, 1)),  # touches the range above
        ack_bytes(count=1, pairs=(1, 0)),
        ack_bytes(count=1, pairs=(11, 1)),  # below zero
        ack_bytes(count=1, pairs=(1, 20)),
        b"\x01" * (frames.MAX_FRAMES + 1),
    ],
)
def test_a_malformed_payload_is_a_protocol_error(payload):
    with pytest.raises(PeerProtocolError):
        parse_frames_untrusted(payload)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes(HEADER_BYTES),  # no payload
        b"\x02" + bytes(HEADER_BYTES),
        b"\x00\x11" + bytes(HEADER_BYTES),
        b"\x01\x01" + b"\x01" + bytes(HEADER_BYTES),  # number of 57 bits
    ],
)
def test_a_malformed_header_is_a_protocol_error(message):
    with pytest.raises(PeerProtocolError):
        parse_header_untrusted(message)


def test_a_header_is_read_back():
    message = encode_header(True, 3, 2**56 - 1) + b"x"
    assert parse_header_untrusted(message) == PacketHeader(True, 3, 2**56 - 1)
    assert len(message) == HEADER_BYTES + 1


def test_frames_are_read_back_in_their_order():
    sent = [
        Ping(),
        Ack(2, 25_000, ((90, 100), (5, 7), (0, 0))),
        Credit(2**40),
        Floor(17),
        Data(2**33, True, memoryview(b"payload")),
    ]
    assert parse_frames_untrusted(encode_frames(sent)) == sent


def test_control_takes_the_rest_of_the_packet():
    sent = [Ping(), Control(True, memoryview(b"\x01\x02\x03"))]
    assert parse_frames_untrusted(encode_frames(sent)) == sent


def test_a_data_packet_carries_the_floor_before_the_data():
    payload = encode_data(7, 1000, memoryview(b"abc"), end_of_chunk=True)
    assert parse_frames_untrusted(payload) == [Floor(7), Data(1000, True, memoryview(b"abc"))]
    assert len(payload) == frames.FLOOR_BYTES + frames.DATA_HEADER_BYTES + 3


def test_data_is_a_view_and_not_a_copy():
    payload = bytearray(encode_data(0, 0, b"abc", end_of_chunk=False))
    (_, data) = parse_frames_untrusted(payload)
    payload[-1:] = b"X"
    assert isinstance(data, Data)
    assert bytes(data.data) == b"abX"


def test_an_ack_of_many_ranges_names_the_newest_and_fits_a_network_packet():
    received = RangeSet((number, number + 1) for number in range(0, 2000, 2))
    encoded = encode_ack(1, received, 0.001)
    (ack,) = parse_frames_untrusted(encoded)
    assert isinstance(ack, Ack)
    assert len(ack.ranges) == frames.SENT_ACK_RANGES
    assert ack.ranges[0] == (1998, 1998)
    assert ack.largest == 1998
    assert ack.delay_us == 1000
    assert len(encoded) < 1100


def test_an_absurd_ack_delay_saturates():
    (ack,) = parse_frames_untrusted(encode_ack(1, RangeSet([(0, 1)]), 1e9))
    assert isinstance(ack, Ack)
    assert ack.delay_us == 2**32 - 1
    (ack,) = parse_frames_untrusted(encode_ack(1, RangeSet([(0, 1)]), -5.0))
    assert isinstance(ack, Ack)
    assert ack.delay_us == 0
