"""signaling.proxies: whom a forwarded connection is from."""

from __future__ import annotations

import pytest

from signaling.networks import NotAnAddress
from signaling.proxies import TrustedProxies

PROXIES = TrustedProxies(["127.0.0.1", "10.0.0.0/8"])


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # what comes before is hearsay
        (["198.51.100.1", "203.0.113.7"], "203.0.113.7"),  # in two headers
        (["203.0.113.7, 10.0.0.2, 10.0.0.1"], "203.0.113.7"),  # our own proxies, one behind the other
        (["10.0.0.5"], "10.0.0.5"),  # a visitor from the proxies' own network
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (['"[2001:db8::7]"'], "2001:db8::7"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, unknown"], "unknown"),
        (["203.0.113.7,"], "203.0.113.7"),
        ([""], None),
        ([], None),
        ([",".join(["10.0.0.1"] * 10_000)], "10.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_is_believed(header: list[str], client: str | None) -> None:
    assert PROXIES.client_of(header) == client


def test_proxies_are_recognized_on_a_dual_stack_socket() -> None:
    for address in ("127.0.0.1", "::ffff:127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3"):
        assert address in PROXIES
    for address in ("127.0.0.2", "::1", "nonsense", ""):
        assert address not in PROXIES
    assert "127.0.0.1" not in TrustedProxies()


def test_a_name_is_not_a_proxy() -> None:
    with pytest.raises(NotAnAddress, match="'localhost' is neither"):
        TrustedProxies(["localhost"])
