"""signaling.networks: which addresses are one client, and what the server remembers of them."""

from __future__ import annotations

import pytest

from signaling.networks import NotAnAddress, Prefix, PrefixHasher, is_in, parsed_address, parsed_networks
from tests.support.entropy import SeededEntropy


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


def prefix(address: str) -> Prefix:
    return PrefixHasher(SeededEntropy("prefix")).prefix(address, 0.0)


def test_a_network_is_part_of_wider_ones_that_its_neighbours_share() -> None:
    ours, next_64 = prefix("2001:db8:1:100::1"), prefix("2001:db8:1:101::1")
    other_56, other_48 = prefix("2001:db8:1:200::1"), prefix("2001:db8:2:100::1")
    assert ours.label != next_64.label
    assert ours.wider == next_64.wider
    assert ours.wider[0] != other_56.wider[0]
    assert ours.wider[1] == other_56.wider[1]
    assert not {label for label, _ in ours.wider} & {label for label, _ in other_48.wider}
    assert prefix("192.0.2.7").wider == prefix("192.0.2.8").wider != prefix("192.0.3.7").wider
    factors = [factor for _, factor in ours.wider]
    assert factors == sorted(factors), "the wider, the more"
    assert prefix("127.0.0.1").wider == prefix("::1").wider == ()


def test_addresses_and_networks_can_be_trusted_however_they_are_written() -> None:
    networks = parsed_networks(["127.0.0.1", "10.0.0.0/8", "::ffff:192.0.2.7", "fd00::/8", "172.16.5.4/12"])
    trusted = ["127.0.0.1", "::ffff:127.0.0.1", "10.9.8.7", "192.0.2.7", "fd12::1", "172.31.0.1"]
    others = ["127.0.0.2", "11.0.0.1", "192.0.2.8", "fe80::1", "::1", "172.32.0.1"]
    for text in trusted + others:
        address = parsed_address(text)
        assert address is not None
        assert is_in(address, networks) is (text in trusted), text


@pytest.mark.parametrize(
    "text", ["localhost", "proxy.example", "", "10.0.0.0/33", "10.0.0", "*", "127.0.0.1:80"]
)
def test_what_is_no_address_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(NotAnAddress, match=r"neither an address like .* nor a network like"):
        parsed_networks([text])
