"""The sender's memory: reads, chunks on their way, lost parts, acknowledged bytes."""

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.sendbuffer import SendBuffer

CHUNK = 1000


def filled(total=3000, memory=100_000, held=()):
    """A buffer of which everything is read."""
    buffer = SendBuffer(total, memory)
    buffer.hold_untrusted(held, total or 0)
    while (request := buffer.next_read(CHUNK, 1 << 30)) is not None:
        buffer.chunk_read(request.offset, bytes(request.size))
    return buffer


def parts(buffer, size):
    """Takes everything unsent, in parts of at most `size`."""
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
    for part in parts(buffer, 400):
        buffer.acked(part)
    assert buffer.retained_bytes == 0
    assert buffer.next_read(CHUNK, 1 << 30) == (3000, CHUNK)


def test_a_chunk_larger_than_the_memory_is_cut_to_it():
    buffer = SendBuffer(1 << 40, 1000)
    assert buffer.next_read(1 << 20, 1 << 30) == (0, 500)


def test_a_chunk_is_kept_until_its_last_byte_is_acknowledged():
    buffer = filled(total=CHUNK)
    first, second = parts(buffer, 500)
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
    assert sorted(part.start for part in parts(buffer, CHUNK)) == [0, 1000, 2000]
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
    assert [bytes(part.data) for part in parts(buffer, 100)] == [b"short"]


def test_what_the_receiver_holds_is_neither_read_nor_sent():
    buffer = filled(total=5000, held=((0, 1500), (2000, 4999)))
    assert [(part.start, part.end) for part in parts(buffer, CHUNK)] == [(1500, 2000), (4999, 5000)]
    assert buffer.acked_bytes == 1500 + 2999
    assert buffer.all_sent_once


@pytest.mark.parametrize(
    "held", [((5, 5),), ((10, 5),), ((0, 3001),), ((10, 20), (0, 5)), ((0, 10), (5, 20))]
)
def test_held_ranges_that_cannot_be_are_a_protocol_error(held):
    with pytest.raises(PeerProtocolError):
        SendBuffer(3000, 100_000).hold_untrusted(held, 3000)


def test_of_a_stream_of_unknown_length_no_more_can_be_held_than_was_read_before():
    buffer = SendBuffer(None, 100_000)
    buffer.hold_untrusted([(0, 1000), (1500, 2000)], known_bytes=2000)
    assert buffer.next_read(4 * CHUNK, 1 << 30) == (1000, 500)
    buffer.chunk_read(1000, bytes(500))
    assert buffer.next_read(CHUNK, 1 << 30) == (2000, CHUNK)
    with pytest.raises(PeerProtocolError):
        SendBuffer(None, 100_000).hold_untrusted([(0, 2001)], known_bytes=2000)


def test_lost_data_comes_again_in_smaller_parts():
    buffer = filled(total=CHUNK)
    (part,) = parts(buffer, CHUNK)
    buffer.lost(part)
    again = []
    while (lost := buffer.peek_lost(300)) is not None:
        buffer.take_lost(lost)
        again.append((lost.start, lost.end))
    assert again == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert buffer.idle


def test_what_was_acknowledged_late_is_not_sent_again():
    buffer = filled(total=CHUNK)
    first, second = parts(buffer, 500)
    buffer.lost(first)
    buffer.lost(second)
    buffer.acked(first)
    lost = buffer.peek_lost(500)
    assert (lost.start, lost.end) == (500, 1000)
    buffer.acked(second)
    assert buffer.peek_lost(500) is None
    assert not buffer.has_lost


def test_only_the_missing_part_of_a_lost_part_is_sent_again():
    buffer = filled(total=CHUNK)
    (part,) = parts(buffer, CHUNK)
    buffer.acked(part._replace(start=200, end=600))
    buffer.lost(part)
    again = []
    while (lost := buffer.peek_lost(1000)) is not None:
        buffer.take_lost(lost)
        again.append((lost.start, lost.end))
    assert again == [(0, 200), (600, 1000)]


def test_bytes_acknowledged_twice_count_once():
    buffer = filled(total=CHUNK)
    (part,) = parts(buffer, CHUNK)
    assert buffer.acked(part) == CHUNK
    assert buffer.acked(part) == 0
    assert buffer.missing(part, 100) is None


def test_a_chunk_put_back_goes_first():
    buffer = filled(total=2000)
    cursor = buffer.next_cursor()
    buffer.take_new(cursor, 300)
    buffer.put_back(cursor)
    assert [part.start for part in parts(buffer, 1000)] == [300, 1000]


def test_a_report_of_completion_settles_everything():
    buffer = filled(total=2000)
    for part in parts(buffer, 1000):
        buffer.lost(part)
    buffer.acked_all()
    assert buffer.all_acked
    assert buffer.retained_bytes == 0
    assert buffer.peek_lost(1000) is None


def claiming(claims, total=10_000, held=()):
    buffer = SendBuffer(total, 100_000)
    buffer.hold_untrusted(held, total)
    buffer.claim_untrusted(claims)
    return buffer


def read_all(buffer):
    requests = []
    while (request := buffer.next_read(CHUNK, 1 << 30)) is not None:
        buffer.chunk_read(request.offset, bytes(request.size))
        requests.append(tuple(request))
    return requests


def test_what_is_claimed_is_not_read_until_it_is_wanted_and_then_before_all_else():
    buffer = claiming([(0, 1000), (3000, 9000)], held=[(1000, 1500)])
    assert buffer.next_read(CHUNK, 1 << 30) == (1500, 1000)
    assert buffer.want_untrusted([(200, 300), (4000, 4500)]) == 600
    buffer.chunk_read(1500, bytes(1000))
    assert read_all(buffer) == [(200, 100), (2500, 500), (4000, 500), (9000, 1000)]
    assert not buffer.all_sent_once
    for part in parts(buffer, CHUNK):
        buffer.acked(part)
    assert buffer.all_acked
    assert buffer.all_sent_once


def test_all_that_is_acknowledged_is_not_all_any_more_when_something_is_wanted():
    buffer = claiming([(0, 10_000)])
    assert buffer.all_acked
    assert buffer.all_sent_once
    assert buffer.acked_until == 0
    buffer.want_untrusted([(9_999, 10_000)])
    assert not buffer.all_acked
    assert not buffer.all_sent_once
    assert buffer.acked_bytes == 9_999


@pytest.mark.parametrize(
    "claims", [((5, 5),), ((10, 5),), ((0, 10_001),), ((10, 20), (0, 5)), ((0, 10), (5, 20)), ((450, 600),)]
)
def test_claims_that_cannot_be_are_a_protocol_error(claims):
    with pytest.raises(PeerProtocolError):
        claiming(claims, held=[(500, 501)])


def test_nothing_can_be_claimed_of_a_stream_of_unknown_length():
    with pytest.raises(PeerProtocolError):
        SendBuffer(None, 100_000).claim_untrusted([(0, 1)])


@pytest.mark.parametrize(
    "wanted",
    [
        ((0, 1),),
        ((99, 150),),
        ((150, 201),),
        ((150, 150),),
        ((160, 150),),
        ((150, 160), (140, 145)),
        ((100, 110),),
    ],
)
def test_only_what_is_claimed_can_be_wanted_and_only_once(wanted):
    buffer = claiming([(100, 200)])
    buffer.want_untrusted([(100, 120)])
    with pytest.raises(PeerProtocolError):
        buffer.want_untrusted(wanted)


def test_a_withdrawn_file_is_not_read_and_nothing_of_it_can_be_had_any_more():
    buffer = claiming([(0, 2000), (5000, 8000)])
    assert buffer.next_read(CHUNK, 1 << 30) == (2000, 1000)
    buffer.want_untrusted([(500, 600)])
    assert buffer.give_up(0, 8000) == (500, 100 + 2000), "what is wanted is the first that does not come"
    assert buffer.want_untrusted([(600, 700), (5000, 8000)]) == 0
    buffer.chunk_read(2000, bytes(1000))
    assert read_all(buffer) == [(8000, 1000), (9000, 1000)]


def test_a_want_across_a_withdrawn_file_brings_the_rest():
    buffer = claiming([(0, 10_000)])
    assert buffer.give_up(4000, 5000) == (1000, 0)
    assert buffer.want_untrusted([(3500, 5500)]) == 1000
    assert read_all(buffer) == [(3500, 500), (5000, 500)]
