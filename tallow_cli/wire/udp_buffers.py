"""Socket buffers as large as the kernel allows, and how large they really became.

Linux's default (`net.core.rmem_max` 208 KiB) holds 184 datagrams, 1.8 ms at 1 Gbit/s: any pause of the
receiving process longer than that loses packets.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from dataclasses import dataclass
from typing import Final

# What quic-go and Tailscale ask for; holds 60 ms at 1 Gbit/s.
WANTED_BYTES: Final = 7_500_000

# Linux, asm-generic/socket.h: go beyond rmem_max and wmem_max, with CAP_NET_ADMIN.
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33


@dataclass(frozen=True, slots=True)
class GrantedBuffers:
    """What the kernel gave, in its own count: on Linux a datagram of 1,240 bytes costs about 2,300."""

    receive_bytes: int
    send_bytes: int


def receive_buffer_bytes() -> int:
    """What the kernel grants a UDP socket of this process, in its own count."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return grow_buffers(sock).receive_bytes


def grow_buffers(sock: socket.socket, wanted_bytes: int = WANTED_BYTES) -> GrantedBuffers:
    """Enlarge both buffers as far as allowed, never shrinking them."""
    _grow(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE, wanted_bytes)
    _grow(sock, socket.SO_SNDBUF, _SO_SNDBUFFORCE, wanted_bytes)
    return GrantedBuffers(
        receive_bytes=sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        send_bytes=sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
    )


def _grow(sock: socket.socket, option: int, force_option: int, wanted_bytes: int) -> None:
    if sock.getsockopt(socket.SOL_SOCKET, option) >= wanted_bytes:
        return
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, force_option, wanted_bytes)
            return
    # Some systems refuse what they do not grant; then less has to be asked for.
    while wanted_bytes > 65536:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, wanted_bytes)
        except OSError:
            wanted_bytes //= 2
        else:
            return
