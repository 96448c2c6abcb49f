"""meeting.own_addresses: which of a machine's many addresses are offered, and in which order."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from tallow_cli.errors import BadOption
from tallow_cli.meeting.interfaces import Interface
from tallow_cli.meeting.own_addresses import MAX_ADDRESSES, Nature, Standing, in_order, own_addresses

ETHERNET = Interface("eth0", (ip_interface("192.168.1.7/24"), ip_interface("2001:db8:1::7/64")))
WIFI = Interface("wlan0", (ip_interface("10.0.0.3/8"),))
DOCKER = Interface("docker0", (ip_interface("172.17.0.1/16"),))


def test_default_route_and_what_reached_the_server_come_first_then_cards_then_bridges_and_dead_cables() -> (
    None
):
    standing = Standing(
        proven=frozenset({"10.0.0.3"}),
        default=frozenset({"192.168.1.7", "2001:db8:1::7"}),
        natures={
            "docker0": Nature(has_card=False, is_inward=True),
            "tun0": Nature(has_card=False, is_tunnel=True),
            "eth9": Nature(has_carrier=False),
        },
    )
    others = [
        Interface("eth9", (ip_interface("10.7.0.2/24"),)),
        Interface("tun0", (ip_interface("10.8.0.2/24"),)),
        Interface("eth1", (ip_interface("10.9.0.2/24"),)),
    ]
    assert in_order([DOCKER, *others, ETHERNET, WIFI], standing) == (
        "192.168.1.7",
        "2001:db8:1::7",
        "10.0.0.3",
        "10.9.0.2",
        "10.8.0.2",
        "172.17.0.1",
        "10.7.0.2",
    )


def test_of_two_cards_the_faster_comes_first_and_one_that_does_not_say_last() -> None:
    natures = {"eth1": Nature(speed_mbps=100), "eth2": Nature(speed_mbps=1000), "wlan0": Nature()}
    slow = Interface("eth1", (ip_interface("10.1.0.1/24"),))
    fast = Interface("eth2", (ip_interface("10.2.0.1/24"),))
    assert in_order([WIFI, slow, fast], Standing(natures=natures)) == ("10.2.0.1", "10.1.0.1", "10.0.0.3")


def test_a_tunnel_that_takes_all_traffic_comes_behind_the_network_that_reached_the_other_side() -> None:
    tunnel = Interface("tun0", (ip_interface("10.8.0.2/24"),))
    standing = Standing(
        proven=frozenset({"10.0.0.3"}),
        default=frozenset({"10.8.0.2"}),
        natures={"tun0": Nature(has_card=False, is_tunnel=True)},
    )
    assert in_order([tunnel, WIFI], standing) == ("10.0.0.3", "10.8.0.2")


def test_where_nothing_is_known_the_systems_order_stays_with_ipv4_first() -> None:
    assert in_order([ETHERNET, WIFI], Standing()) == ("192.168.1.7", "10.0.0.3", "2001:db8:1::7")


def test_forty_containers_push_out_no_likely_address() -> None:
    containers = [Interface(f"br-{n}", (ip_interface(f"172.20.{n}.1/24"),)) for n in range(40)]
    found = in_order([*containers, ETHERNET], Standing(default=frozenset({"192.168.1.7"})))
    assert found[0] == "192.168.1.7"
    assert len(found) == MAX_ADDRESSES


def test_addresses_that_lead_nowhere_are_left_out_and_each_comes_once() -> None:
    odd = Interface("eth1", (ip_interface("fe80::1/64"), ip_interface("192.168.1.7/24")))
    assert in_order([ETHERNET, odd], Standing()) == ("192.168.1.7", "2001:db8:1::7")


def test_one_interface_or_one_address_can_be_chosen() -> None:
    assert own_addresses(interface="127.0.0.1") == ("127.0.0.1",)
    assert "127.0.0.1" in own_addresses(interface="lo")
    with pytest.raises(
        BadOption,
        match=r"'nonsense0' is neither an interface .* nor an address of one \(.*lo: .*127\.0\.0\.1",
    ):
        own_addresses(interface="nonsense0")


def test_the_address_that_a_server_was_reached_from_is_the_first() -> None:
    everything = own_addresses()
    if everything:
        assert own_addresses(reached_from=everything[-1])[0] in everything[:1] + everything[-1:]
