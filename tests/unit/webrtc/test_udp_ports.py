"""webrtc.udp_ports: the first free port of a range, and what is said where none is."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tallow_cli.errors import BadOption
from tallow_cli.webrtc.udp_ports import bound_socket, explain_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_the_first_free_port_is_taken(taken: int) -> None:
    with bound_socket("127.0.0.1", (taken, min(taken + 40, 65_535))) as sock:
        assert taken < sock.getsockname()[1] <= taken + 40
        assert not sock.getblocking()


def test_without_a_range_the_system_chooses() -> None:
    with bound_socket("127.0.0.1", None) as sock:
        assert sock.getsockname()[1] > 0


def test_a_range_that_is_used_up_is_said_to_be(taken: int) -> None:
    with pytest.raises(OSError) as caught:
        bound_socket("127.0.0.1", (taken, taken))
    with pytest.raises(BadOption, match=rf"--udp-ports: port {taken} is in use by other programs"):
        explain_ports((taken, taken), [caught.value])
    with pytest.raises(BadOption, match=r"all of the ports 5000-5009 are in use"):
        explain_ports((5000, 5009), [OSError(errno.EADDRINUSE, "")])


def test_ports_for_root_alone_are_said_to_be() -> None:
    with pytest.raises(BadOption, match="only root may use the ports 80-90 here"):
        explain_ports((80, 90), [PermissionError(errno.EACCES, os.strerror(errno.EACCES))])


def test_an_address_that_is_gone_is_no_matter_of_ports() -> None:
    with pytest.raises(OSError) as caught:
        bound_socket("192.0.2.254", (50_000, 50_001))
    explain_ports((50_000, 50_001), [caught.value])
