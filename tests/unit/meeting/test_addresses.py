"""meeting.addresses: naming this machine to another."""

from __future__ import annotations

import ipaddress
import socket

import ifaddr
import pytest

from tallow_cli.errors import ExitCode, NoNetwork
from tallow_cli.meeting import addresses


def test_the_address_is_one_another_machine_could_use_or_none() -> None:
    address = addresses.primary_address()
    assert address is None or not ipaddress.ip_address(address).is_loopback


def test_a_machine_without_a_route_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unconnected(socket.socket):
        def connect(self, _address: object, /) -> None:
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", Unconnected)
    assert addresses.primary_address() is None


def test_no_interface_with_an_address_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses.require_network()
    bare = [ifaddr.Adapter("lo", "lo", [], index=1)]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: bare)
    with pytest.raises(NoNetwork) as caught:
        addresses.require_network()
    assert caught.value.exit_code is ExitCode.NO_PATH
