"""Limits of the signaling server, in virtual time."""

from __future__ import annotations

import pytest

from signaling.limits import (
    EMBEDDED_LIMITS,
    LOOPBACK_LIMITS,
    PUBLIC_LIMITS,
    Admission,
    Prefix,
    PrefixHasher,
    ServerLimits,
    SlidingWindow,
)
from signaling.protocol import ErrorCode
from tests.support.entropy import SeededEntropy

PUBLIC = Prefix("a", is_loopback=False)
OTHER = Prefix("b", is_loopback=False)
LOCAL = Prefix("c", is_loopback=True)


def admission(limits: ServerLimits | None = None, *prefixes: Prefix) -> Admission:
    made = Admission(limits or ServerLimits())
    for prefix in prefixes or (PUBLIC, OTHER, LOCAL):
        assert made.connect(prefix, 0.0) is None
        made.opened(prefix)
    return made


# Guessing nameplates.


def test_after_five_wrong_nameplates_even_the_right_one_is_refused_for_a_minute() -> None:
    limits = admission()
    for guess in range(5):
        assert limits.join(PUBLIC, now=float(guess)) is None
        limits.wrong_nameplate(PUBLIC, str(1000 + guess), now=float(guess))
    refusal = limits.join(PUBLIC, now=5.0)
    assert refusal is not None
    assert refusal.code is ErrorCode.RATE_LIMITED
    assert refusal.message == "too many wrong numbers were tried; try again in 59 s"
    assert limits.join(PUBLIC, now=63.9) is not None
    assert limits.join(PUBLIC, now=64.0) is None
    assert limits.join(OTHER, now=5.0) is None, "a stranger pays for nobody else"


def test_asking_for_the_same_number_again_is_one_guess() -> None:
    limits = admission()
    for second in range(0, 60, 5):
        assert limits.join(PUBLIC, now=float(second)) is None
        limits.wrong_nameplate(PUBLIC, "4821", now=float(second))
    assert limits.join(PUBLIC, now=60.0) is None


def test_wrong_guesses_are_forgotten_after_a_minute() -> None:
    limits = admission()
    for guess in range(20):
        now = guess * 16.0
        assert limits.join(PUBLIC, now) is None
        limits.wrong_nameplate(PUBLIC, str(1000 + guess), now)


def test_joins_are_limited_to_ten_in_ten_seconds_and_thirty_in_a_minute() -> None:
    limits = admission()
    for _ in range(10):
        assert limits.join(PUBLIC, 0.0) is None
    assert limits.join(PUBLIC, 9.9) is not None
    for start in (10.0, 20.0):
        for _ in range(10):
            assert limits.join(PUBLIC, start) is None
    refusal = limits.join(PUBLIC, 30.0)
    assert refusal is not None
    assert refusal.message.endswith("try again in 30 s")
    assert limits.join(PUBLIC, 60.0) is None


def test_a_ci_job_with_hundreds_of_local_transfers_meets_no_limit() -> None:
    limits = admission()
    for transfer in range(600):
        now = transfer * 0.1
        assert limits.connect(LOCAL, now) is None
        limits.opened(LOCAL)
        assert limits.open_room(LOCAL, now) is None
        assert limits.join(LOCAL, now) is None
        limits.close_room(LOCAL, now)
        limits.disconnect(LOCAL, now, was_opened=True)


# Rooms and connections.


def test_rooms_of_one_prefix_are_limited_and_closing_one_makes_place() -> None:
    limits = admission()
    for _ in range(PUBLIC_LIMITS.rooms):
        assert limits.open_room(PUBLIC, 0.0) is None
    assert limits.open_room(PUBLIC, 0.0) is not None
    assert limits.open_room(OTHER, 0.0) is None
    limits.close_room(PUBLIC, 0.0)
    assert limits.open_room(PUBLIC, 0.0) is None


def test_opening_and_closing_rooms_in_a_loop_is_limited_too() -> None:
    limits = admission()
    for _ in range(PUBLIC_LIMITS.allocations_per_minute):
        assert limits.open_room(PUBLIC, 0.0) is None
        limits.close_room(PUBLIC, 0.0)
    assert limits.open_room(PUBLIC, 59.0) is not None
    assert limits.open_room(PUBLIC, 60.0) is None


def test_rooms_of_all_are_limited() -> None:
    limits = admission(ServerLimits(rooms=2))
    assert limits.open_room(PUBLIC, 0.0) is None
    assert limits.open_room(LOCAL, 0.0) is None
    refusal = limits.open_room(OTHER, 0.0)
    assert refusal is not None
    assert refusal.code is ErrorCode.SERVER_FULL


def test_connections_of_one_prefix_are_limited_whether_they_open_or_not() -> None:
    limits = Admission(ServerLimits())
    for _ in range(PUBLIC_LIMITS.pending_handshakes):
        assert limits.connect(PUBLIC, 0.0) is None
    refusal = limits.connect(PUBLIC, 0.0)
    assert refusal is not None
    assert refusal.kind == "prefix-connections"
    limits.opened(PUBLIC)
    assert limits.connect(PUBLIC, 0.0) is None
    for _ in range(PUBLIC_LIMITS.pending_handshakes):
        limits.opened(PUBLIC)
    while limits.connect(PUBLIC, 0.0) is None:
        limits.opened(PUBLIC)
    for _ in range(PUBLIC_LIMITS.connections):
        limits.disconnect(PUBLIC, 0.0, was_opened=True)
    assert limits.connect(PUBLIC, 0.0) is None


def test_connections_and_pending_handshakes_of_all_are_limited() -> None:
    limits = Admission(ServerLimits(connections=3, pending_handshakes=2))
    assert limits.connect(PUBLIC, 0.0) is None
    assert limits.connect(OTHER, 0.0) is None
    pending = limits.connect(LOCAL, 0.0)
    assert pending is not None
    assert pending.kind == "pending"
    limits.opened(PUBLIC)
    limits.disconnect(OTHER, 0.0, was_opened=False)
    assert limits.connect(LOCAL, 0.0) is None
    limits.opened(LOCAL)
    assert limits.connect(OTHER, 0.0) is None
    limits.opened(OTHER)
    full = limits.connect(OTHER, 0.0)
    assert full is not None
    assert full.kind == "connections"


def test_remembered_prefixes_are_bounded_and_idle_ones_make_place() -> None:
    limits = Admission(ServerLimits(prefixes=3))
    for name in "abc":
        prefix = Prefix(name, is_loopback=False)
        assert limits.connect(prefix, 0.0) is None
        limits.disconnect(prefix, 1.0, was_opened=False)
    stranger = Prefix("d", is_loopback=False)
    refusal = limits.connect(stranger, 2.0)
    assert refusal is not None
    assert refusal.kind == "prefixes"
    assert limits.connect(stranger, 61.5) is None


def test_a_penalty_outlives_the_connection_that_earned_it() -> None:
    limits = admission(ServerLimits(prefixes=1), PUBLIC)
    for guess in range(5):
        limits.wrong_nameplate(PUBLIC, str(guess), 0.0)
    limits.disconnect(PUBLIC, 1.0, was_opened=True)
    assert limits.connect(OTHER, 50.0) is not None, "no stranger pushes the culprit out of memory"
    assert limits.connect(PUBLIC, 50.0) is None
    assert limits.join(PUBLIC, 50.0) is not None


# Who is who.


def test_one_subscriber_is_one_prefix() -> None:
    hasher = PrefixHasher(SeededEntropy("prefix"))
    same = [
        ("192.0.2.7", "::ffff:192.0.2.7"),
        ("2001:db8::1", "2001:db8::ffff:1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ]
    for one, other in same:
        assert hasher.prefix(one, 0.0) == hasher.prefix(other, 0.0)
    addresses = ["192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8:0:1::1", "127.0.0.1", "::1", "nonsense"]
    assert len({hasher.prefix(address, 0.0).label for address in addresses}) == len(addresses)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_recognized(address: str) -> None:
    assert PrefixHasher(SeededEntropy("x")).prefix(address, 0.0).is_loopback


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.2", "2001:db8::1", "", "localhost"])
def test_nothing_else_is_loopback(address: str) -> None:
    assert not PrefixHasher(SeededEntropy("x")).prefix(address, 0.0).is_loopback


def test_labels_mean_nothing_to_another_process_nor_tomorrow() -> None:
    hasher = PrefixHasher(SeededEntropy("one"))
    today = hasher.prefix("192.0.2.7", 100.0)
    assert "192" not in today.label
    assert hasher.prefix("192.0.2.7", 86_499.0) == today
    assert hasher.prefix("192.0.2.7", 86_500.0) != today
    assert PrefixHasher(SeededEntropy("two")).prefix("192.0.2.7", 100.0) != today


def test_a_sliding_window_says_how_long_to_wait() -> None:
    window = SlidingWindow(limit=2, period_s=10.0)
    assert window.wait_s(0.0) == 0.0
    window.count(0.0)
    window.count(4.0)
    assert window.wait_s(6.0) == 4.0
    assert window.wait_s(10.0) == 0.0


def test_loopback_has_more_of_everything_and_nothing_without_end() -> None:
    for name in PUBLIC_LIMITS.__slots__:
        if name != "penalty_s":
            assert getattr(PUBLIC_LIMITS, name) < getattr(LOOPBACK_LIMITS, name) < 10_000


def test_the_server_inside_tallow_send_waits_as_long_as_the_sender_does() -> None:
    lifetimes = (EMBEDDED_LIMITS.unjoined_s, EMBEDDED_LIMITS.joined_s, EMBEDDED_LIMITS.idle_s)
    assert lifetimes == (float("inf"),) * 3
