"""The server on real sockets: websockets around the state machine of `rooms`.

    server = SignalingServer()
    port = await server.start("127.0.0.1", 8765)
    …
    await server.close()

Every wait has an end: the TLS handshake and the opening handshake (5 s each), the hello, idleness and rooms
(`ServerLimits`), a dead peer (ping every 20 s), closing. Memory is bounded: 16 KiB messages, no compression, a quota
for each room. So are descriptors: a connection over a limit is dropped as it is accepted, but for a few that are
told why.
"""

from __future__ import annotations

import asyncio
import errno
import http
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Origin

from signaling.admission import Admission, Refusal
from signaling.limits import ServerLimits
from signaling.listener import EVERY_ADDRESS, Listener, SocketAddress, bound_sockets
from signaling.metrics import Metrics
from signaling.networks import Prefix, PrefixHasher
from signaling.protocol import (
    MAX_MESSAGE_BYTES,
    CloseCode,
    ErrorCode,
    IceServer,
    MalformedMessage,
    decode_client_message_untrusted,
    encode,
)
from signaling.proxies import TrustedProxies
from signaling.rooms import Rooms, Send

PING_INTERVAL_S = 20.0  # below the 30-60 s after which home routers forget an idle connection
PING_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 0.5  # for the client's closing handshake
MAX_QUEUE_FRAMES = 4
WRITE_LIMIT_BYTES = 16 * 1024
HEALTH_PATH = "/health"
MOST_WARNINGS = 16
FORWARDED_FOR = "X-Forwarded-For"

LogEvent = Callable[[str, Mapping[str, str | int]], None]
Warn = Callable[[str], None]


class CannotListen(Exception):
    """The server cannot start. The text says what is wrong and what to do."""


def _log_nothing(_event: str, _fields: Mapping[str, str | int]) -> None:
    """Inside `tallow send` there is no log."""


def _warn_nobody(_sentence: str) -> None:
    """And nobody who has set up a proxy."""


@dataclass(slots=True)
class _Connected:
    """One open WebSocket. Rescheduling `deadline` to now ends its handler, with `closing` as the reason."""

    connection: ServerConnection
    deadline: asyncio.Timeout
    closing: tuple[int, str] = (CloseCode.NORMAL, "")


@dataclass(slots=True, eq=False)
class _Arrival:
    """What was decided about a TCP connection when it was accepted."""

    address: str
    prefix: Prefix | None = None  # None: through a proxy, and not known yet; or not counted
    refusal: Refusal | None = None  # it is only open to be told this
    opened: bool = False
    gone: bool = False


class SignalingServer:
    """Relays opaque messages between pairs of clients.

    `allowed_origins` lists the web pages that may connect (browsers send an Origin, Tallow does not).
    Addresses and networks in `trusted_proxies` are believed about whom they forward. `log` receives events without
    addresses or nameplates, `warn` sentences for whoever set the server up, each once.
    Raises NotAnAddress for a proxy that is named otherwise.
    """

    def __init__(
        self,
        *,
        limits: ServerLimits | None = None,
        tls: ssl.SSLContext | None = None,
        allowed_origins: tuple[str, ...] = (),
        trusted_proxies: Iterable[str] = (),
        entropy: Callable[[int], bytes] = os.urandom,
        log: LogEvent = _log_nothing,
        warn: Warn = _warn_nobody,
    ) -> None:
        self.metrics = Metrics()
        self._limits = limits or ServerLimits()
        self._admission = Admission(self._limits)
        self._hasher = PrefixHasher(entropy)
        self._rooms = Rooms(self._admission, entropy, self.metrics)
        self._tls = tls
        self._origins: list[Origin | None] = [None, *map(Origin, allowed_origins)]
        self._proxies = TrustedProxies(tuple(trusted_proxies))
        self._log = log
        self._warn = warn
        self._warned: set[str] = set()
        self._being_told = 0
        self._connected: dict[int, _Connected] = {}
        self._unopened: set[_Gated] = set()
        self._numbers = count(1)
        self._server: Server | None = None
        self._listener: Listener[_Arrival] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, host: str | Sequence[str], port: int) -> int:
        """Listen on `host`, or on each of several, and return the port bound. An empty one is every address.

        Raises CannotListen.
        """
        if self._server is not None:
            raise RuntimeError("the server is running")
        self._loop = asyncio.get_running_loop()
        hosts = [host] if isinstance(host, str) else list(host)
        try:
            sockets = bound_sockets(await resolved(hosts), port)
        except OSError as error:
            raise CannotListen(_why_not(", ".join(hosts), port, error)) from error
        server = serve(
            self._handle,
            origins=self._origins,
            process_request=self._answer_request,
            server_header=None,
            open_timeout=self._limits.open_s,
            logger=_quiet_logger(),
        )

        listener = self._listener = Listener(sockets, _Door(self, server), self._tls, self._limits)

        async def listen() -> Listener[_Arrival]:
            return listener

        server.create_server = listen  # type: ignore[assignment]  # a Listener is as much of a Server as is used
        try:
            self._server = await server
        except BaseException:  # cancelled: nobody will call `close`
            listener.close()
            raise
        bound: int = sockets[0].getsockname()[1]
        self._log("listening", {"port": bound})
        return bound

    def announce_stun(self, port: int | None, other: int | None = None) -> None:
        """Tell everybody who comes from now on that STUN requests are answered at this UDP port of the same host, or at
        none, and at that `other` one as well.
        """
        self._rooms.stun_port = port
        self._rooms.other_stun_port = other

    def offer_relays(self, relays: Callable[[], tuple[IceServer, ...]]) -> None:
        """Tell two that meet from now on which relays they may use; asked anew for each of them."""
        self._rooms.relays = relays

    async def also_listen(self, host: str) -> None:
        """Listen on one more address, an interface that came up, at the same port. Raises CannotListen."""
        if self._listener is None or not self._listener.sockets:
            raise RuntimeError("the server is not running")
        port = self._listener.sockets[0].getsockname()[1]
        try:
            self._listener.add(bound_sockets(await resolved([host]), port))
        except OSError as error:
            raise CannotListen(_why_not(host, port, error)) from error

    @property
    def reached_at(self) -> str | None:
        """The address of this machine that the latest connection came to; None before the first."""
        return None if self._listener is None else self._listener.reached_at

    async def close(self) -> None:
        """Stop listening and close every connection (1001), in about a second. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        if self._listener is not None:
            self._listener.close()  # at once: websockets does it in a task, which never runs if this is cancelled
        for connection in list(self._unopened):
            connection.transport.abort()  # its handler would wait for the rest of `open_s`
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

    def _arrived(self, address: str) -> _Arrival | None:
        """A TCP connection is there, and nothing has been read. None: drop it."""
        arrival = _Arrival(address)
        now = self._loop.time()
        prefix = None if address in self._proxies else self._hasher.prefix(address, now)
        refusal = self._admission.connect(prefix, now)
        if refusal is None:
            arrival.prefix = prefix
            return arrival
        self._count_refusal(refusal, prefix)
        # Under attack, an answer costs more than it is worth; a few are told why.
        if refusal.kind == "pending" or self._being_told >= self._limits.told:
            return None
        self._being_told += 1
        arrival.refusal = refusal
        return arrival

    def _left(self, arrival: _Arrival) -> None:
        if arrival.gone:
            return
        arrival.gone = True
        if arrival.refusal is not None:
            self._being_told -= 1
        else:
            self._admission.disconnect(arrival.prefix, was_opened=arrival.opened)

    def _count_refusal(self, refusal: Refusal, prefix: Prefix | None) -> None:
        self.metrics.limits[refusal.kind] += 1
        self._log("refused", {"from": prefix.label if prefix else "a proxy", "limit": refusal.kind})

    def _answer_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Let the WebSocket handshake go on (None), or answer in plain HTTP."""
        arrival = _arrival_of(connection)
        refusal = arrival.refusal
        if refusal is None and request.path == HEALTH_PATH:
            return connection.respond(http.HTTPStatus.OK, "ok\n")
        if refusal is None:
            refusal = self._identify(arrival, request.headers.get_all(FORWARDED_FOR))
        if refusal is None:
            return None
        limited = refusal.code == ErrorCode.RATE_LIMITED
        status = http.HTTPStatus.TOO_MANY_REQUESTS if limited else http.HTTPStatus.SERVICE_UNAVAILABLE
        return connection.respond(status, refusal.message + "\n")

    def _identify(self, arrival: _Arrival, forwarded: list[str]) -> Refusal | None:
        """Whom a request through a trusted proxy is from, which is counted only now."""
        if arrival.prefix is not None:
            if forwarded and arrival.prefix.is_loopback:
                self._warn_once(
                    "A proxy on this machine forwards visitors and is not named, so all of them are taken for one "
                    f"local program, to which wide limits apply. Name it: --trust-proxy {arrival.address}"
                )
            return None
        client = self._proxies.client_of(forwarded)
        if client is None:
            self._warn_once(
                f"A trusted proxy sends no {FORWARDED_FOR}, so all its visitors are taken for one. "
                "Have it send that header."
            )
        now = self._loop.time()
        prefix = self._hasher.prefix(client or arrival.address, now)
        if client is None:  # never a local program, whose limits are wide
            prefix = replace(prefix, is_loopback=False)
        refusal = self._admission.identify(prefix, now)
        if refusal is None:
            arrival.prefix = prefix
        else:
            self._count_refusal(refusal, prefix)
        return refusal

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned and len(self._warned) < MOST_WARNINGS:
            self._warned.add(sentence)
            self._warn(sentence)

    async def _handle(self, connection: ServerConnection) -> None:
        """From the open WebSocket to the closed one. Cancelling it drops the connection."""
        arrival = _arrival_of(connection)
        if arrival.prefix is None:
            raise TypeError("an uncounted connection was opened")
        prefix = arrival.prefix
        self._unopened.discard(connection)
        arrival.opened = True
        self._admission.opened(prefix)
        number = next(self._numbers)
        connected = _Connected(connection, asyncio.timeout(None))
        self._log("connected", {"from": prefix.label, "number": number})
        self._connected[number] = connected
        try:
            # TimeoutError: a Close action. ConnectionClosed: the client went without a closing handshake.
            with suppress(TimeoutError, ConnectionClosed):
                async with connected.deadline:
                    self._rooms.connect(self._loop.time(), number, prefix)
                    self._perform()
                    async for data in connection:
                        self._receive(number, data)
                        self._perform()
        finally:
            del self._connected[number]
            self._rooms.disconnect(self._loop.time(), number)
            self._perform()
            self._log("disconnected", {"from": prefix.label, "number": number})
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await connection.close(*connected.closing)
        except TimeoutError:  # it does not even read
            connection.transport.abort()

    def _receive(self, number: int, data: str | bytes) -> None:
        try:
            message = decode_client_message_untrusted(data)
        except MalformedMessage as error:
            self._rooms.receive_malformed(self._loop.time(), number, str(error))
        else:
            self._rooms.receive(self._loop.time(), number, message)

    # Actions and deadlines of the state machine.

    def _perform(self) -> None:
        """Do what `rooms` decided. Never waits: `room_bytes` bounds what one connection can have queued."""
        for action in self._rooms.events():
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
        when = self._rooms.next_timeout()
        if self._timer is not None:
            if when is not None and self._timer.when() <= when and not self._timer.cancelled():
                return  # it fires early enough, and is set again then
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_deadline) if when is not None else None

    def _on_deadline(self) -> None:
        self._timer = None
        self._rooms.handle_timeout(self._loop.time())
        self._perform()


class _Door:
    """Between the listener, which accepts connections, and websockets, which speaks with them."""

    def __init__(self, owner: SignalingServer, server: Server) -> None:
        self._owner = owner
        self._server = server

    def arrived(self, address: str) -> _Arrival | None:
        return self._owner._arrived(address)

    def protocol(self, arrival: _Arrival) -> _Gated:
        connection = _Gated(
            ServerProtocol(
                origins=self._owner._origins,
                extensions=None,  # compression would take 50 KiB per connection, and make bombs possible
                max_size=MAX_MESSAGE_BYTES,
                logger=_quiet_logger(),
            ),
            self._server,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_queue=MAX_QUEUE_FRAMES,
            write_limit=WRITE_LIMIT_BYTES,
        )
        connection.owner, connection.arrival = self._owner, arrival
        return connection

    def left(self, arrival: _Arrival) -> None:
        self._owner._left(arrival)


class _Gated(ServerConnection):
    """A connection that was counted when it was accepted, long before it is a WebSocket."""

    owner: SignalingServer
    arrival: _Arrival

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.owner._unopened.add(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.protocol.close_expected():
            # A client that broke the protocol could hold the connection for ever.
            self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.owner._unopened.discard(self)
        self.owner._left(self.arrival)


def _arrival_of(connection: ServerConnection) -> _Arrival:
    if not isinstance(connection, _Gated):
        raise TypeError("a connection that came in by another door")
    return connection.arrival


async def resolved(hosts: list[str]) -> list[SocketAddress]:
    """Raises OSError for a name that stands for no address."""
    loop = asyncio.get_running_loop()
    found: list[SocketAddress] = []
    for host in hosts:
        if host == "":
            found.append(EVERY_ADDRESS)
            continue
        answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        found.extend((family, address) for family, _type, _protocol, _name, address in answers)
    return list(dict.fromkeys(found))


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
