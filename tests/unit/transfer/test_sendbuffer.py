"""The sender's memory: reads, chunks on their way, lost pieces, acknowledged bytes."""

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.sendbuffer import SendBuffer

CHUNK = 1000


def filled(total=3000, memory=100_000, held=()):
    """A buffer of which everything is read."""
    buffer = SendBuffer(total, memory)
    buffer.hold_untrusted(held)
    while (request := buffer.next_read(CHUNK, 1 << 30)) is not None:
        buffer.chunk_read(request.offset, bytes(request.size))
    return buffer


def pieces(buffer, size):
    """Takes everything unsent, in pieces of at most `size`."""
    taken = []
    while (cursor := buffer.next_cursor()) is not None:
        while not cursor.finished:
            taken.append(buffer.take_new(cursor, size))
    return taken


def test_memory_holds_no_more_than_its_bound():
    buffer = SendBuffer(1 << 40, 3500)
    while (request := buffer.next_read(CHUNK, 1 << 30)) is not None:
        buffer.chunk_read(request.offset, bytes(request.size))
    assert buffer.retained_bytes == 3000
    for piece in pieces(buffer, 400):
        buffer.acked(piece)
    assert buffer.retained_bytes == 0
    assert buffer.next_read(CHUNK, 1 << 30) == (3000, CHUNK)


def test_a_chunk_larger_than_the_memory_is_cut_to_it():
    buffer = SendBuffer(1 << 40, 1000)
    assert buffer.next_read(1 << 20, 1 << 30) == (0, 500)


def test_a_chunk_is_kept_until_its_last_byte_is_acknowledged():
    buffer = filled(total=CHUNK)
    first, second = pieces(buffer, 500)
    buffer.acked(second)
    assert buffer.retained_bytes == CHUNK
    assert bytes(first.data) == bytes(500)
    assert buffer.acked(first) == 500
    assert buffer.retained_bytes == 0
    assert buffer.all_acked


def test_reading_stops_far_enough_ahead():
    buffer = SendBuffer(1 << 40, 1 << 30)
    requests = []
    while (request := buffer.next_read(CHUNK, 2 * CHUNK)) is not None:
        requests.append(request)
    assert requests == [(0, CHUNK), (CHUNK, CHUNK)]


def test_reads_may_finish_in_any_order():
    buffer = SendBuffer(3000, 100_000)
    requests = [buffer.next_read(CHUNK, 1 << 30) for _ in range(3)]
    for request in reversed(requests):
        buffer.chunk_read(request.offset, bytes(request.size))
    assert sorted(piece.start for piece in pieces(buffer, CHUNK)) == [0, 1000, 2000]
    assert buffer.all_sent_once


@pytest.mark.parametrize(("offset", "size"), [(1, 1000), (0, 1001), (0, 999), (0, 0)])
def test_bytes_that_were_not_asked_for_are_the_shells_mistake(offset, size):
    buffer = SendBuffer(3000, 100_000)
    buffer.next_read(CHUNK, 1 << 30)
    with pytest.raises(ValueError):
        buffer.chunk_read(offset, bytes(size))


def test_a_stream_of_unknown_length_is_read_one_range_at_a_time_to_its_end():
    buffer = SendBuffer(None, 100_000)
    assert buffer.next_read(CHUNK, 1 << 30) == (0, CHUNK)
    assert buffer.next_read(CHUNK, 1 << 30) is None
    buffer.chunk_read(0, b"short")
    assert buffer.next_read(CHUNK, 1 << 30) == (5, CHUNK)
    buffer.chunk_read(5, b"")
    assert buffer.total_bytes == 5
    assert buffer.retained_bytes == 5
    assert buffer.next_read(CHUNK, 1 << 30) is None
    assert [bytes(piece.data) for piece in pieces(buffer, 100)] == [b"short"]


def test_what_the_receiver_holds_is_neither_read_nor_sent():
    buffer = filled(total=5000, held=((0, 1500), (2000, 4999)))
    assert [(piece.start, piece.end) for piece in pieces(buffer, CHUNK)] == [(1500, 2000), (4999, 5000)]
    assert buffer.acked_bytes == 1500 + 2999
    assert buffer.all_sent_once


@pytest.mark.parametrize(
    "held", [((5, 5),), ((10, 5),), ((0, 3001),), ((10, 20), (0, 5)), ((0, 10), (5, 20))]
)
def test_held_ranges_that_cannot_be_are_a_protocol_error(held):
    with pytest.raises(PeerProtocolError):
        SendBuffer(3000, 100_000).hold_untrusted(held)


def test_held_ranges_of_a_stream_of_unknown_length_are_a_protocol_error():
    with pytest.raises(PeerProtocolError):
        SendBuffer(None, 100_000).hold_untrusted([(0, 1)])


def test_lost_data_comes_again_in_smaller_pieces():
    buffer = filled(total=CHUNK)
    (piece,) = pieces(buffer, CHUNK)
    buffer.lost(piece)
    again = []
    while (lost := buffer.peek_lost(300)) is not None:
        buffer.take_lost(lost)
        again.append((lost.start, lost.end))
    assert again == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert buffer.idle


def test_what_was_acknowledged_late_is_not_sent_again():
    buffer = filled(total=CHUNK)
    first, second = pieces(buffer, 500)
    buffer.lost(first)
    buffer.lost(second)
    buffer.acked(first)
    lost = buffer.peek_lost(500)
    assert (lost.start, lost.end) == (500, 1000)
    buffer.acked(second)
    assert buffer.peek_lost(500) is None
    assert not buffer.has_lost


def test_only_the_missing_part_of_a_lost_piece_is_sent_again():
    buffer = filled(total=CHUNK)
    (piece,) = pieces(buffer, CHUNK)
    buffer.acked(piece._replace(start=200, end=600))
    buffer.lost(piece)
    again = []
    while (lost := buffer.peek_lost(1000)) is not None:
        buffer.take_lost(lost)
        again.append((lost.start, lost.end))
    assert again == [(0, 200), (600, 1000)]


def test_bytes_acknowledged_twice_count_once():
    buffer = filled(total=CHUNK)
    (piece,) = pieces(buffer, CHUNK)
    assert buffer.acked(piece) == CHUNK
    assert buffer.acked(piece) == 0
    assert buffer.missing(piece, 100) is None


def test_a_chunk_put_back_goes_first():
    buffer = filled(total=2000)
    cursor = buffer.next_cursor()
    buffer.take_new(cursor, 300)
    buffer.put_back(cursor)
    assert [piece.start for piece in pieces(buffer, 1000)] == [300, 1000]


def test_a_report_of_completion_settles_everything():
    buffer = filled(total=2000)
    for piece in pieces(buffer, 1000):
        buffer.lost(piece)
    buffer.acked_all()
    assert buffer.all_acked
    assert buffer.retained_bytes == 0
    assert buffer.peek_lost(1000) is None
