"""session.way: each kind of way is said where it is so, and only there."""

from __future__ import annotations

import ipaddress

import pytest

from tallow_cli.link.link import PathInfo
from tallow_cli.meeting.interfaces import Interface
from tallow_cli.session.way import way_taken


def held(*addresses: str) -> tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]:
    return tuple(ipaddress.ip_interface(each) for each in addresses)


OWN = (
    Interface("eth0", held("192.168.1.5/24", "2001:db8:1::5/64")),
    Interface("wg0", held("10.7.0.2/24")),
    Interface("ts0", held("100.100.1.2/10")),
)


def way(local: str, remote: str, **known: object) -> str:
    kind = "relayed" if known.get("relay") or known.get("is_peer_relayed") else "direct"
    path = PathInfo(kind, local, 4_000, remote, 5_000, **known)  # type: ignore[arg-type]  # by name
    ours = {str(each.ip) for interface in OWN for each in interface.addresses}
    return way_taken(
        path,
        own=lambda: OWN,
        source_towards=lambda to: to[0] if to[0] in ours else local,
        tunnels=lambda name: name == "wg0",
    )


@pytest.mark.parametrize(
    ("local", "remote", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", "same-machine"),
        ("192.168.1.5", "192.168.1.5", "same-machine"),
        ("192.168.1.5", "10.7.0.2", "same-machine"),
        ("192.168.1.5", "192.168.1.7", "local-network"),
        ("2001:db8:1::5", "2001:db8:1::7", "local-network"),
        ("192.168.1.5", "192.168.2.7", "direct"),
        ("2001:db8:1::5", "2001:db8:2::7", "direct"),
        ("10.7.0.2", "10.7.0.3", "tunnel"),
        ("100.100.1.2", "100.101.1.2", "direct"),
    ],
)
def test_the_remote_address_and_the_interface_that_leads_there_tell(
    local: str, remote: str, expected: str
) -> None:
    assert way(local, remote) == expected


def test_a_nat_on_either_side_is_told_from_what_the_peer_sees_and_from_what_we_do() -> None:
    assert way("192.168.1.5", "203.0.113.2", seen_as=("203.0.113.9", 4_000)) == "across-nats"
    assert way("192.168.1.5", "203.0.113.2", seen_as=("192.168.1.5", 4_000)) == "direct"
    assert way("192.168.1.5", "203.0.113.2", is_peer_translated=True) == "across-nats"


def test_a_peer_reflexive_neighbour_is_a_neighbour_all_the_same() -> None:
    assert way("192.168.1.5", "192.168.1.7", is_peer_translated=True) == "local-network"


def test_a_relay_at_either_end_is_a_relayed_way_wherever_it_stands() -> None:
    assert way("192.168.1.5", "192.168.1.7", relay="turn:192.168.1.5:3478?transport=udp") == "relayed"
    assert way("192.168.1.5", "192.168.1.7", is_peer_relayed=True) == "relayed"
