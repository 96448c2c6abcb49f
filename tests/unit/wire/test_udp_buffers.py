from __future__ import annotations

import socket

from tallow_cli.wire.udp_buffers import grow_buffers


class StingySocket(socket.socket):
    """A socket of a system that refuses large buffers outright, and knows no force options."""

    asked: list[tuple[int, int]]

    def setsockopt(self, level: int, option: int, value: int) -> None:  # type: ignore[override]
        self.asked.append((option, value))
        if option not in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            raise PermissionError
        if value > 400_000:
            raise OSError


def test_buffers_grow_and_the_granted_size_is_what_the_socket_says() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        granted = grow_buffers(sock)
        assert granted.receive_bytes == sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= before
        assert granted.send_bytes == sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def test_a_large_buffer_is_not_shrunk() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        first = grow_buffers(sock, 150_000)
        assert grow_buffers(sock, 10_000) == first


def test_where_the_system_refuses_a_smaller_size_is_asked_for() -> None:
    with StingySocket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.asked = []
        grow_buffers(sock, 1_600_000)
        accepted = [value for option, value in sock.asked if option == socket.SO_RCVBUF]
        assert accepted == [1_600_000, 800_000, 400_000]
