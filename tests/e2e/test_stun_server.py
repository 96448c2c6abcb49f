"""The STUN responder of the real server, asked by other people's clients."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys

import pytest
from aioice import stun

from tallow_cli.meeting.signaling_client import SignalingClient
from tests.support.signaling_program import serving

pytestmark = pytest.mark.e2e

REQUEST = bytes(stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST))
LARGER_REQUEST = REQUEST[:2] + b"\0\x08" + REQUEST[4:] + b"\x80\x22\0\4test"


def mapped(server: tuple[str, int], request: bytes = REQUEST) -> tuple[tuple[str, int], tuple[str, int], str]:
    """Ask: what we are told we are, what we are, and who answered."""
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(server) if family == socket.AF_INET else sock.bind(("::1", 0))
        sock.sendto(request, server) if family == socket.AF_INET6 else sock.send(request)
        data, source = sock.recvfrom(2_048)
        message = stun.parse_message(data)
        return message.attributes["XOR-MAPPED-ADDRESS"], sock.getsockname()[:2], source[0]


def stun_port_told(url: str) -> int | None:
    async def ask() -> int | None:
        async with await SignalingClient.connect(url) as client:
            return client.stun_port

    return asyncio.run(ask())


def test_clients_are_told_the_port_and_it_tells_them_their_address() -> None:
    with serving() as server:
        told = stun_port_told(server.url)
        assert told == server.port
        seen, real, _ = mapped(("127.0.0.1", told))
    assert seen == real


def test_a_second_port_answers_so_that_a_client_learns_how_its_nat_maps_ports() -> None:
    async def told(url: str) -> tuple[int | None, int | None]:
        async with await SignalingClient.connect(url) as client:
            return client.stun_port, client.other_stun_port

    with serving() as server:
        first, other = asyncio.run(told(server.url))
        assert first is not None
        assert other not in (None, first)
        assert other is not None
        seen, real, _ = mapped(("127.0.0.1", other))
    assert seen == real


def test_switched_off_nobody_answers_and_nobody_is_told() -> None:
    with serving("--stun-port", "off") as server:
        assert stun_port_told(server.url) is None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(2)
            sock.connect(("127.0.0.1", server.port))
            sock.send(REQUEST)
            with pytest.raises(ConnectionRefusedError):
                sock.recv(2_048)


def test_a_port_of_its_own_and_one_that_is_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "signaling", "--port", "0", "--stun-port", str(port)]
        refused = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"tallow-signaling: UDP port {port}, where STUN requests would be answered, is in use. "
        "Choose another --stun-port, or off.\n"
    )
    with serving("--stun-port", str(port)) as server:
        assert stun_port_told(server.url) == port
        seen, real, _ = mapped(("127.0.0.1", port))
        assert seen == real


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
def test_on_every_address_the_answer_comes_from_the_one_that_was_asked(host: str) -> None:
    """127.0.0.9 is one of this machine's, and not the one that the system would answer from by itself."""
    with serving(host=host) as server:
        for address in ("127.0.0.1", "127.0.0.9"):
            seen, real, source = mapped((address, server.port))
            assert seen == real
            assert source in (address, f"::ffff:{address}")


def test_ipv6_is_answered_where_the_answer_is_not_too_large() -> None:
    with serving(host="") as server:
        try:
            seen, real, source = mapped(("::1", server.port), LARGER_REQUEST)
        except OSError:
            pytest.skip("this machine has no IPv6 on loopback")
    assert seen == real
    assert source == "::1"


@pytest.mark.skipif(
    shutil.which("turnutils_stunclient") is None, reason="coturn's utilities are not installed"
)
def test_coturns_client_is_answered() -> None:
    with serving() as server:
        ran = subprocess.run(
            ["turnutils_stunclient", "-p", str(server.port), "127.0.0.1"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert "UDP reflexive addr: 127.0.0.1:" in ran.stdout, ran.stdout + ran.stderr
