import time

from tallow_cli.dataplane.packets import FLAG_BEGIN, FLAG_END, FLAG_UNORDERED
from tallow_cli.dataplane.reassembly import Piece, Reassembly

B, E, U = FLAG_BEGIN, FLAG_END, FLAG_UNORDERED


def fragment(tsn: int, flags: int, data: bytes = b"x", *, ssn: int = 0, stream_id: int = 1) -> Piece:
    return Piece(tsn, tsn + 1, flags, stream_id, ssn, 53, [data], len(data))


def test_fragments_in_any_order_become_the_message() -> None:
    reassembly = Reassembly(1_000)
    for tsn, flags, data in ((12, U, b"c"), (10, B | U, b"a"), (13, E | U, b"d"), (11, U, b"b")):
        reassembly.add(fragment(tsn, flags, data), 0)
    (message,) = reassembly.take_delivered()
    assert (message.stream_id, message.ppid, message.data) == (1, 53, b"abcd")
    assert reassembly.held_bytes == 0


def test_ordered_messages_wait_for_their_turn_and_unordered_ones_do_not() -> None:
    reassembly = Reassembly(1_000)
    reassembly.add(fragment(11, B | E, b"1", ssn=1), 0)
    reassembly.add(fragment(12, B | E | U, b"u"), 0)
    reassembly.add(fragment(13, B | E, b"2", ssn=2), 0)
    assert [m.data for m in reassembly.take_delivered()] == [b"u"]
    reassembly.add(fragment(10, B | E, b"0", ssn=0), 0)
    assert [m.data for m in reassembly.take_delivered()] == [b"0", b"1", b"2"]
    assert reassembly.held_bytes == 0


def test_the_ssn_wraps() -> None:
    reassembly = Reassembly(1_000)
    for number in range(70_000):
        reassembly.add(fragment(number, B | E, ssn=number % 65_536), number + 1)
    assert len(reassembly.take_delivered()) == 70_000


def test_a_skipped_message_lets_the_later_ones_pass_and_keeps_the_earlier_complete_ones() -> None:
    reassembly = Reassembly(1_000)
    reassembly.add(fragment(11, B | E, b"1", ssn=1), 0)
    reassembly.add(fragment(13, B | E, b"3", ssn=3), 0)
    reassembly.forward(13, [(1, 2)])
    assert [m.data for m in reassembly.take_delivered()] == [b"1", b"3"]


def test_a_skip_never_moves_backwards() -> None:
    reassembly = Reassembly(1_000)
    reassembly.forward(10, [(1, 5)])
    reassembly.forward(11, [(1, 3)])
    reassembly.add(fragment(12, B | E, b"6", ssn=6), 13)
    reassembly.add(fragment(13, B | E, b"old", ssn=4), 14)
    assert [m.data for m in reassembly.take_delivered()] == [b"6"]
    assert reassembly.held_bytes == 0


def test_forward_discards_what_can_no_longer_be_whole_and_keeps_what_can() -> None:
    reassembly = Reassembly(1_000)
    reassembly.add(fragment(10, B | U), 10)  # lost: 11
    reassembly.add(fragment(12, U), 10)
    reassembly.add(fragment(20, B | U, b"k"), 10)  # continues beyond the new cumulative TSN
    reassembly.forward(21, [])
    assert reassembly.discarded_fragments == 2
    reassembly.add(fragment(21, E | U, b"l"), 22)
    assert [m.data for m in reassembly.take_delivered()] == [b"kl"]
    assert reassembly.held_bytes == 0


def test_a_fragment_that_can_never_find_its_beginning_is_not_kept() -> None:
    reassembly = Reassembly(1_000)
    reassembly.add(fragment(10, U), 11)
    assert (reassembly.held_bytes, reassembly.discarded_fragments) == (0, 1)


def test_contradictions_are_discarded_and_never_mixed() -> None:
    reassembly = Reassembly(1_000)
    reassembly.add(fragment(10, B, b"a", stream_id=1), 11)
    reassembly.add(fragment(11, E, b"b", stream_id=2), 12)  # another stream's end
    reassembly.add(fragment(20, B, b"c"), 12)
    reassembly.add(fragment(21, B | E, b"d", ssn=0), 12)  # begins while the one before has no end
    reassembly.add(fragment(31, U, b"f"), 12)
    reassembly.add(fragment(30, B, b"e"), 12)  # ordered beginning, unordered end
    assert [m.data for m in reassembly.take_delivered()] == [b"d"]
    reassembly.forward(100, [])
    assert reassembly.held_bytes == 0


def test_a_message_larger_than_announced_is_discarded_whole() -> None:
    reassembly = Reassembly(10)
    for tsn in range(20):
        reassembly.add(fragment(tsn, (B if tsn == 0 else 0) | (E if tsn == 19 else 0) | U), tsn + 1)
    assert reassembly.take_delivered() == []
    assert (reassembly.held_bytes, reassembly.discarded_fragments) == (0, 20)


def test_a_reset_forgets_the_stream_and_what_waited_in_it() -> None:
    reassembly = Reassembly(1_000)
    reassembly.add(fragment(10, B | E, ssn=0), 11)
    reassembly.add(fragment(12, B | E, ssn=2), 11)
    reassembly.reset_stream(1)
    reassembly.reset_stream(1)
    reassembly.add(fragment(13, B | E, b"new", ssn=0), 14)
    assert [m.data for m in reassembly.take_delivered()] == [b"x", b"new"]
    assert reassembly.held_bytes == 0


def test_a_huge_message_that_arrives_backwards_takes_linear_time() -> None:
    # aiortc's list search makes 16 MiB take 18 s.
    reassembly = Reassembly(100_000)
    count = 40_000
    started = time.process_time()
    for tsn in range(count - 1, -1, -1):
        flags = (B if tsn == 0 else 0) | (E if tsn == count - 1 else 0) | U
        reassembly.add(fragment(tsn, flags), 0)
    assert time.process_time() - started < 2.0
    assert len(reassembly.take_delivered()[0].data) == count


def test_every_other_fragment_then_the_rest_takes_linear_time() -> None:
    reassembly = Reassembly(100_000)
    count = 40_000
    started = time.process_time()
    for tsn in [*range(0, count, 2), *range(1, count, 2)]:
        flags = (B if tsn == 0 else 0) | (E if tsn == count - 1 else 0) | U
        reassembly.add(fragment(tsn, flags), 0)
    assert time.process_time() - started < 2.0
    assert len(reassembly.take_delivered()[0].data) == count
