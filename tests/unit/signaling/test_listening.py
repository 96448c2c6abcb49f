"""signaling.listening: which addresses a host stands for."""

from __future__ import annotations

import socket

import pytest

from signaling.listening import resolved, zoned_address

LOOPBACK_INDEX = socket.if_nametoindex("lo")


@pytest.mark.parametrize("zone", ["lo", str(LOOPBACK_INDEX)])
def test_a_zone_is_the_name_of_an_interface_or_its_number(zone: str) -> None:
    assert zoned_address(f"fe80::1%{zone}") == ("fe80::1", LOOPBACK_INDEX)


def test_a_zone_that_is_not_here_is_an_os_error() -> None:
    with pytest.raises(OSError, match="no interface"):
        zoned_address("fe80::1%nosuch0")


@pytest.mark.parametrize("host", ["fe80::1", "127.0.0.1", "name.example", "", "odd%name"])
def test_other_hosts_have_no_zone(host: str) -> None:
    assert zoned_address(host) is None


async def test_each_host_is_listened_on_once_and_keeps_its_zone() -> None:
    found = await resolved(["127.0.0.1", "127.0.0.1", "fe80::1%lo"])
    assert found == [
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET6, ("fe80::1", 0, 0, LOOPBACK_INDEX)),
    ]
