"""meeting.interfaces: which addresses are for neighbours, and which lead anywhere."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tallow_cli.meeting.interfaces import interfaces, is_for_neighbours, is_usable


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.16.3.4", "192.168.1.7", "100.64.0.1", "169.254.1.1", "fd00::7", "fe80::1"]
)
def test_addresses_of_a_network_of_ones_own(address: str) -> None:
    assert is_for_neighbours(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2a00::1", "127.0.0.1", "::1", "224.0.0.1", "0.0.0.0", "::"])
def test_no_other_is_for_neighbours(address: str) -> None:
    assert not is_for_neighbours(ip_address(address))


def test_what_leads_nowhere_is_not_usable() -> None:
    usable = ["8.8.8.8", "192.168.1.7", "127.0.0.1", "fd00::7"]
    useless = ["224.0.0.251", "0.0.0.0", "::", "ff02::fb", "fe80::1"]
    assert [is_usable(ip_address(a)) for a in usable + useless] == [True] * 4 + [False] * 5


def test_loopback_is_listed_only_by_name() -> None:
    assert not any(each.ip.is_loopback for interface in interfaces() for each in interface.addresses)
    [loopback] = interfaces(("127.0.0.1",))
    assert loopback.ipv4 == "127.0.0.1"
