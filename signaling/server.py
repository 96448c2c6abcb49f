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
import os
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from signaling.admission import Admission
from signaling.gate import CLOSE_TIMEOUT_S, Arrival, Gate, LogEvent, Warn, quiet_logger
from signaling.limits import ServerLimits
from signaling.listener import Listener, bound_sockets
from signaling.listening import CannotListen, resolved, why_not
from signaling.metrics import Metrics
from signaling.networks import PrefixHasher
from signaling.protocol import (
    CloseCode,
    IceServer,
    MalformedMessage,
    decode_client_message_untrusted,
    encode,
)
from signaling.proxies import TrustedProxies
from signaling.rooms import Rooms, Send


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
        self._rooms = Rooms(self._admission, entropy, self.metrics)
        self._tls = tls
        self._origins: list[Origin | None] = [None, *map(Origin, allowed_origins)]
        self._log = log
        self._gate = Gate(
            limits=self._limits,
            admission=self._admission,
            hasher=PrefixHasher(entropy),
            proxies=TrustedProxies(tuple(trusted_proxies)),
            origins=self._origins,
            metrics=self.metrics,
            log=log,
            warn=warn,
        )
        self._connected: dict[int, _Connected] = {}
        self._numbers = count(1)
        self._server: Server | None = None
        self._listener: Listener[Arrival] | None = None
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
            raise CannotListen(why_not(", ".join(hosts), port, error)) from error
        server = serve(
            self._handle,
            origins=self._origins,
            process_request=self._gate.answer_request,
            server_header=None,
            open_timeout=self._limits.open_s,
            logger=quiet_logger(),
        )
        self._gate.admit_to(server)
        listener = self._listener = Listener(sockets, self._gate, self._tls, self._limits)

        async def listen() -> Listener[Arrival]:
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
            raise CannotListen(why_not(host, port, error)) from error

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
        for connection in list(self._gate.unopened):
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

    async def _handle(self, connection: ServerConnection) -> None:
        """From the open WebSocket to the closed one. Cancelling it drops the connection."""
        prefix = self._gate.opened(connection)
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
