import struct

import pytest
from aiortc.rtcsctptransport import (
    DataChunk,
    ForwardTsnChunk,
    HeartbeatChunk,
    SackChunk,
    parse_packet,
    serialize_packet,
)

from tallow_cli.dataplane.packets import (
    FLAG_IMMEDIATE,
    FLAG_UNORDERED,
    HEARTBEAT,
    PAD,
    ChunkSpan,
    PacketWriter,
    Sack,
    checksum_is_valid,
    chunks_untrusted,
    encode_forward_tsn,
    encode_path_probe,
    encode_sack,
    parse_forward_tsn_untrusted,
    parse_path_probe_ack,
    parse_sack_untrusted,
    verification_tag_untrusted,
)
from tallow_cli.errors import PeerProtocolError


def writer(*, zero_checksum: bool = False) -> PacketWriter:
    return PacketWriter(5000, 5001, 0xDEADBEEF, zero_checksum=zero_checksum)


def test_fragments_read_back_in_aiortc_as_the_message_they_were() -> None:
    message = bytes(range(256)) * 11  # 2816 = 2 x 1160 + 496
    packets = writer().data(2**32 - 1, 7, 65_535 + 3, 53, FLAG_UNORDERED, memoryview(message), 0, 1160, 3)
    chunks = []
    for packet in packets:
        source, destination, tag, (chunk,) = parse_packet(packet)
        assert (source, destination, tag) == (5000, 5001, 0xDEADBEEF)
        assert isinstance(chunk, DataChunk)
        chunks.append(chunk)
    assert [c.flags for c in chunks] == [0b110, 0b100, 0b101]
    assert [c.tsn for c in chunks] == [2**32 - 1, 0, 1]
    assert {(c.stream_id, c.stream_seq, c.protocol) for c in chunks} == {(7, 2, 53)}
    assert b"".join(c.user_data for c in chunks) == message


def test_a_resent_middle_fragment_has_neither_begin_nor_end() -> None:
    packets = writer().data(5, 1, 0, 53, 0, memoryview(bytes(4000)), 1160, 1160, 1)
    assert parse_packet(packets[0])[3][0].flags == 0


def test_one_packet_messages_have_both_flags_and_padding() -> None:
    (packet,) = writer().data(5, 1, 0, 53, FLAG_IMMEDIATE, memoryview(b"hello"), 0, 1160, 1)
    assert len(packet) == 12 + 16 + 8
    (chunk,) = parse_packet(packet)[3]
    assert (chunk.flags, chunk.user_data) == (0b1011, b"hello")


def test_immediate_sack_is_asked_for_on_the_last_packet_only() -> None:
    packets = writer().data(5, 1, 0, 53, FLAG_IMMEDIATE, memoryview(bytes(3000)), 0, 1160, 2)
    assert [parse_packet(p)[3][0].flags for p in packets] == [0b0010, 0b1000]


def test_control_packets_carry_the_checksum_aiortc_computes() -> None:
    sack = SackChunk()
    sack.cumulative_tsn, sack.advertised_rwnd, sack.gaps, sack.duplicates = 9, 1000, [(2, 3), (7, 7)], [4]
    ours = writer().control(encode_sack(9, 1000, (2, 3, 7, 7), (4,)))
    assert ours == serialize_packet(5000, 5001, 0xDEADBEEF, sack)
    assert checksum_is_valid(ours, accept_zero=False)


def test_a_zero_checksum_is_valid_only_where_announced() -> None:
    packet = writer(zero_checksum=True).control(encode_sack(9, 1000, (), ()))
    assert packet[8:12] == bytes(4)
    assert checksum_is_valid(packet, accept_zero=True)
    assert not checksum_is_valid(packet, accept_zero=False)


def test_a_wrong_checksum_is_never_valid() -> None:
    packet = bytearray(writer().control(encode_sack(9, 1000, (), ())))
    packet[-1] ^= 1
    assert not checksum_is_valid(bytes(packet), accept_zero=True)


def test_sacks_survive_the_round_trip() -> None:
    body = encode_sack(2**32 - 1, 5, (2, 2, 4, 65_535), (1, 2**32 - 1))[4:]
    assert parse_sack_untrusted(body) == Sack(2**32 - 1, 5, (2, 2, 4, 65_535), (1, 2**32 - 1))


@pytest.mark.parametrize(
    "body",
    [b"", bytes(11), struct.pack("!LLHH", 1, 1, 1, 0), struct.pack("!LLHH", 1, 1, 0, 1) + bytes(3)],
)
def test_a_sack_shorter_than_its_counts_is_refused(body: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        parse_sack_untrusted(body)


def test_forward_tsn_reads_back_in_aiortc() -> None:
    packet = writer().control(encode_forward_tsn(2**32 + 4, [(1, 65_536), (9, 2)]))
    (chunk,) = parse_packet(packet)[3]
    assert isinstance(chunk, ForwardTsnChunk)
    assert (chunk.cumulative_tsn, chunk.streams) == (4, [(1, 0), (9, 2)])
    assert parse_forward_tsn_untrusted(chunk.body) == (4, [(1, 0), (9, 2)])


@pytest.mark.parametrize("body", [b"", bytes(3), bytes(6)])
def test_a_forward_tsn_of_an_impossible_length_is_refused(body: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        parse_forward_tsn_untrusted(body)


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_a_chunk_with_an_impossible_length_spoils_its_packet(length: int) -> None:
    packet = bytes(12) + struct.pack("!BBH", 3, 0, length) + bytes(4)
    with pytest.raises(PeerProtocolError):
        chunks_untrusted(packet)


def test_several_chunks_are_found_with_their_padding_skipped() -> None:
    packet = bytes(12) + struct.pack("!BBH", 9, 1, 5) + b"a\0\0\0" + struct.pack("!BBH", 11, 0, 4)
    assert chunks_untrusted(packet) == [ChunkSpan(9, 1, 16, 17), ChunkSpan(11, 0, 24, 24)]


def test_a_packet_without_a_chunk_or_a_tag_is_refused() -> None:
    with pytest.raises(PeerProtocolError):
        chunks_untrusted(bytes(12))
    with pytest.raises(PeerProtocolError):
        verification_tag_untrusted(bytes(15))


@pytest.mark.parametrize("size", [1188, 1432, 8932])
def test_path_probes_have_exactly_the_size_asked_for_and_come_back_through_aiortc(size: int) -> None:
    packet = writer().control(encode_path_probe(b"12345678", size))
    assert len(packet) == size
    assert [chunk.type for chunk in chunks_untrusted(packet)] == [HEARTBEAT, PAD]
    (heartbeat,) = parse_packet(packet)[3]  # aiortc does not know PAD and skips it
    assert isinstance(heartbeat, HeartbeatChunk)
    assert parse_path_probe_ack(heartbeat.body) == (b"12345678", size)


@pytest.mark.parametrize("body", [b"", bytes(16), struct.pack("!HH", 1, 12) + bytes(8)])
def test_answers_to_other_heartbeats_are_not_taken_for_probes(body: bytes) -> None:
    assert parse_path_probe_ack(body) is None
