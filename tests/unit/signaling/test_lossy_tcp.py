"""signaling.lossy_tcp: sockets that do not lose patience, where the system knows of that."""

from __future__ import annotations

import socket

import pytest

from signaling.lossy_tcp import stay_impatient

RTO_MAX_MS = 44


def test_what_a_listening_socket_accepts_repeats_once_a_second_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        try:
            listening.getsockopt(socket.IPPROTO_TCP, RTO_MAX_MS)
        except OSError:
            pytest.skip("this kernel has no TCP_RTO_MAX_MS (Linux 6.15)")
        stay_impatient(listening)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, RTO_MAX_MS) == 1_000


def test_a_socket_that_cannot_is_left_as_it_is() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        stay_impatient(other)
