"""webrtc.ice_nomination: the best pair that answers is used; what is better is waited for a measured time."""

from __future__ import annotations

import pytest

from tallow_cli.webrtc.ice_nomination import (
    FOR_BETTER_RELAY_S,
    MOST_FOR_BETTER_S,
    MOST_FOR_DIRECT_S,
    PACE_S,
    REPEAT_S,
    Nomination,
    Rank,
    Relays,
)

LAN, VPN, RELAY, TWO_RELAYS = (
    Rank(True, Relays.NONE, True, 9),
    Rank(True, Relays.NONE, True, 7),
    Rank(False, Relays.OURS, True, 4),
    Rank(False, Relays.BOTH, True, 2),
)


@pytest.fixture
def nomination() -> Nomination[str]:
    return Nomination()


def chosen(nomination: Nomination[str], now: float, undecided: list[Rank]) -> str | None:
    best = nomination.choice(now, undecided)
    return None if best is None else best.pair


def test_nothing_is_chosen_before_something_answers(nomination: Nomination[str]) -> None:
    assert nomination.choice(0.0, [LAN]) is None
    assert nomination.next_timeout() is None


def test_the_best_there_is_is_chosen_at_once(nomination: Nomination[str]) -> None:
    nomination.answered(0.0, "lan", LAN, 0.001)
    assert chosen(nomination, 0.0, [VPN, RELAY]) == "lan"


def test_a_relayed_pair_waits_for_a_direct_one_as_long_as_a_repeated_check_takes(
    nomination: Nomination[str],
) -> None:
    nomination.answered(1.0, "relay", RELAY, 0.1)
    assert nomination.choice(1.0, [LAN, VPN]) is None
    assert nomination.next_timeout() == pytest.approx(1.0 + REPEAT_S + 0.2)
    nomination.answered(1.4, "vpn", VPN, 0.1)
    nomination.answered(1.4, "lan", LAN, 0.1)
    assert chosen(nomination, 1.4, []) == "lan"


def test_when_no_direct_pair_has_answered_in_time_the_relay_is_used(nomination: Nomination[str]) -> None:
    nomination.answered(1.0, "relay", RELAY, 0.1)
    assert nomination.choice(1.0, [LAN]) is None
    due = nomination.next_timeout()
    assert due is not None
    assert chosen(nomination, due, [LAN]) == "relay"
    assert nomination.next_timeout() is None


def test_when_the_direct_pairs_have_failed_the_relay_is_used_at_once(nomination: Nomination[str]) -> None:
    nomination.answered(1.0, "relay", RELAY, 0.1)
    assert chosen(nomination, 1.0, [TWO_RELAYS]) == "relay"


def test_a_slow_relay_does_not_hold_up_for_long(nomination: Nomination[str]) -> None:
    nomination.answered(0.0, "relay", RELAY, 5.0)
    nomination.choice(0.0, [LAN])
    assert nomination.next_timeout() == MOST_FOR_DIRECT_S


def test_one_relay_gets_the_time_for_a_channel_and_a_check_of_the_other_sides_before_two_are_used(
    nomination: Nomination[str],
) -> None:
    nomination.answered(0.0, "two", TWO_RELAYS, 0.1)
    assert nomination.choice(0.0, [RELAY]) is None
    assert nomination.next_timeout() == pytest.approx(FOR_BETTER_RELAY_S + 0.3)
    two = nomination.choice(1.0, [RELAY])
    assert two is not None
    assert two.pair == "two"


def test_of_two_relays_that_of_the_controlling_side_is_used() -> None:
    assert Rank(False, Relays.OURS, True, 1) > Rank(False, Relays.THEIRS, True, 2)


@pytest.mark.parametrize(("answering", "better"), [(VPN, LAN), (RELAY, Rank(False, Relays.OURS, True, 5))])
def test_between_two_of_a_kind_the_better_one_gets_a_moment(
    nomination: Nomination[str], answering: Rank, better: Rank
) -> None:
    nomination.answered(0.0, "it", answering, 0.01)
    assert nomination.choice(0.0, [better]) is None
    assert nomination.next_timeout() == pytest.approx(2 * PACE_S + 0.01)
    slow: Nomination[str] = Nomination()
    slow.answered(0.0, "it", answering, 3.0)
    slow.choice(0.0, [better])
    assert slow.next_timeout() == MOST_FOR_BETTER_S


def test_who_answers_meanwhile_does_not_lengthen_the_wait(nomination: Nomination[str]) -> None:
    nomination.answered(0.0, "two", TWO_RELAYS, 0.1)
    nomination.answered(0.6, "one", RELAY, 0.1)
    nomination.choice(0.6, [LAN])
    assert nomination.next_timeout() == pytest.approx(REPEAT_S + 0.2)
    assert chosen(nomination, 0.7, [LAN]) == "one"


def test_a_pair_that_could_not_be_nominated_is_not_chosen_again(nomination: Nomination[str]) -> None:
    nomination.answered(0.0, "lan", LAN, 0.001)
    nomination.answered(0.0, "relay", RELAY, 0.001)
    assert chosen(nomination, 0.0, []) == "lan"
    nomination.failed("lan")
    assert chosen(nomination, 0.0, []) == "relay"
