from __future__ import annotations

import pytest

from tallow_cli.measure.lan import detect_lan


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.255.255.254"),
        ("::1", "::1"),
        ("10.0.0.1", "10.255.255.255"),
        ("172.16.0.1", "172.31.255.255"),
        ("192.168.1.2", "192.168.254.3"),
        ("10.0.0.1", "192.168.0.1"),
        ("169.254.1.1", "169.254.9.9"),
        ("fe80::1", "fe80::2%eth0"),
        ("fe80::1", "febf:ffff::1"),
        ("fd00::1", "fc12::2"),
        ("::ffff:192.168.1.2", "192.168.1.3"),
        ("2a01:4f8:1:2::10", "2a01:4f8:1:2:ffff::1"),
        ("93.184.215.14", "93.184.215.14"),
        ("::ffff:93.184.215.14", "93.184.215.14"),
    ],
)
def test_addresses_of_one_local_network_are_a_lan(local: str, remote: str) -> None:
    assert detect_lan(local, remote)
    assert detect_lan(remote, local)


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        ("192.168.1.2", "93.184.215.14"),
        ("93.184.215.14", "93.184.215.15"),
        ("172.15.255.255", "172.16.0.1"),
        ("172.32.0.0", "172.16.0.1"),
        ("100.64.0.1", "100.64.0.2"),
        ("192.0.2.1", "192.0.2.2"),
        ("fec0::1", "fe80::1"),
        ("2a01:4f8:1:2::10", "2a01:4f8:1:3::10"),
        ("2a01:4f8:1:2::10", "fd00::1"),
        ("2a01:4f8:1:2::10", "192.168.1.2"),
        ("::ffff:93.184.215.14", "10.0.0.1"),
        ("0.0.0.0", "10.0.0.1"),
        ("1b6d9e2c.local", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("10.0.0.1 ", "10.0.0.1"),
    ],
)
def test_anything_else_is_not_a_lan(local: str, remote: str) -> None:
    assert not detect_lan(local, remote)
    assert not detect_lan(remote, local)
