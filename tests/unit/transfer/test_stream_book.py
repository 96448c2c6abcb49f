"""What of a stream is here: held, claimed, proven, withdrawn, and what that makes of its files."""

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.messages import MAX_HELD_RANGES, Why
from tallow_cli.transfer.options import ReceiveOptions
from tallow_cli.transfer.stream_book import StreamBook

DIGEST = b"d" * 32


def opened(*ends, held=(), kept=(), claims=(), **options):
    book = StreamBook(ReceiveOptions(**options))
    said = book.open(ends, RangeSet(held), RangeSet(kept), RangeSet(claims))
    return book, said


def test_kept_counts_over_held_over_claimed():
    book, (said, claimed) = opened(10, 20, 30, held=[(8, 25)], kept=[(1, 2)], claims=[(0, 30)])
    assert said == [(8, 25)]
    assert claimed == [(0, 8), (25, 30)]
    assert book.files.verified == 1
    assert book.written_bytes == 17 + 13, "what is claimed counts until it is refuted"
    assert not book.is_all_here


def test_of_many_claims_the_largest_are_made():
    _, (_, claimed) = opened(100, claims=[(0, 10), (20, 25), (30, 60)], max_claimed_ranges=2)
    assert claimed == [(0, 10), (30, 60)]


def test_too_many_held_ranges_are_the_shells_mistake():
    with pytest.raises(ValueError, match="held ranges"):
        opened(4 * MAX_HELD_RANGES, held=[(3 * n, 3 * n + 1) for n in range(MAX_HELD_RANGES + 1)])


def test_a_proven_piece_is_written_and_a_refuted_one_is_wanted_once():
    book, _ = opened(10, 20, claims=[(0, 20)])
    book.claims.digests_untrusted(0, (DIGEST, DIGEST))
    assert book.proved(0)
    book.refuted(1)
    assert list(book.take_wanted()) == [((10, 20),)]
    assert list(book.take_wanted()) == []
    assert book.written_bytes == 10
    book.intake.arrived_untrusted(10, memoryview(bytes(10)))
    assert book.is_all_here


def test_what_is_withdrawn_is_neither_wanted_nor_missing():
    book, _ = opened(10, 20, claims=[(10, 20)])
    book.claims.digests_untrusted(0, (DIGEST,))
    book.refuted(0)
    book.withdrawn_untrusted(1, 0, Why.VANISHED)
    assert list(book.take_wanted()) == []
    book.intake.arrived_untrusted(0, memoryview(bytes(10)))
    assert book.is_all_here


def test_an_end_before_what_has_come_is_a_broken_protocol():
    book = StreamBook(ReceiveOptions())
    book.open(None, RangeSet(), RangeSet(), RangeSet())
    book.intake.arrived_untrusted(0, memoryview(bytes(10)))
    with pytest.raises(PeerProtocolError):
        book.end_untrusted(9)
    book.end_untrusted(10)
    assert book.intake.complete
