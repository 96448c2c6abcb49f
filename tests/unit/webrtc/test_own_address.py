"""webrtc.own_address in virtual time: addresses that go, come back, and are replaced."""

from __future__ import annotations

import pytest

from tallow_cli.webrtc.own_address import OwnAddress, is_ours

Span = tuple[float, float]


def within(now: float, spans: tuple[Span, ...]) -> bool:
    return any(begin <= now < end for begin, end in spans)


def replaced_at(away: tuple[Span, ...], other: tuple[Span, ...], until: float = 60.0) -> float | None:
    """When it counts as replaced; the address is away, and another is there, in these spans."""
    now = 0.0
    own = OwnAddress(now, lambda: not within(now, away), lambda: within(now, other))
    while now < until:
        now = own.next_look_at
        own.look(now)
        if own.is_replaced:
            return now
    return None


@pytest.mark.parametrize("begin", [10.0, 10.1, 10.24, 10.49])
def test_an_address_that_another_takes_the_place_of_is_noticed_within_two_seconds(begin: float) -> None:
    at = replaced_at(((begin, 99.0),), ((begin, 99.0),))
    assert at is not None
    assert begin + 0.8 <= at < begin + 1.6


def test_an_address_that_is_away_without_another_is_waited_for() -> None:
    assert replaced_at(((10.0, 99.0),), ()) is None


def test_one_that_comes_back_is_the_same_path() -> None:
    assert replaced_at(((10.0, 25.0),), ()) is None


def test_the_other_may_come_long_after_it_has_gone() -> None:
    at = replaced_at(((10.0, 99.0),), ((22.0, 99.0),))
    assert at is not None
    assert 22.8 <= at < 23.5


def test_another_address_beside_it_does_not_matter() -> None:
    assert replaced_at((), ((0.0, 99.0),)) is None


def test_a_flap_is_no_loss_though_another_address_is_there_all_along() -> None:
    flaps = tuple((10.0 + 2 * each, 10.6 + 2 * each) for each in range(10))
    assert replaced_at(flaps, ((0.0, 99.0),)) is None


def test_another_address_that_comes_a_moment_before_it_is_no_loss() -> None:
    assert replaced_at(((10.0, 14.5),), ((14.0, 99.0),)) is None


def test_this_machine_has_its_loopback_addresses_and_none_of_the_documentations() -> None:
    assert is_ours("127.0.0.1")
    assert not is_ours("192.0.2.1")
    assert not is_ours("2001:db8::1")
