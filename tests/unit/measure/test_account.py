from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallow_cli.measure.account import LEAST_SHARE, SLOT_S, WINDOW_S, Account, Stopwatch
from tallow_cli.measure.causes import Cause

_STEPS = st.lists(st.tuples(st.floats(0.0, 5.0), st.sampled_from(Cause)), min_size=1, max_size=80)


@given(_STEPS)
def test_the_seconds_of_a_stopwatch_add_up_to_the_time_and_each_is_its_own_states(
    steps: list[tuple[float, Cause]],
) -> None:
    now, clock, own = 0.0, Stopwatch(0.0, Cause.NOTHING), {Cause.NOTHING: 0.0}
    before = Cause.NOTHING
    for seconds, cause in steps:
        now += seconds
        own[before] = own.get(before, 0.0) + seconds
        clock.spend(now, cause)
        before = cause
    taken = clock.take(now)
    assert sum(taken.values()) == pytest.approx(now)
    for cause, seconds in taken.items():
        assert seconds == pytest.approx(own[cause], abs=1e-6)
    assert clock.take(now) == {}


@given(_STEPS)
def test_the_shares_of_an_account_add_up_to_the_time_and_no_cause_is_lost(
    steps: list[tuple[float, Cause]],
) -> None:
    now, account = 0.0, Account()
    spent: dict[Cause, float] = {}
    for seconds, cause in steps:
        now += seconds
        account.book(now, {cause: seconds})
        spent[cause] = spent.get(cause, 0.0) + seconds
    whole = account.whole()
    if not now:
        assert whole is None
        return
    assert whole is not None
    assert whole.window_s == pytest.approx(now)
    listed = dict(whole.shares)
    assert sum(listed.values()) <= 1 + 1e-9
    assert sum(listed.values()) >= 1 - LEAST_SHARE * len(Cause)
    for cause, seconds in spent.items():
        if seconds / now > LEAST_SHARE + 1e-9:
            assert listed[cause] == pytest.approx(seconds / now)
    assert whole.cause is whole.shares[0][0]
    assert list(listed.values()) == sorted(listed.values(), reverse=True)


def test_a_window_rolls_on_and_the_whole_keeps_everything() -> None:
    account = Account()
    for tick in range(1, 101):  # 20 s of one, then 20 s of another
        account.book(tick * 0.2, {Cause.SENDER_DISK: 0.2})
    for tick in range(101, 201):
        account.book(tick * 0.2, {Cause.NETWORK_CAPACITY: 0.2})
    verdict, whole = account.verdict(40.0), account.whole()
    assert verdict is not None
    assert whole is not None
    assert dict(verdict.shares) == {Cause.NETWORK_CAPACITY: pytest.approx(1.0)}
    assert verdict.window_s == pytest.approx(WINDOW_S, abs=2 * SLOT_S)
    assert verdict.since_s == pytest.approx(15.0, abs=1.0)  # it had most of the ten seconds after five
    assert dict(whole.shares) == {
        Cause.NETWORK_CAPACITY: pytest.approx(0.5),
        Cause.SENDER_DISK: pytest.approx(0.5),
    }


def test_nothing_booked_is_no_verdict_and_what_is_long_ago_is_none() -> None:
    account = Account()
    assert account.verdict(1.0) is None
    assert account.whole() is None
    account.book(1.0, {Cause.PERSON: 1.0})
    assert account.verdict(1.0) is not None
    assert account.verdict(1.0 + WINDOW_S) is None
