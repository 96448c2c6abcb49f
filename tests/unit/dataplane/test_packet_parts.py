import contextlib
import random

import pytest

from tallow_cli.dataplane.packet_parts import MAX_OPEN, MAX_WHOLE_BYTES, PacketJoiner, PacketSplitter
from tallow_cli.dataplane.packets import COMMON_HEADER_BYTES, PART, PacketWriter, chunks_untrusted
from tallow_cli.errors import PeerProtocolError

PATH_BYTES = 1_188
HEAD = COMMON_HEADER_BYTES + 4


def split(packet: bytes, splitter: PacketSplitter | None = None) -> list[bytes]:
    """The PART chunks' values."""
    splitter = splitter or PacketSplitter(PacketWriter(1, 2, 3, zero_checksum=True))
    return [part[HEAD:] for part in splitter.split(packet, PATH_BYTES)]


def test_what_fits_goes_as_it_is() -> None:
    packet = bytes(PATH_BYTES)
    assert PacketSplitter(PacketWriter(1, 2, 3, zero_checksum=True)).split(packet, PATH_BYTES) == [packet]


@pytest.mark.parametrize("size", [PATH_BYTES + 1, 1_432, 2_400, 8_932, 16_352, MAX_WHOLE_BYTES])
def test_a_packet_too_large_arrives_whole_in_whatever_order_its_parts_come(size: int) -> None:
    rng = random.Random(size)
    packet = rng.randbytes(size)
    parts = PacketSplitter(PacketWriter(1, 2, 3, zero_checksum=True)).split(packet, PATH_BYTES)
    sizes = [len(part) for part in parts]
    assert max(sizes) <= PATH_BYTES
    assert len(set(sizes[:-1])) == 1
    assert sizes[-1] <= sizes[0], "one GSO buffer takes them"
    assert [span.type for part in parts for span in chunks_untrusted(part)] == [PART] * len(parts)
    bodies = [part[HEAD:] for part in parts]
    rng.shuffle(bodies)
    joiner = PacketJoiner()
    *early, last = [joiner.add_untrusted(body) for body in [*bodies[:-1], bodies[0], bodies[-1]]]
    assert last == packet
    assert early == [None] * len(early), "a repeated part adds nothing"


def test_packets_may_interleave() -> None:
    splitter = PacketSplitter(PacketWriter(1, 2, 3, zero_checksum=True))
    one, two = split(b"1" * 2_000, splitter), split(b"2" * 2_000, splitter)
    joiner = PacketJoiner()
    found = [joiner.add_untrusted(body) for pair in zip(one, two, strict=True) for body in pair]
    assert found == [None, None, b"1" * 2_000, b"2" * 2_000]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        b"\0\0\0\1" + b"\x03\x00" + b"\x04\x00" + bytes(257),  # ends behind the end
        b"\0\0\0\1" + b"\x00\x00" + b"\x04\x00" + bytes(255),  # too short for one that is not the last
        b"\0\0\0\1" + b"\x00\x00" + b"\xff\xff" + bytes(1_000),  # of a packet larger than a record
    ],
)
def test_what_cannot_be_a_part_is_refused(body: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        PacketJoiner().add_untrusted(body)


def test_parts_that_overlap_are_refused() -> None:
    joiner = PacketJoiner()
    joiner.add_untrusted(b"\0\0\0\1" + b"\x00\x00" + b"\x04\x00" + bytes(600))
    with pytest.raises(PeerProtocolError):
        joiner.add_untrusted(b"\0\0\0\1" + b"\x01\x00" + b"\x04\x00" + bytes(600))


def test_packets_that_lost_a_part_are_forgotten_the_oldest_first() -> None:
    splitter = PacketSplitter(PacketWriter(1, 2, 3, zero_checksum=True))
    packets = [split(bytes([n]) * 2_000, splitter) for n in range(MAX_OPEN + 1)]
    joiner = PacketJoiner()
    for parts in packets:
        joiner.add_untrusted(parts[0])
    assert joiner.add_untrusted(packets[0][1]) is None
    assert joiner.add_untrusted(packets[MAX_OPEN][1]) == bytes([MAX_OPEN]) * 2_000


def test_a_last_part_that_never_ends_keeps_no_more_than_the_packet() -> None:
    joiner = PacketJoiner()
    for start in range(16_384 - 200, 16_384):
        part = bytes(16_384 - start)
        with contextlib.suppress(PeerProtocolError):
            joiner.add_untrusted(b"\0\0\0\1" + start.to_bytes(2, "big") + (16_384).to_bytes(2, "big") + part)
    held = sum(len(part) for whole in joiner._open.values() for part in whole.parts.values())
    assert held <= MAX_WHOLE_BYTES
