"""A TCP connection to a host of several addresses, some of which may be dead (RFC 8305, "Happy Eyeballs").

The event loops try a name's addresses one after the other, each until the system gives it up after minutes: a server
whose first address is dead, as on a network with half an IPv6, would be unreachable. Here the next address gets its
chance after a quarter of a second, families take turns, and the first to answer wins.
"""

from __future__ import annotations

import asyncio
import socket

from aiohappyeyeballs import start_connection

ATTEMPT_DELAY_S = 0.25  # RFC 8305 section 8 recommends it


async def dial(host: str, port: int) -> socket.socket:
    """A connected, non-blocking socket; the caller closes it and sets the timeout.

    Raises OSError: socket.gaierror for a name nobody knows, else what the attempts met.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await start_connection(found, happy_eyeballs_delay=ATTEMPT_DELAY_S, interleave=1)
