"""Where the pieces of claimed ranges lie."""

import pytest

from tallow_cli.transfer.pieces import SEGMENT_BYTES, Piece, Pieces

S = SEGMENT_BYTES


def test_a_claim_is_cut_at_the_ends_of_segments_counted_from_the_files_first_byte():
    pieces = Pieces((100, 100 + 3 * S), [(0, 100 + 2 * S + 7)])
    assert pieces == ((0, 100), (100, 100 + S), (100 + S, 100 + 2 * S), (100 + 2 * S, 100 + 2 * S + 7))
    assert pieces.total_bytes == 100 + 2 * S + 7


def test_a_claim_may_begin_and_end_anywhere_in_a_segment():
    assert Pieces((3 * S,), [(S - 1, S + 1), (2 * S + 5, 2 * S + 6)]) == (
        (S - 1, S),
        (S, S + 1),
        (2 * S + 5, 2 * S + 6),
    )


def test_empty_files_have_no_pieces_and_are_passed_over():
    assert Pieces((0, 0, 10, 10, 20, 20), [(5, 15)]) == ((5, 10), (10, 15))
    assert Pieces((0, 0), []) == ()


def test_pieces_are_a_sequence():
    pieces = Pieces((10, 20, 30), [(0, 30)])
    assert len(pieces) == 3
    assert pieces[1] == Piece(10, 20)
    assert pieces[-1].size == 10
    assert pieces[1:] == (Piece(10, 20), Piece(20, 30))
    assert list(pieces) == [(0, 10), (10, 20), (20, 30)]
    assert repr(pieces) == "Pieces([(0, 10), (10, 20), (20, 30)])"
    assert pieces == Pieces((10, 20, 30), [(0, 30)])
    assert pieces != Pieces((10, 20, 30), [(0, 29)])
    assert pieces != 5


def test_the_pieces_of_a_file_are_found():
    pieces = Pieces((S + 10, S + 20, S + 20, S + 40), [(5, S + 15), (S + 25, S + 30)])
    assert pieces.within(0, S + 10) == range(2)
    assert pieces.within(S + 10, S + 20) == range(2, 3)
    assert not pieces.within(S + 20, S + 20)
    assert pieces.within(S + 20, S + 40) == range(3, 4)


@pytest.mark.parametrize(
    "claims", [[(5, 5)], [(6, 5)], [(-1, 5)], [(0, 21)], [(10, 12), (5, 6)], [(0, 6), (5, 8)], [(20, 21)]]
)
def test_claims_that_cannot_be_are_refused(claims):
    with pytest.raises(ValueError):
        Pieces((10, 20), claims)
    with pytest.raises(ValueError):
        Pieces((), claims)
