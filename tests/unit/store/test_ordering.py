"""A stream in pieces comes out in order, and what waits is counted."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from tallow_cli.store.ordering import InOrder


def test_what_comes_in_order_goes_straight_through() -> None:
    order = InOrder()
    assert [*order.push(0, b"ab"), *order.push(2, b"c")] == [b"ab", b"c"]
    assert (order.position, order.held) == (3, 0)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_comes_out_as_the_stream(seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(2_000)
    cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(30))})
    pieces = [(start, data[start:end]) for start, end in pairwise(cuts)]
    rng.shuffle(pieces)
    order = InOrder()
    out = bytearray()
    for offset, piece in pieces:
        out += b"".join(order.push(offset, piece))
        assert order.position == len(out)
    assert out == data, f"seed {seed}"
    assert order.held == 0


def test_what_waits_is_counted_until_its_turn() -> None:
    order = InOrder()
    assert list(order.push(10, b"late")) == []
    assert order.held == 4
    assert list(order.push(0, bytes(10))) == [bytes(10), b"late"]
    assert order.held == 0


def test_a_byte_that_comes_twice_is_a_mistake_of_the_caller() -> None:
    order = InOrder()
    list(order.push(0, b"abc"))
    list(order.push(5, b"x"))
    for offset in (0, 5):
        with pytest.raises(ValueError, match="twice"):
            list(order.push(offset, b"y"))


def test_what_will_never_come_is_jumped_over() -> None:
    order = InOrder()
    list(order.push(8, b"next"))
    assert list(order.jump(8)) == [b"next"]
    assert order.position == 12


def test_an_empty_piece_waits_for_nothing() -> None:
    order = InOrder()
    assert list(order.push(4, b"")) == []
    assert list(order.push(4, b"")) == []
    assert order.held == 0
