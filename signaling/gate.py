"""The gate before the server: who may connect is decided as a connection is accepted, before a byte of it is read.

A connection over a limit is dropped at once, but for a few that are told why in plain HTTP. One through a trusted proxy
is counted once its request says for whom it comes.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from websockets.asyncio.server import Server, ServerConnection
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Origin

from signaling.admission import Admission, Refusal
from signaling.limits import ServerLimits
from signaling.metrics import Metrics
from signaling.networks import Prefix, PrefixHasher
from signaling.protocol import MAX_MESSAGE_BYTES, ErrorCode
from signaling.proxies import TrustedProxies

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


@dataclass(slots=True, eq=False)
class Arrival:
    """What was decided about a TCP connection when it was accepted."""

    address: str
    prefix: Prefix | None = None  # None: through a proxy, and not known yet; or not counted
    refusal: Refusal | None = None  # it is only open to be told this
    opened: bool = False
    gone: bool = False


class Gate:
    """The `Door` of a `Listener`: counts connections and lets them in to the server that `admit_to` names.

    `log` and `warn` as in `SignalingServer`.
    """

    _server: Server

    def __init__(
        self,
        *,
        limits: ServerLimits,
        admission: Admission,
        hasher: PrefixHasher,
        proxies: TrustedProxies,
        origins: Sequence[Origin | None],
        metrics: Metrics,
        log: LogEvent,
        warn: Warn,
    ) -> None:
        self._limits = limits
        self._admission = admission
        self._hasher = hasher
        self._proxies = proxies
        self._origins = origins
        self._metrics = metrics
        self._log = log
        self._warn = warn
        self._warned: set[str] = set()
        self._being_told = 0
        self.unopened: set[GatedConnection] = set()  # TCP is there, the WebSocket not yet

    def admit_to(self, server: Server) -> None:
        """Who is let in from now on speaks WebSocket with `server`."""
        self._server = server

    def arrived(self, address: str) -> Arrival | None:
        """A TCP connection is there, and nothing has been read. None: drop it."""
        arrival = Arrival(address)
        now = asyncio.get_running_loop().time()
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

    def protocol(self, arrival: Arrival) -> GatedConnection:
        connection = GatedConnection(
            ServerProtocol(
                origins=self._origins,
                extensions=None,  # compression would take 50 KiB per connection, and make bombs possible
                max_size=MAX_MESSAGE_BYTES,
                logger=quiet_logger(),
            ),
            self._server,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_queue=MAX_QUEUE_FRAMES,
            write_limit=WRITE_LIMIT_BYTES,
        )
        connection.gate, connection.arrival = self, arrival
        return connection

    def left(self, arrival: Arrival) -> None:
        """The connection is gone. Idempotent."""
        if arrival.gone:
            return
        arrival.gone = True
        if arrival.refusal is not None:
            self._being_told -= 1
        else:
            self._admission.disconnect(arrival.prefix, was_opened=arrival.opened)

    def opened(self, connection: ServerConnection) -> Prefix:
        """The connection is a WebSocket now. Returns where it is counted."""
        arrival = _arrival_of(connection)
        if arrival.prefix is None:
            raise TypeError("an uncounted connection was opened")
        self.unopened.discard(connection)
        arrival.opened = True
        self._admission.opened(arrival.prefix)
        return arrival.prefix

    def answer_request(self, connection: ServerConnection, request: Request) -> Response | None:
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

    def _identify(self, arrival: Arrival, forwarded: list[str]) -> Refusal | None:
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
        now = asyncio.get_running_loop().time()
        prefix = self._hasher.prefix(client or arrival.address, now)
        if client is None:  # never a local program, whose limits are wide
            prefix = replace(prefix, is_loopback=False)
        refusal = self._admission.identify(prefix, now)
        if refusal is None:
            arrival.prefix = prefix
        else:
            self._count_refusal(refusal, prefix)
        return refusal

    def _count_refusal(self, refusal: Refusal, prefix: Prefix | None) -> None:
        self._metrics.limits[refusal.kind] += 1
        self._log("refused", {"from": prefix.label if prefix else "a proxy", "limit": refusal.kind})

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned and len(self._warned) < MOST_WARNINGS:
            self._warned.add(sentence)
            self._warn(sentence)


class GatedConnection(ServerConnection):
    """A connection that was counted when it was accepted, long before it is a WebSocket."""

    gate: Gate
    arrival: Arrival

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.gate.unopened.add(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.protocol.close_expected():
            # A client that broke the protocol could hold the connection for ever.
            self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gate.unopened.discard(self)
        self.gate.left(self.arrival)


def _arrival_of(connection: ServerConnection) -> Arrival:
    if not isinstance(connection, GatedConnection):
        raise TypeError("a connection that came in by another door")
    return connection.arrival


def quiet_logger() -> logging.Logger:
    """websockets logs addresses and message contents; only its reports of our own bugs are wanted."""
    logger = logging.getLogger("tallow.signaling.websockets")
    logger.setLevel(logging.ERROR)
    return logger
