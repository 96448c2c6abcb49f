"""Telling when a socket can be read, written, or has an error waiting, on any event loop.

libuv, and so uvloop, stops watching a descriptor that reports an error condition, for good. ICMP is such a condition
until it is read. So on Linux an epoll of our own stands between socket and loop: the loop watches that descriptor,
which is only ever readable. Elsewhere the loop watches the socket itself, and no errors may be asked for.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from collections.abc import Callable


class SocketWatch:
    """Calls `on_ready` on the running loop whenever `sock` can be read or has an error waiting, and while
    `want_writes(True)` also when it can be written. It does not say which: try. Close it before the socket.
    """

    def __init__(self, sock: socket.socket, on_ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._on_ready = on_ready
        self._is_closed = False
        self._epoll: select.epoll | None = None
        if sys.platform == "linux":
            self._epoll = select.epoll()
            self._epoll.register(sock, select.EPOLLIN)
            self._loop.add_reader(self._epoll.fileno(), on_ready)
        else:
            self._loop.add_reader(sock, on_ready)

    @property
    def survives_errors(self) -> bool:
        """Whether the socket may be asked to report errors (IP_RECVERR)."""
        return self._epoll is not None

    def want_writes(self, wanted: bool) -> None:
        if self._is_closed:
            return
        if self._epoll is not None:
            self._epoll.modify(self._sock, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))
        elif wanted:
            self._loop.add_writer(self._sock, self._on_ready)
        else:
            self._loop.remove_writer(self._sock)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        else:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
