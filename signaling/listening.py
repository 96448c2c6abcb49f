"""Where to listen: the addresses that a host stands for, and one sentence where that cannot be."""

from __future__ import annotations

import asyncio
import errno
import socket

from signaling.listener import EVERY_ADDRESS, SocketAddress


class CannotListen(Exception):
    """The server cannot start. The text says what is wrong and what to do."""


async def resolved(hosts: list[str]) -> list[SocketAddress]:
    """Raises OSError for a name that stands for no address."""
    loop = asyncio.get_running_loop()
    found: list[SocketAddress] = []
    for host in hosts:
        if host == "":
            found.append(EVERY_ADDRESS)
            continue
        if (zoned := zoned_address(host)) is not None:
            found.append((socket.AF_INET6, (zoned[0], 0, 0, zoned[1])))
            continue
        answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        found.extend((family, address) for family, _type, _protocol, _name, address in answers)
    return list(dict.fromkeys(found))


def zoned_address(host: str) -> tuple[str, int] | None:
    """Address and number of the interface of an IPv6 address with a zone, by name or number (RFC 4007 section 11). None
    for any other host. uvloop's `getaddrinfo` loses the zone.

    Raises OSError for a zone this machine does not have.
    """
    address, percent, zone = host.partition("%")
    if not percent or ":" not in address:
        return None
    return address, int(zone) if zone.isascii() and zone.isdigit() else socket.if_nametoindex(zone)


def why_not(host: str, port: int, error: OSError) -> str:
    """What is wrong with listening on `host` and `port`, and what to do."""
    where = f"{host or '*'}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use, so the server cannot listen on {where}. Choose another with --port."
    if error.errno == errno.EACCES:
        return f"Listening on {where} is not allowed. Choose a --port above 1023."
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{host} is not an address of this machine. Choose another --host."
    return (
        f"The server cannot listen on {where} ({error.strerror or error}). Choose another --host or --port."
    )
