"""Accepting connections: each is judged by its address before a byte is read or a TLS handshake begun.

asyncio's own servers tell nobody of a connection before its TLS handshake is over, and of none that was accepted while
the process was out of descriptors. A `Listener` owns its sockets, and stands in for `asyncio.Server` in websockets.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from typing import Any, Generic, Protocol, TypeVar

from signaling.limits import ServerLimits
from signaling.lossy_tcp import stay_impatient

BACKLOG = 100
TLS_SHUTDOWN_S = 0.5  # a client that does not answer our close_notify is left
_AT_A_TIME = 32  # connections accepted in one turn of the loop
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_NOT_HERE = {
    errno.EAFNOSUPPORT,
    errno.EADDRNOTAVAIL,
}  # a family that is compiled out, or switched off; an address gone
_PORTS_TRIED = 10

Arrival = TypeVar("Arrival")


class Door(Protocol[Arrival]):
    """Who decides about a connection, and hears of its end. Of what `arrived` let in, `left` hears exactly once."""

    def arrived(self, address: str) -> Arrival | None: ...

    def protocol(self, arrival: Arrival) -> asyncio.Protocol: ...

    def left(self, arrival: Arrival) -> None: ...


class Listener(Generic[Arrival]):
    """Listens on `sockets`, bound already. TLS handshakes that take longer than `limits.open_s` are ended."""

    def __init__(
        self,
        sockets: list[socket.socket],
        door: Door[Arrival],
        tls: ssl.SSLContext | None,
        limits: ServerLimits,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._door = door
        self._tls = tls
        self._limits = limits
        self._opening: set[asyncio.Task[None]] = set()
        self._breathers: set[asyncio.TimerHandle] = set()
        self._listening: list[socket.socket] = []
        self.reached_at: str | None = None  # the address of ours that the latest connection came to
        self.add(sockets)

    def add(self, sockets: list[socket.socket]) -> None:
        """Listen on these as well."""
        for each in sockets:
            each.setblocking(False)
            stay_impatient(each)
            each.listen(BACKLOG)
            self._listening.append(each)
            self._hear(each)

    # What websockets asks of an asyncio.Server

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return tuple(self._listening)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return bool(self._listening)

    async def start_serving(self) -> None:
        """It does since it was made."""

    def close(self) -> None:
        """Accept nothing more, and drop what has not finished its TLS handshake."""
        for timer in self._breathers:
            timer.cancel()
        for each in self._listening:
            self._loop.remove_reader(each.fileno())
            each.close()
        self._listening = []
        for task in self._opening:
            task.cancel()

    async def wait_closed(self) -> None:
        if self._opening:
            await asyncio.wait(self._opening)

    # Accepting

    def _hear(self, listening: socket.socket) -> None:
        self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_A_TIME):
            try:
                connection, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._take_a_breath(listening)
                return
            arrival = self._door.arrived(str(peer[0]))
            if arrival is None:
                connection.close()
                continue
            connection.setblocking(False)
            self.reached_at = str(connection.getsockname()[0]).removeprefix("::ffff:")
            task = self._loop.create_task(self._open(connection, arrival))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _take_a_breath(self, listening: socket.socket) -> None:
        """The connection stays in the system's queue; asking again at once would find the same."""
        self._loop.remove_reader(listening.fileno())

        def hear_again() -> None:
            self._breathers.discard(timer)
            self._hear(listening)

        timer = self._loop.call_later(self._limits.breather_s, hear_again)
        self._breathers.add(timer)

    async def _open(self, connection: socket.socket, arrival: Arrival) -> None:
        """Hand the connection to its protocol, after the TLS handshake where there is one."""
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._door.protocol(arrival),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else self._limits.open_s,
                ssl_shutdown_timeout=None if self._tls is None else TLS_SHUTDOWN_S,
            )
        except (OSError, EOFError, asyncio.CancelledError):  # no TLS, or none in time; stopping
            self._door.left(arrival)
            connection.close()


SocketAddress = tuple[socket.AddressFamily, tuple[Any, ...]]  # as getaddrinfo gives them
EVERY_ADDRESS: SocketAddress = (socket.AF_UNSPEC, ())


def bound_sockets(
    addresses: list[SocketAddress], port: int, *, kind: socket.SocketKind = socket.SOCK_STREAM
) -> list[socket.socket]:
    """One socket for each address, all with the same port: TCP's, or UDP's with `kind` SOCK_DGRAM. Addresses this
    machine does not have are left out.

    Raises OSError if none is left, and if the port is taken on one of them.
    """
    for tries_left in reversed(range(_PORTS_TRIED)):
        bound: list[socket.socket] = []
        problem: OSError | None = None
        try:
            for family, address in addresses:
                chosen = bound[0].getsockname()[1] if bound else port
                try:
                    bound.append(_bound(family, address, chosen, kind))
                except OSError as error:
                    if error.errno not in _NOT_HERE:
                        raise
                    problem = error
        except OSError as error:
            for each in bound:
                each.close()
            if port or tries_left == 0 or error.errno != errno.EADDRINUSE:
                raise
            continue  # the port that was free on one address is taken on another
        if not bound:
            raise problem or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        return bound
    return []


def _bound(
    family: socket.AddressFamily, address: tuple[Any, ...], port: int, kind: socket.SocketKind
) -> socket.socket:
    if family != socket.AF_UNSPEC:
        return _bound_socket(family, (address[0], port, *address[2:]), kind)
    try:  # one socket for both families, so that port 0 gives one port
        return _bound_socket(socket.AF_INET6, ("::", port), kind, both=True)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return _bound_socket(socket.AF_INET, ("", port), kind)


def _bound_socket(
    family: socket.AddressFamily, address: tuple[Any, ...], kind: socket.SocketKind, *, both: bool = False
) -> socket.socket:
    # asyncio switches Nagle off only where the protocol is named: `socket.create_server` cost 40 ms a message.
    protocol = socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else socket.IPPROTO_UDP
    bound = socket.socket(family, kind, protocol)
    try:
        # Elsewhere it would let another program take the port, as it would everywhere with UDP.
        if os.name == "posix" and kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
