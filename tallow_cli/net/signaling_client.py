"""One side's conversation with a signaling server. The only file on this side that knows websockets.

    client = await SignalingClient.connect(url)
    host                                          joiner
    nameplate = await client.allocate()           await client.join(nameplate)
    await client.wait_for_peer(timeout_s=600)     await client.send(body)
    body = await client.recv()                    body = await client.recv()
    await client.close()                          await client.close()

One task at a time uses a client. After the peer has gone, or a guess was wrong, the host may `allocate` again
on the same connection, which ends the old room. The server is not trusted: whatever it sends ends in a value
or in one of these errors, and every wait has a timeout.

    ServerUnreachable    no connection, or it broke: DNS, refused, TLS, proxy, timeout, shutdown
    ServerRefused        it answered, and said no: a limit, a version, a taken nameplate
    ServerProtocolError  it is not a Tallow server, or breaks the protocol
    UnknownNameplate     nobody waits under that number
    PeerNeverCame        nobody joined in time
    PeerVanished         the other side left, or fell silent, before the handshake was over
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from signaling.protocol import (
    MAX_ERROR_CHARS,
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    Allocate,
    Allocated,
    ClientMessage,
    CloseCode,
    Error,
    ErrorCode,
    Hello,
    Join,
    Joined,
    MalformedMessage,
    PeerJoined,
    PeerLeft,
    Relay,
    Relayed,
    ServerMessage,
    Welcome,
    decode_server_message_untrusted,
    encode,
)
from tallow_cli.errors import (
    PeerNeverCame,
    PeerVanished,
    ServerProtocolError,
    ServerRefused,
    ServerUnreachable,
    TallowError,
    UnknownNameplate,
)
from tallow_cli.net.server_url import is_near, normalize_server_url

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosed

CONNECT_TIMEOUT_S = 10.0
REPLY_TIMEOUT_S = 10.0  # for the server's answer to allocate, join and for its taking what we send
PEER_TIMEOUT_S = 30.0  # for the next step of the handshake
PING_INTERVAL_S = 20.0
CLOSE_TIMEOUT_S = 0.5  # closing politely is a courtesy; a server that does not answer is left alone
RACE_HEAD_START_S = 0.15  # between candidate servers, as between addresses in RFC 8305 (which says 0.25)
JOIN_RETRY_FIRST_S = 0.2
JOIN_RETRY_MOST_S = 5.0  # 12 a minute, below the server's limit of 30

_ROOM_IS_OVER = (ErrorCode.ROOM_EXPIRED, ErrorCode.NOT_IN_ROOM)
_Answer = TypeVar("_Answer", Allocated, Joined)
_Client = TypeVar("_Client", bound="SignalingClient")


class SignalingClient:
    """See the module. Make one with `connect` or `connect_any`; leave it with `close` or `async with`."""

    def __init__(self, url: str, connection: ClientConnection) -> None:
        self.url = url
        self._connection = connection
        self._was_in_room = False
        self._peer_present = False

    @classmethod
    async def connect(
        cls, url: str, *, timeout_s: float = CONNECT_TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> Self:
        """Connect and exchange greetings.

        `url` is what `normalize_server_url` accepts; `tls` overrides the system's trust for wss://.
        Raises BadOption, ServerUnreachable, ServerRefused, ServerProtocolError.
        """
        url = normalize_server_url(url)
        try:
            async with asyncio.timeout(timeout_s):
                client = cls(url, await _open(url, tls))
                try:
                    await client._greet()
                except BaseException:
                    client._connection.transport.abort()
                    raise
        except TimeoutError:
            raise ServerUnreachable(url, f"no answer within {timeout_s:g} s") from None
        return client

    @classmethod
    async def connect_any(cls, urls: Sequence[str], *, timeout_s: float = CONNECT_TIMEOUT_S) -> Self:
        """Connect to the first of several addresses of one server to answer; earlier ones get a head start.

        Raises what the first address raised, when none answers.
        """
        tasks = [
            asyncio.create_task(_connect_later(cls, order * RACE_HEAD_START_S, url, timeout_s))
            for order, url in enumerate(urls)
        ]
        winner: Self | None = None
        try:
            pending = set(tasks)
            while pending and winner is None:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                winner = next((task.result() for task in done if task.exception() is None), None)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, SignalingClient) and outcome is not winner:
                    await outcome.close()
        if winner is not None:
            return winner
        raise next(o for o in outcomes if isinstance(o, BaseException))

    async def allocate(self, nameplate: str | None = None) -> str:
        """Open a room and return its nameplate, which is `nameplate` if given. Leaves the room before.

        Raises ServerRefused (a limit, or somebody waits under `nameplate`) and the server errors.
        """
        answer = await self._request(Allocate(nameplate), Allocated)
        if nameplate not in (None, answer.nameplate):
            raise ServerProtocolError(self.url, "another number than the one asked for")
        self._was_in_room, self._peer_present = True, False
        return answer.nameplate

    async def join(self, nameplate: str, *, wait_s: float = 0.0) -> None:
        """Enter the room under `nameplate`, which burns it. If nobody waits there, ask again for `wait_s`.

        Raises UnknownNameplate, ServerRefused and the server errors.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        pause_s = JOIN_RETRY_FIRST_S
        while True:
            try:
                await self._request(Join(nameplate), Joined)
            except UnknownNameplate:
                if loop.time() + pause_s > deadline:
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, JOIN_RETRY_MOST_S)
            else:
                self._was_in_room = self._peer_present = True
                return

    async def wait_for_peer(self, timeout_s: float) -> None:
        """Host: until somebody joins. Raises PeerNeverCame and the server errors."""
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._next()
        except TimeoutError:
            raise PeerNeverCame(timeout_s) from None
        if isinstance(message, Error) and message.code == ErrorCode.ROOM_EXPIRED:
            raise PeerNeverCame(timeout_s)
        if not isinstance(message, PeerJoined):
            raise self._error_for(message)
        self._peer_present = True

    async def send(self, body: bytes) -> None:
        """Pass `body` (at most `signaling.protocol.MAX_BODY_BYTES`) to the peer.

        Raises PeerVanished if it is known to be gone, and the server errors.
        """
        if not self._peer_present:
            raise PeerVanished("the other side is not connected to the signaling server")
        await self._say(Relay(body))

    async def recv(self, timeout_s: float = PEER_TIMEOUT_S) -> bytes:
        """The next body from the peer. Raises PeerVanished and the server errors."""
        if not self._peer_present:
            raise PeerVanished("the other side is not connected to the signaling server")
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._next()
        except TimeoutError:
            raise PeerVanished(f"it said nothing for {timeout_s:g} s") from None
        if isinstance(message, Relayed):
            return message.body
        if isinstance(message, PeerLeft):
            self._peer_present = False
            raise PeerVanished("it left before the connection was made")
        if isinstance(message, Error) and message.code in _ROOM_IS_OVER:
            self._peer_present = False
            raise PeerVanished("the server closed the room")
        raise self._error_for(message)

    async def close(self) -> None:
        """Leave. Never raises; takes at most `CLOSE_TIMEOUT_S`."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # One message at a time.

    async def _greet(self) -> None:
        """Within the caller's timeout."""
        await self._say(Hello(PROTOCOL_VERSION))
        message = await self._next()
        if not isinstance(message, Welcome):
            raise self._error_for(message)
        if message.version != PROTOCOL_VERSION:
            raise ServerRefused(self.url, f"it speaks version {message.version}, this is {PROTOCOL_VERSION}")

    async def _request(self, request: Allocate | Join, answer: type[_Answer]) -> _Answer:
        """Send, and wait for the answer. Before it, only the last words of the room before may come."""
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await self._say(request)
                while True:
                    message = await self._next()
                    if isinstance(message, answer):
                        return message
                    if not (self._was_in_room and _is_last_word(message)):
                        raise self._error_for(message, request)
        except TimeoutError:
            raise ServerUnreachable(self.url, f"no answer within {REPLY_TIMEOUT_S:g} s") from None

    def _error_for(self, message: ServerMessage, request: Allocate | Join | None = None) -> TallowError:
        """The error that a message which was not hoped for stands for."""
        if not isinstance(message, Error):
            return ServerProtocolError(self.url, f"an unexpected {type(message).__name__} message")
        if message.code == ErrorCode.UNKNOWN_NAMEPLATE and isinstance(request, Join):
            return UnknownNameplate(request.nameplate, f"at {self.url}")
        if message.code == ErrorCode.BAD_MESSAGE:
            return ServerProtocolError(self.url, f"it did not understand: {message.message}")
        return ServerRefused(self.url, message.message or message.code)

    async def _next(self) -> ServerMessage:
        from websockets.exceptions import ConnectionClosed

        try:
            return decode_server_message_untrusted(await self._connection.recv())
        except MalformedMessage as error:
            raise ServerProtocolError(self.url, str(error)) from None
        except ConnectionClosed as error:
            raise _explain_close(self.url, error) from error

    async def _say(self, message: ClientMessage) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await self._connection.send(encode(message))
        except TimeoutError:
            raise ServerUnreachable(self.url, f"it took nothing for {REPLY_TIMEOUT_S:g} s") from None
        except ConnectionClosed:
            await self._raise_parting_error()

    async def _raise_parting_error(self) -> None:
        """The connection is closed. If the server said why before, that is the better error."""
        while True:
            message = await self._next()  # what is left in the queue, and then it raises
            if isinstance(message, Error):
                raise self._error_for(message)


def _is_last_word(message: ServerMessage) -> bool:
    expired = isinstance(message, Error) and message.code in _ROOM_IS_OVER
    return expired or isinstance(message, PeerJoined | Relayed | PeerLeft)


async def _connect_later(client: type[_Client], delay_s: float, url: str, timeout_s: float) -> _Client:
    await asyncio.sleep(delay_s)
    return await client.connect(url, timeout_s=timeout_s)


async def _open(url: str, tls: ssl.SSLContext | None) -> ClientConnection:
    """The WebSocket, within the caller's timeout."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI, ProxyError

    connect_to = partial(
        connect,
        url,
        ssl=tls if tls is not None and url.startswith("wss:") else None if url.startswith("ws:") else True,
        proxy=None if is_near(url) else True,
        compression=None,
        max_size=MAX_MESSAGE_BYTES,
        open_timeout=None,
        ping_interval=PING_INTERVAL_S,
        close_timeout=CLOSE_TIMEOUT_S,
        user_agent_header=None,
        logger=_silent_logger(),
    )
    try:
        if tls is None or url.startswith("ws:"):
            return await connect_to()
        return await connect_to(ssl=tls)
    except OSError as error:
        raise ServerUnreachable(url, _explain_os_error(error)) from error
    except InvalidStatus as error:
        raise _explain_status(url, error.response.status_code, bytes(error.response.body)) from error
    except (ProxyError, ImportError) as error:  # ImportError: a SOCKS proxy, whose package is not installed
        raise ServerUnreachable(url, f"the proxy: {error}") from error
    except InvalidMessage as error:
        if isinstance(error.__cause__, EOFError | ConnectionError):
            raise ServerUnreachable(url, "it closed the connection without an answer") from error
        raise ServerProtocolError(url, "it does not speak HTTP") from error
    except (InvalidHandshake, InvalidURI) as error:  # InvalidURI: where a redirect leads
        raise ServerProtocolError(url, str(error)[:MAX_ERROR_CHARS]) from error


def _explain_os_error(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    # With several addresses, asyncio raises one OSError without an errno that quotes them all.
    if error.errno == errno.ECONNREFUSED or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "nothing listens there"
    return error.strerror or str(error)


def _explain_status(url: str, status: int, body: bytes) -> TallowError:
    """What an HTTP answer instead of a WebSocket means. Our server's refusals carry their reason."""
    if status in (403, 429, 503):
        reason = body[:MAX_ERROR_CHARS].decode(errors="replace").strip()
        return ServerRefused(url, reason or f"HTTP {status}")
    return ServerProtocolError(url, f"HTTP {status}")


def _explain_close(url: str, closed: ConnectionClosed) -> TallowError:
    """What a connection that ended means, by RFC 6455 close codes and our own."""
    if closed.sent is not None and (closed.rcvd is None or not closed.rcvd_then_sent):
        if closed.sent.code in (1002, 1003, 1007):
            return ServerProtocolError(url, f"a broken WebSocket message: {closed.sent.reason}")
        if closed.sent.code == 1009:
            return ServerProtocolError(url, f"a message over {MAX_MESSAGE_BYTES:,} bytes")
        return ServerUnreachable(url, "it stopped answering")
    if closed.rcvd is None:
        return ServerUnreachable(url, "the connection was lost")
    code, reason = closed.rcvd.code, closed.rcvd.reason
    if code in (CloseCode.LIMIT, CloseCode.VERSION, 1008, 1013):
        return ServerRefused(url, reason or f"close code {code}")
    if code in (CloseCode.BAD_MESSAGE, 1002, 1003, 1007, 1009):
        return ServerProtocolError(url, f"it did not understand: {reason or code}")
    return ServerUnreachable(url, reason or f"it closed the connection, code {code}")


def _silent_logger() -> logging.Logger:
    """What goes wrong is raised; websockets' own log lines would reach the terminal as well."""
    logger = logging.getLogger("tallow.net.websockets")
    logger.setLevel(logging.CRITICAL + 1)
    return logger
