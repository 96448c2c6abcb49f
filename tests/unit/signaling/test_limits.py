"""signaling.limits: the figures, and how they stand to each other."""

from __future__ import annotations

from signaling.limits import EMBEDDED_LIMITS, LOOPBACK_LIMITS, PUBLIC_LIMITS


def test_loopback_has_more_of_everything_and_nothing_without_end() -> None:
    for name in PUBLIC_LIMITS.__slots__:
        if name != "penalty_s":
            assert getattr(PUBLIC_LIMITS, name) < getattr(LOOPBACK_LIMITS, name) < 10_000


def test_the_server_inside_tallow_send_waits_as_long_as_the_sender_does() -> None:
    lifetimes = (EMBEDDED_LIMITS.unjoined_s, EMBEDDED_LIMITS.joined_s, EMBEDDED_LIMITS.idle_s)
    assert lifetimes == (float("inf"),) * 3


def test_a_wider_network_gets_more_of_everything_but_penalty() -> None:
    wider = PUBLIC_LIMITS.widened(4)
    for name in PUBLIC_LIMITS.__slots__:
        factor = 1 if name == "penalty_s" else 4
        assert getattr(wider, name) == factor * getattr(PUBLIC_LIMITS, name)
