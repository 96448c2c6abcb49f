"""Sockets on ports and interfaces of somebody's choice: where a firewall lets in a few, no others are of use."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from tallow_cli.errors import BadOption

# linux/in.h and linux/in6.h. Unlike SO_BINDTODEVICE they change what leaves, not what is heard: what comes from this
# machine itself comes over loopback.
_UNICAST_IF: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, 50),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 76),
}


def bound_socket(address: str, ports: tuple[int, int] | None, through: int | None = None) -> socket.socket:
    """A UDP socket on this address and the first free of these ports, both ends included; None: any. What is sent
    leaves by the interface with the index `through`, where the system can do that. Raises OSError.
    """
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if through is not None and sys.platform == "linux":
            with suppress(OSError):  # an old kernel: the source address alone decides
                sock.setsockopt(*_UNICAST_IF[sock.family], struct.pack("!I", through))
        first, last = ports or (0, 0)
        for port in range(first, last + 1):
            try:
                sock.bind((address, port))
            except OSError as error:
                if port == last or error.errno != errno.EADDRINUSE:
                    raise
            else:
                break
    except OSError:
        sock.close()
        raise
    return sock


async def connected_stream(source: str, target: tuple[str, int], through: int | None) -> socket.socket:
    """A TCP connection from this address (which may be none in particular) to the other, by that interface. Raises
    OSError.
    """
    sock = socket.socket(_family(target[0]), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if through is not None and sys.platform == "linux":
            with suppress(OSError):  # of this user's, once; and not on an old kernel
                sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_BINDTODEVICE, socket.if_indextoname(through).encode()
                )
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def explain_ports(ports: tuple[int, int], problems: Sequence[OSError]) -> None:
    """Why none of them could be bound, if that is because of the ports. Raises BadOption."""
    first, last = ports
    reasons = {error.errno for error in problems}
    which = f"port {first}" if first == last else f"the ports {first}-{last}"
    if errno.EADDRINUSE in reasons:
        busy = f"{which} is in use" if first == last else f"all of {which} are in use"
        raise BadOption("--udp-ports", f"{busy} by other programs; name others, or more")
    if errno.EACCES in reasons or errno.EPERM in reasons:
        raise BadOption("--udp-ports", f"only root may use {which} here; name ports from 1024 on")
