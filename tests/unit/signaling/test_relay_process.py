"""signaling.relay_process: the settings that a relay of our own gets. The process itself: tests/e2e/test_relays.py."""

from __future__ import annotations

import ipaddress

import pytest

from signaling.networks import Address
from signaling.relay_process import RelaySettings, configuration, new_secret
from tests.support.entropy import SeededEntropy

OURS = ipaddress.ip_address("203.0.113.1")


def lines(*addresses: Address, **changes: object) -> list[str]:
    settings = RelaySettings(addresses or (OURS,), 3478, (50_000, 50_099), "s" * 64, **changes)  # type: ignore[arg-type]
    return configuration(settings).splitlines()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.31.255.255",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ],
)
def test_nothing_inside_is_relayed_to(address: str) -> None:
    wanted = ipaddress.ip_address(address)
    ranges = [
        line.removeprefix("denied-peer-ip=").split("-")
        for line in lines()
        if line.startswith("denied-peer-ip=")
    ]
    bounds = [(ipaddress.ip_address(low), ipaddress.ip_address(high)) for low, high in ranges]
    assert any(low.version == wanted.version and low <= wanted <= high for low, high in bounds)


def test_two_clients_of_one_relay_meet_at_its_own_address() -> None:
    assert f"allowed-peer-ip={OURS}" in lines()


def test_the_secret_is_in_the_file_and_nobody_administers_it() -> None:
    said = lines()
    assert "static-auth-secret=" + "s" * 64 in said
    assert {"use-auth-secret", "no-cli", "no-tcp-relay", "no-dtls", "no-tls"} <= set(said)
    assert {"min-port=50000", "max-port=50099", "listening-port=3478"} <= set(said)


def test_behind_a_nat_it_names_the_address_outside() -> None:
    inside, outside = ipaddress.ip_address("10.0.0.5"), ipaddress.ip_address("198.51.100.9")
    said = lines(inside, external=outside)
    assert "external-ip=198.51.100.9/10.0.0.5" in said
    assert "listening-ip=10.0.0.5" in said
    assert "allowed-peer-ip=198.51.100.9" in said


def test_with_a_certificate_it_speaks_tls() -> None:
    said = lines(tls=("chain.pem", "key.pem"))
    assert {"cert=chain.pem", "pkey=key.pem", "tls-listening-port=5349"} <= set(said)
    assert "no-tls" not in said


def test_every_relay_has_a_secret_of_its_own() -> None:
    entropy = SeededEntropy("secret")
    assert new_secret(entropy) != new_secret(entropy)
    assert len(new_secret(entropy)) == 64


def test_no_range_of_refused_peers_ends_in_no_address_which_coturn_takes_for_every_address() -> None:
    assert not [line for line in lines() if line.startswith("denied-peer-ip=") and line.endswith("-::")]
