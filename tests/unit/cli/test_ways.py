"""cli.ways: the options about the network, and what is found out before a code is shown or spent."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tallow_cli.cli.options import ports_option
from tallow_cli.cli.ways import check_relay_only, with_ways
from tallow_cli.errors import BadOption
from tallow_cli.session.settings import LinkSettings


def ways(variables: dict[str, str] | None = None, **options: Any) -> LinkSettings:
    return with_ways(LinkSettings(), variables or {}, **{"interface": None, "udp_ports": None, **options})


def test_nothing_said_changes_nothing() -> None:
    assert ways() == LinkSettings()


@pytest.mark.parametrize(
    ("text", "ports"),
    [("50000-50099", (50_000, 50_099)), ("50000", (50_000, 50_000)), (" 1 - 65535 ", (1, 65_535))],
)
def test_ports_are_a_range_or_one(text: str, ports: tuple[int, int]) -> None:
    assert ports_option("--udp-ports", text) == ports


@pytest.mark.parametrize("text", ["", "x", "50099-50000", "0", "0-9", "1-65536", "1-2-3", "-5", "5-", "²"])
def test_anything_else_is_no_range(text: str) -> None:
    with pytest.raises(BadOption, match=r"--udp-ports: .* is no range of ports"):
        ports_option("--udp-ports", text)


def test_a_range_that_is_used_up_is_refused_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(BadOption, match=f"port {port} is in use"):
            ways(interface="127.0.0.1", udp_ports=str(port))
        assert ways(interface="127.0.0.1", udp_ports=f"{port}-{port + 20}").udp_ports == (port, port + 20)


def test_an_interface_this_machine_does_not_have_is_refused_at_once() -> None:
    with pytest.raises(BadOption, match=r"--interface: 'warp9' is neither .*127\.0\.0\.1"):
        ways(interface="warp9")


def test_a_variable_holds_several_servers_and_another_the_password() -> None:
    variables = {"TALLOW_ICE_PASSWORD": "hunter2"}
    made = ways(variables, servers=["stun:a, turn:b", "turn:c"], ice_user="me")
    assert [each.url for each in made.ice_servers] == ["stun:a", "turn:b", "turn:c"]
    assert [each.credential for each in made.ice_servers] == [None, "hunter2", "hunter2"]
    assert "hunter2" not in repr(made)


def test_only_relays_need_a_server_elsewhere() -> None:
    link = ways(servers=["turn:b"], relay_only=True)
    with pytest.raises(BadOption, match=r"--relay-only: .* would show this machine's address"):
        check_relay_only(link, None, "the sender's own server")
    check_relay_only(link, "ws://elsewhere", "the sender's own server")
    check_relay_only(LinkSettings(), None, "the sender's own server")
