"""The signaling server on sockets: a thin shell around `rooms` and `limits`, alone or inside `tallow send`.

    server = SignalingServer(limits=EMBEDDED_LIMITS)
    port = await server.start("127.0.0.1", 0)
    …
    await server.close()

Every wait has an end: the opening handshake (5 s), the hello, idleness and rooms (`ServerLimits`), a dead
peer (ping every 20 s), closing. Memory is bounded: 16 KiB messages, no compression, a quota for each room.
"""

from __future__ import annotations

import asyncio
import errno
import http
import logging
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Origin

from signaling.limits import Admission, Prefix, PrefixHasher, Refusal, ServerLimits
from signaling.metrics import Metrics
from signaling.protocol import (
    MAX_MESSAGE_BYTES,
    CloseCode,
    ErrorCode,
    MalformedMessage,
    decode_client_message_untrusted,
    encode,
)
from signaling.rooms import Action, Rooms, Send

OPEN_TIMEOUT_S = 5.0  # TLS and HTTP; also ends a slowloris
PING_INTERVAL_S = 20.0  # below the 30-60 s after which home routers forget an idle connection
PING_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 0.5  # for the client's closing handshake
MAX_QUEUE_FRAMES = 4
WRITE_LIMIT_BYTES = 16 * 1024
HEALTH_PATH = "/health"
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}  # compiled out, or switched off

LogEvent = Callable[[str, Mapping[str, str | int]], None]


class CannotListen(Exception):
    """The server cannot start. The text says what is wrong and what to do."""


def _log_nothing(_event: str, _fields: Mapping[str, str | int]) -> None:
    """Inside `tallow send` there is no log."""


@dataclass(slots=True)
class _Connected:
    """One open WebSocket. Rescheduling `deadline` to now ends its handler, with `closing` as the reason."""

    connection: ServerConnection
    deadline: asyncio.Timeout
    closing: tuple[int, str] = (CloseCode.NORMAL, "")


@dataclass(slots=True)
class _Arrival:
    """What was decided about a TCP connection when it was accepted."""

    prefix: Prefix | None = None  # None: not counted
    refusal: Refusal | None = None
    opened: bool = False


class SignalingServer:
    """Relays opaque messages between pairs of clients.

    `allowed_origins` lists the web pages that may connect (browsers send an Origin, Tallow does not).
    Addresses in `trusted_proxies` are believed about whom they forward. `log` receives events without
    addresses or nameplates.
    """

    def __init__(
        self,
        *,
        limits: ServerLimits | None = None,
        tls: ssl.SSLContext | None = None,
        allowed_origins: tuple[str, ...] = (),
        trusted_proxies: frozenset[str] = frozenset(),
        entropy: Callable[[int], bytes] = os.urandom,
        log: LogEvent = _log_nothing,
    ) -> None:
        self.metrics = Metrics()
        self._limits = limits or ServerLimits()
        self._admission = Admission(self._limits)
        self._hasher = PrefixHasher(entropy)
        self._rooms = Rooms(self._admission, entropy, self.metrics)
        self._tls = tls
        self._origins: list[Origin | None] = [None, *map(Origin, allowed_origins)]
        self._trusted_proxies = trusted_proxies
        self._log = log
        self._connected: dict[int, _Connected] = {}
        self._unopened: set[_Gated] = set()
        self._numbers = count(1)
        self._server: Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen on `host` (an empty string: every address, IPv4 and IPv6) and return the port bound.

        Raises CannotListen.
        """
        if self._server is not None:
            raise RuntimeError("the server is running")
        self._loop = asyncio.get_running_loop()
        listening = _listen_everywhere(port) if host == "" else None
        try:
            self._server = await serve(
                self._handle,
                None if listening else host,
                None if listening else port,
                sock=listening,
                ssl=self._tls,
                origins=self._origins,
                compression=None,  # saves 50 KiB per connection, and there are no bombs
                process_request=self._answer_request,
                server_header=None,
                open_timeout=OPEN_TIMEOUT_S,
                ping_interval=PING_INTERVAL_S,
                ping_timeout=PING_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MAX_MESSAGE_BYTES,
                max_queue=MAX_QUEUE_FRAMES,
                write_limit=WRITE_LIMIT_BYTES,
                logger=_quiet_logger(),
                create_connection=_gated_by(self),
            )
        except OSError as error:
            raise CannotListen(_why_not(host, port, error)) from error
        bound: int = self._server.sockets[0].getsockname()[1]
        self._log("listening", {"port": bound})
        return bound

    async def close(self) -> None:
        """Stop listening and close every connection (1001), in about a second. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        for connection in list(self._unopened):
            connection.transport.abort()  # its handler would wait for the rest of OPEN_TIMEOUT_S
        server.close(code=CloseCode.GOING_AWAY, reason="the server is stopping")
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await server.wait_closed()
        except TimeoutError:  # somebody does not even read
            for connected in list(self._connected.values()):
                connected.connection.transport.abort()
            await server.wait_closed()
        if self._timer is not None:
            self._timer.cancel()
        self._log("stopped", self.metrics.as_dict())

    # One connection, from TCP to its end.

    def _accepted(self, connection: _Gated) -> None:
        """A TCP connection is there; nothing has been read."""
        self._unopened.add(connection)
        address = _address_of(connection)
        if address not in self._trusted_proxies:
            self._admit(connection, address)
        if connection.arrival.refusal is not None and connection.arrival.refusal.kind == "pending":
            connection.transport.abort()  # under attack, an answer costs more than it is worth

    def _lost(self, connection: _Gated) -> None:
        self._unopened.discard(connection)
        arrival = connection.arrival
        if arrival.prefix is not None:
            self._admission.disconnect(arrival.prefix, self._loop.time(), was_opened=arrival.opened)

    def _admit(self, connection: _Gated, address: str) -> None:
        now = self._loop.time()
        prefix = self._hasher.prefix(address, now)
        refusal = self._admission.connect(prefix, now)
        if refusal is None:
            connection.arrival.prefix = prefix
            return
        connection.arrival.refusal = refusal
        self.metrics.limits[refusal.kind] += 1
        self._log("refused", {"from": prefix.label, "limit": refusal.kind})

    def _answer_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Let the WebSocket handshake go on (None), or answer in plain HTTP."""
        if not isinstance(connection, _Gated):
            raise TypeError("create_connection was ignored")
        if connection.arrival.prefix is None and connection.arrival.refusal is None:
            self._admit(connection, _forwarded_for(request) or _address_of(connection))
        if refusal := connection.arrival.refusal:
            limited = refusal.code == ErrorCode.RATE_LIMITED
            status = http.HTTPStatus.TOO_MANY_REQUESTS if limited else http.HTTPStatus.SERVICE_UNAVAILABLE
            return connection.respond(status, refusal.message + "\n")
        if request.path == HEALTH_PATH:
            return connection.respond(http.HTTPStatus.OK, "ok\n")
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        """From the open WebSocket to the closed one. Cancelling it drops the connection."""
        if not isinstance(connection, _Gated) or connection.arrival.prefix is None:
            raise TypeError("an uncounted connection was opened")
        prefix = connection.arrival.prefix
        self._unopened.discard(connection)
        connection.arrival.opened = True
        self._admission.opened(prefix)
        number = next(self._numbers)
        connected = _Connected(connection, asyncio.timeout(None))
        self._log("connected", {"from": prefix.label, "number": number})
        self._connected[number] = connected
        try:
            # TimeoutError: a Close action. ConnectionClosed: the client went without a closing handshake.
            with suppress(TimeoutError, ConnectionClosed):
                async with connected.deadline:
                    self._perform(self._rooms.connect(number, prefix, self._loop.time()))
                    async for data in connection:
                        self._perform(self._receive(number, data))
        finally:
            del self._connected[number]
            self._perform(self._rooms.disconnect(number, self._loop.time()))
            self._log("disconnected", {"from": prefix.label, "number": number})
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await connection.close(*connected.closing)
        except TimeoutError:  # it does not even read
            connection.transport.abort()

    def _receive(self, number: int, data: str | bytes) -> list[Action]:
        try:
            message = decode_client_message_untrusted(data)
        except MalformedMessage as error:
            return self._rooms.receive_malformed(number, str(error), self._loop.time())
        return self._rooms.receive(number, message, self._loop.time())

    # Actions and deadlines of the state machine.

    def _perform(self, actions: list[Action]) -> None:
        """Do what `rooms` decided. Never waits: `room_bytes` bounds what one connection can have queued."""
        for action in actions:
            target = self._connected.get(action.member)
            if target is None:
                continue  # it is being closed, and will be reported as disconnected
            if isinstance(action, Send):
                broadcast([target.connection], encode(action.message))
            else:
                self._log("closing", {"number": action.member, "code": int(action.code)})
                target.closing = (action.code, action.reason.encode()[:100].decode(errors="ignore"))
                target.deadline.reschedule(self._loop.time())
        self._set_timer()

    def _set_timer(self) -> None:
        when = self._rooms.next_deadline()
        if self._timer is not None:
            if when is not None and self._timer.when() <= when and not self._timer.cancelled():
                return  # it fires early enough, and is set again then
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_deadline) if when is not None else None

    def _on_deadline(self) -> None:
        self._timer = None
        self._perform(self._rooms.expire(self._loop.time()))


class _Gated(ServerConnection):
    """A connection that is counted from the moment it is accepted, long before it is a WebSocket."""

    owner: SignalingServer
    arrival: _Arrival

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.arrival = _Arrival()
        super().connection_made(transport)
        self.owner._accepted(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if (
            self.protocol.close_expected()
        ):  # a client that broke the protocol could hold the connection for ever
            self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.owner._lost(self)


def _gated_by(server: SignalingServer) -> type[_Gated]:
    """websockets makes connections by calling a class, so the owner is an attribute of the class."""
    return type("_GatedByServer", (_Gated,), {"owner": server})


def _address_of(connection: ServerConnection) -> str:
    peer = connection.transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""


def _forwarded_for(request: Request) -> str | None:
    """The last address in X-Forwarded-For: the one our own proxy wrote; those before it are hearsay."""
    values = request.headers.get_all("X-Forwarded-For")
    return values[-1].rpartition(",")[2].strip() if values else None


def _listen_everywhere(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6, so that port 0 gives one port. Raises CannotListen."""
    try:
        try:
            return _bound_socket(socket.AF_INET6, port)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
            return _bound_socket(socket.AF_INET, port)
    except OSError as error:
        raise CannotListen(_why_not("", port, error)) from error


def _bound_socket(family: socket.AddressFamily, port: int) -> socket.socket:
    # asyncio switches Nagle off only where the protocol is named: `socket.create_server` cost 40 ms a message.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let another program take the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(("", port))
    except OSError:
        bound.close()
        raise
    return bound


def _why_not(host: str, port: int, error: OSError) -> str:
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


def _quiet_logger() -> logging.Logger:
    """websockets logs addresses and message contents; only its reports of our own bugs are wanted."""
    logger = logging.getLogger("tallow.signaling.websockets")
    logger.setLevel(logging.ERROR)
    return logger
