"""webrtc.nat_mapping: what answers of several servers say of a NAT, and answers that no server can give."""

from __future__ import annotations

import pytest

from tallow_cli.webrtc.nat_mapping import Mappings, is_plausible

BASE, ONE, OTHER = ("10.0.0.2", 4_000), ("203.0.113.1", 8_765), ("203.0.113.1", 8_766)
SEEN, ELSE = ("203.0.113.2", 4_000), ("203.0.113.2", 4_001)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({}, "unknown"),
        ({ONE: BASE}, "none"),
        ({ONE: SEEN}, "unknown"),
        ({ONE: SEEN, OTHER: SEEN}, "endpoint-independent"),
        ({ONE: SEEN, OTHER: ELSE}, "endpoint-dependent"),
    ],
)
def test_two_answers_tell_how_a_nat_maps_ports(
    answers: dict[tuple[str, int], tuple[str, int]], kind: str
) -> None:
    mappings = Mappings()
    for server, mapped in answers.items():
        mappings.seen(BASE, server, mapped)
    assert mappings.kind == kind


def test_one_network_with_a_symmetric_nat_is_told_before_others() -> None:
    mappings = Mappings()
    mappings.seen(("2001:db8::2", 4_000), ("2001:db8::1", 8_765), ("2001:db8::2", 4_000))
    mappings.seen(BASE, ONE, SEEN)
    assert mappings.kind == "unknown"
    mappings.seen(BASE, OTHER, ELSE)
    assert mappings.kind == "endpoint-dependent"


@pytest.mark.parametrize(
    ("mapped", "is_so"),
    [
        (("203.0.113.2", 4_000), True),
        (("10.1.2.3", 1), True),
        (("203.0.113.2", 0), False),
        (("0.0.0.0", 4_000), False),
        (("224.0.0.1", 4_000), False),
        (("255.255.255.255", 4_000), False),
        (("127.0.0.1", 4_000), False),
        (("2001:db8::2", 4_000), False),
        (("::ffff:203.0.113.2", 4_000), False),
        (None, False),
    ],
)
def test_what_no_server_can_see_is_not_believed(mapped: tuple[str, int] | None, is_so: bool) -> None:
    assert is_plausible(mapped, ONE) is is_so


def test_a_server_on_this_machine_sees_loopback() -> None:
    assert is_plausible(("127.0.0.1", 4_000), ("127.0.0.1", 8_765))
    assert is_plausible(("2001:db8::2", 1), ("2001:db8::1", 8_765))
    assert not is_plausible(("ff02::1", 1), ("2001:db8::1", 8_765))
