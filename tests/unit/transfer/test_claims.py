"""What the receiver claims to have: proven, wanted after all, or withdrawn."""

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.claims import ClaimBook
from tallow_cli.transfer.driving import PieceDigested
from tallow_cli.transfer.messages import NOT_PROVEN
from tallow_cli.transfer.pieces import Pieces

A, B = b"a" * 32, b"b" * 32


def book():
    return ClaimBook(Pieces((10, 20, 30), [(0, 25)]))


def test_each_digest_is_given_out_once_and_each_piece_decided_once():
    claims = book()
    assert claims.digests_untrusted(0, (A, B)) == [PieceDigested(0, 0, 10, A), PieceDigested(1, 10, 20, B)]
    assert claims.proved(1) == (10, 20)
    assert claims.refuted(0) == (0, 10)
    assert (claims.undecided, claims.unproven_bytes) == (1, 5)
    assert claims.untold == 1
    assert claims.digests_untrusted(2, (A,)) == [PieceDigested(2, 20, 25, A)]
    assert claims.proved(2) == (20, 25)
    assert claims.untold == 0
    assert claims.undecided == 0
    for decide in (claims.proved, claims.refuted):
        with pytest.raises(ValueError):
            decide(2)
        with pytest.raises(ValueError):
            decide(3)


def test_nothing_is_proven_without_a_digest_but_what_cannot_be_read_is_wanted_without_one():
    claims = book()
    with pytest.raises(ValueError):
        claims.proved(0)
    assert claims.refuted(0) == (0, 10)
    assert claims.digests_untrusted(0, (A, B)) == [PieceDigested(1, 10, 20, B)]


@pytest.mark.parametrize(("first", "count"), [(1, 1), (0, 4)])
def test_digests_come_in_order_and_none_too_many(first, count):
    with pytest.raises(PeerProtocolError):
        book().digests_untrusted(first, (A,) * count)


def test_a_piece_that_the_sender_cannot_read_waits_for_the_withdrawal_of_its_file():
    claims = book()
    claims.digests_untrusted(0, (A, NOT_PROVEN))
    assert claims.has_void(10, 20)
    assert not claims.has_void(0, 10)
    assert claims.proved(1) is None
    assert claims.undecided == 3
    assert claims.drop(10, 20) == ([(10, 20)], [])
    assert not claims.has_void(10, 20)
    assert claims.undecided == 2


def test_what_becomes_of_the_pieces_of_a_withdrawn_file():
    claims = ClaimBook(Pieces((10,), [(0, 1), (2, 3), (4, 5), (6, 7)]))
    claims.digests_untrusted(0, (A, A, A))
    claims.proved(0)
    claims.refuted(1)
    assert claims.drop(0, 10) == ([(4, 5), (6, 7)], [(2, 3)])
    assert claims.refuted(2) is None, "somebody was still looking"
    assert claims.digests_untrusted(3, (NOT_PROVEN,)) == []
    assert (claims.undecided, claims.unproven_bytes) == (0, 0)
