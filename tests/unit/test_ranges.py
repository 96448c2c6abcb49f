"""The set of ranges: merging, taking out, gaps."""

import pytest

from tallow_cli.ranges import RangeSet


def test_bytes_added_twice_are_counted_once():
    held = RangeSet()
    assert held.add(0, 10) == 10
    assert held.add(5, 15) == 5
    assert held.add(0, 15) == 0
    assert held.total == 15


def test_adjacent_ranges_become_one():
    held = RangeSet([(0, 10), (20, 30), (10, 20)])
    assert list(held) == [(0, 30)]
    assert len(held) == 1


def test_a_range_that_bridges_many_swallows_them():
    held = RangeSet([(0, 2), (4, 6), (8, 10), (20, 22)])
    assert held.add(1, 9) == 4
    assert list(held) == [(0, 10), (20, 22)]


def test_a_range_before_all_others_is_put_in_front():
    held = RangeSet([(10, 20)])
    held.add(0, 5)
    assert list(held) == [(0, 5), (10, 20)]
    assert list(reversed(held)) == [(10, 20), (0, 5)]


@pytest.mark.parametrize(
    ("start", "end", "removed", "left"),
    [
        (0, 5, 0, [(10, 20), (30, 40)]),
        (10, 20, 10, [(30, 40)]),
        (12, 15, 3, [(10, 12), (15, 20), (30, 40)]),
        (15, 35, 10, [(10, 15), (35, 40)]),
        (0, 100, 20, []),
        (20, 30, 0, [(10, 20), (30, 40)]),
        (15, 15, 0, [(10, 20), (30, 40)]),
    ],
)
def test_removing_cuts_what_it_touches(start, end, removed, left):
    held = RangeSet([(10, 20), (30, 40)])
    assert held.remove(start, end) == removed
    assert list(held) == left
    assert held.total == sum(stop - begin for begin, stop in left)


@pytest.mark.parametrize(
    ("start", "end", "gaps"),
    [
        (0, 50, [(0, 10), (20, 30), (40, 50)]),
        (10, 20, []),
        (12, 18, []),
        (15, 35, [(20, 30)]),
        (20, 30, [(20, 30)]),
        (22, 25, [(22, 25)]),
        (45, 50, [(45, 50)]),
        (50, 50, []),
    ],
)
def test_gaps_are_what_is_missing_of_a_range(start, end, gaps):
    assert RangeSet([(10, 20), (30, 40)]).gaps(start, end) == gaps


def test_membership_and_cover_respect_the_half_open_end():
    held = RangeSet([(10, 20)])
    assert 10 in held
    assert 19 in held
    assert 20 not in held
    assert 9 not in held
    assert held.covers(10, 20)
    assert not held.covers(10, 21)
    assert not held.covers(9, 11)
    assert held.covers(500, 500)


def test_covered_until_follows_the_range_that_holds_the_place():
    held = RangeSet([(10, 20)])
    assert held.covered_until(10) == 20
    assert held.covered_until(15) == 20
    assert held.covered_until(20) == 20
    assert held.covered_until(5) == 5


def test_empty_ranges_change_nothing():
    held = RangeSet()
    assert held.add(5, 5) == 0
    assert held.add(9, 3) == 0
    assert not held
    assert held == RangeSet()
    assert held != RangeSet([(0, 1)])
    assert held != object()
    assert repr(RangeSet([(0, 1)])) == "RangeSet([(0, 1)])"


def test_how_far_the_set_leaves_room():
    held = RangeSet([(10, 20), (30, 40)])
    assert held.absent_until(0, 100) == 10
    assert held.absent_until(0, 7) == 7
    assert held.absent_until(20, 100) == 30
    assert held.absent_until(40, 100) == 100
