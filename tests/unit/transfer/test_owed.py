"""Which files are still owed a digest."""

import pytest

from tallow_cli.transfer.owed import FilesOwed


def test_digests_pass_over_what_was_settled_before():
    owed = FilesOwed(6)
    owed.settle(1, 3)
    assert owed.settle_next(0, 2) == [0, 3]
    assert not owed.is_owed(3)
    assert owed.is_owed(4)
    owed.settle(5, 6)
    assert owed.settle_next(4, 1) == [4]
    assert owed.left == 0
    assert owed.count == 6


@pytest.mark.parametrize(("first", "count"), [(1, 1), (0, 3), (0, 0), (2, 1), (3, 1), (-1, 1)])
def test_only_the_next_ones_can_be_settled_in_turn(first, count):
    owed = FilesOwed(3)
    owed.settle(1, 2)
    with pytest.raises(ValueError):
        owed.settle_next(first, count)
    assert owed.left == 2


@pytest.mark.parametrize(("start", "end"), [(0, 2), (1, 2), (2, 4), (-1, 1), (2, 2)])
def test_nothing_is_settled_twice_and_nothing_that_is_not_there(start, end):
    owed = FilesOwed(3)
    owed.settle(1, 2)
    with pytest.raises(ValueError):
        owed.settle(start, end)
    assert not owed.is_owed(3)
    assert not owed.is_owed(-1)


def test_only_a_digest_can_be_taken_back_and_once():
    owed = FilesOwed(3)
    owed.settle(1, 2)
    owed.settle_next(0, 1)
    owed.take_back(0)
    for index in (0, 1, 2, 3, -1):
        with pytest.raises(ValueError, match="no digest"):
            owed.take_back(index)
    assert owed.left == 1
