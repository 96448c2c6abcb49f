import struct

import pytest

from tallow_cli.dataplane.packet_parts import PacketSplitter
from tallow_cli.dataplane.packets import (
    FLAG_BEGIN,
    FLAG_END,
    FLAG_IMMEDIATE,
    FLAG_UNORDERED,
    HEARTBEAT,
    SACK,
    PacketWriter,
    encode_forward_tsn,
    encode_sack,
)
from tallow_cli.dataplane.receiver import ControlChunk, Receiver

TAG = 0xAABBCCDD
PEER_TAG = 0x11223344
FIRST = 2**32 - 2


def receiver(*, rwnd: int = 1_000_000, accept_zero: bool = True) -> Receiver:
    return Receiver(
        local_tag=TAG,
        remote_tag=PEER_TAG,
        initial_tsn=FIRST,
        local_rwnd_bytes=rwnd,
        accept_zero_checksum=accept_zero,
        ack_every_packets=16,
        max_message_bytes=10_000_000,
    )


def data(
    offset: int, payload: bytes = b"data", flags: int = 7, *, tag: int = TAG, zero: bool = True
) -> bytes:
    """A packet with one DATA chunk, `offset` TSNs after the first."""
    writer = PacketWriter(1, 2, tag, zero_checksum=zero)
    tsn = (FIRST + offset) % 2**32
    header = struct.pack("!BBHLHHL", 0, flags, 16 + len(payload), tsn, 1, 0, 53)
    return writer.control(header + payload + bytes(-len(payload) % 4))


def message(offset: int, packets: int, size: int = 100, flags: int = FLAG_UNORDERED) -> list[bytes]:
    view = memoryview(bytes([offset % 256]) * (packets * size))
    writer = PacketWriter(1, 2, TAG, zero_checksum=True)
    return writer.data(FIRST + offset, 1, 0, 53, flags, view, 0, size, packets)


def delivered(r: Receiver) -> list[bytes]:
    return [m.data for m in r.reassembly.take_delivered()]


def test_a_batch_of_whole_and_half_messages_continues_in_the_next_batch() -> None:
    r = receiver()
    packets = message(0, 3) + message(3, 4) + message(7, 1)
    r.receive(0.0, packets[:5])
    assert delivered(r) == [bytes(300)]
    r.receive(0.0, packets[5:])
    assert delivered(r) == [b"\3" * 400, b"\7" * 100]
    assert (r.tsns.cumulative_end, r.reassembly.held_bytes) == (FIRST + 8, 0)


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 0, 2], [0, 0, 1, 1, 2, 2], [2, 0, 1, 0]])
def test_any_order_and_any_repetition_give_the_message_once(order: list[int]) -> None:
    r = receiver()
    packets = message(0, 3)
    r.receive(0.0, [packets[i] for i in order])
    assert delivered(r) == [bytes(300)]


def test_other_peoples_packets_are_dropped() -> None:
    r = receiver()
    r.receive(0.0, [data(0, tag=TAG ^ 1), data(0, tag=PEER_TAG), data(0, tag=0)])
    assert (r.dropped_packets, r.tsns.cumulative_end) == (3, FIRST)


def test_checksums_are_checked_and_zero_is_accepted_only_where_announced() -> None:
    strict, lenient = receiver(accept_zero=False), receiver()
    good, zero = data(0, zero=False), data(1)
    corrupt = good[:-1] + b"!"
    for r in (strict, lenient):
        r.receive(0.0, [corrupt, good])
        assert delivered(r) == [b"data"]
        assert r.dropped_packets == 1
    strict.receive(0.0, [zero])
    assert (strict.dropped_packets, delivered(strict)) == (2, [])
    lenient.receive(0.0, [zero])
    assert (lenient.dropped_packets, lenient.tsns.cumulative_end) == (1, FIRST + 2)


def test_chunks_of_other_kinds_go_to_the_shell_in_order_and_padding_chunks_vanish() -> None:
    r = receiver()
    writer = PacketWriter(1, 2, TAG, zero_checksum=True)
    sack = encode_sack(5, 6, (), ())
    heartbeat = struct.pack("!BBH", HEARTBEAT, 0, 8) + b"info"
    pad = struct.pack("!BBH", 0x84, 0, 100) + bytes(96)
    packet = writer.control(heartbeat + sack + data(0)[12:] + pad)
    others = r.receive(0.0, [packet])
    assert others == [ControlChunk(HEARTBEAT, 0, b"info"), ControlChunk(SACK, 0, sack[4:])]
    assert delivered(r) == [b"data"]


def test_init_comes_with_tag_zero_alone_and_with_a_real_checksum() -> None:
    r = receiver()
    init = struct.pack("!BBH", 1, 0, 20) + bytes(16)
    real = PacketWriter(1, 2, 0, zero_checksum=False).control(init)
    zero = PacketWriter(1, 2, 0, zero_checksum=True).control(init)
    two = PacketWriter(1, 2, 0, zero_checksum=False).control(init + init)
    assert [chunk.type for chunk in r.receive(0.0, [real, zero, two])] == [1]
    assert r.dropped_packets == 2


def test_an_abort_with_our_own_tag_reflected_is_believed_only_with_the_t_bit() -> None:
    r = receiver()
    writer = PacketWriter(1, 2, PEER_TAG, zero_checksum=True)
    reflected, plain = struct.pack("!BBH", 6, 1, 4), struct.pack("!BBH", 6, 0, 4)
    assert [chunk.type for chunk in r.receive(0.0, [writer.control(reflected)])] == [6]
    assert r.receive(0.0, [writer.control(plain)]) == []


def test_a_data_chunk_without_data_is_dropped() -> None:
    r = receiver()
    r.receive(0.0, [data(0, b"")])
    assert (r.dropped_packets, r.tsns.cumulative_end) == (1, FIRST)


def test_tsns_far_ahead_are_neither_kept_nor_acknowledged() -> None:
    r = receiver()
    for offset in (65_535, 100_000, 2**31 - 1):
        r.receive(0.0, [data(offset)])
    assert not r.tsns.has_gaps
    assert r.reassembly.held_bytes == 0
    assert r.tsns.sack_at == 0.0, "but the peer is told where we are"
    r.receive(0.0, [data(65_534)])
    assert r.tsns.has_gaps


def test_a_peer_that_ignores_our_window_is_not_let_beyond_twice_it() -> None:
    r = receiver(rwnd=100_000)
    for start in range(1, 1_000, 10):
        r.receive(0.0, [data(offset, bytes(1_000), 0) for offset in range(start, start + 10)])
        assert r.reassembly.held_bytes <= 200_000
    assert r.rwnd_bytes == 0
    for offset in range(999, 0, -2):
        r.receive(0.0, [data(offset, bytes(1_000), 0)])
        assert r.reassembly.held_bytes <= 200_000


def test_the_packet_everyone_waits_for_is_let_in_although_the_window_is_full() -> None:
    r = receiver(rwnd=100_000)
    packets = message(0, 200, 1_000)
    r.receive(0.0, packets[1:])
    held = r.tsns.highest_end - r.tsns.cumulative_end
    assert held < 199
    r.receive(0.0, packets[:1])
    assert r.tsns.cumulative_end == FIRST + held


def test_tiny_fragments_count_with_what_they_weigh() -> None:
    r = receiver(rwnd=100_000)
    for start in range(1, 10_000, 50):
        r.receive(0.0, [data(offset, b"x", 0) for offset in range(start, start + 50)])
    assert r.tsns.highest_end - FIRST < 4_000


def test_forward_tsn_is_always_answered_and_only_moves_ahead() -> None:
    r = receiver()
    writer = PacketWriter(1, 2, TAG, zero_checksum=True)
    for offset, expected in ((4, 5), (1, 5), (2**31 - 10, 2**31 - 9)):
        packet = writer.control(encode_forward_tsn(FIRST + offset, [(1, 3)]))
        r.tsns.sack_at = None
        r.receive(1.0, [packet])
        assert r.tsns.sack_at == 1.0
        assert r.tsns.cumulative_end == FIRST + expected
    r.receive(1.0, [writer.control(struct.pack("!BBHH", 192, 0, 6, 1) + b"\0\0")])
    assert r.dropped_packets == 1


def test_the_i_bit_asks_for_a_sack_at_once() -> None:
    for flags in (FLAG_BEGIN | FLAG_END, FLAG_BEGIN | FLAG_END | FLAG_IMMEDIATE):
        r = receiver()
        r.receive(1.0, [data(0, flags=flags)])
        assert (r.tsns.sack_at == 1.0) is bool(flags & FLAG_IMMEDIATE)


@pytest.mark.parametrize("length", [0, 1, 11, 12, 15, 16, 27, 28])
def test_short_packets_are_dropped(length: int) -> None:
    r = receiver()
    r.receive(0.0, [data(0)[:length]])
    assert (r.dropped_packets, r.tsns.cumulative_end) == (1, FIRST)


def parts_of(packet: bytes, packet_bytes: int = 1_188) -> list[bytes]:
    return PacketSplitter(PacketWriter(1, 2, TAG, zero_checksum=True)).split(packet, packet_bytes)


def test_a_packet_in_parts_counts_as_the_packet_that_it_is() -> None:
    r = receiver()
    parts = parts_of(data(0, b"x" * 3_000))
    assert r.receive(0.0, parts[:-1]) == []
    assert not r.reassembly.take_delivered()
    assert r.receive(0.0, [data(1), parts[-1]]) == []
    assert [len(m.data) for m in r.reassembly.take_delivered()] == [4, 3_000]
    assert r.tsns.cumulative_end == FIRST + 2


def test_parts_of_a_packet_with_another_tag_and_parts_within_parts_are_dropped() -> None:
    r = receiver()
    r.receive(0.0, parts_of(data(0, b"x" * 3_000, tag=TAG + 1)))
    nested = parts_of(data(0, b"x" * 3_000), 2_000)[0]
    r.receive(0.0, parts_of(nested))
    r.receive(0.0, [PacketWriter(1, 2, TAG, zero_checksum=True).control(struct.pack("!BBHL", 0xA7, 0, 8, 1))])
    assert r.dropped_packets == 3
    assert not r.reassembly.take_delivered()
