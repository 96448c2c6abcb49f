"""A WebSocket to a server that is not trusted. The only file on this side that knows the websockets package.

Whatever goes wrong is one of ServerUnreachable, ServerRefused, ServerProtocolError. Importing this module costs
100 ms, so it is imported when a connection is made. Two waits of the package have no end of their own and get one
here: for the server to close after it broke the protocol, and for it to read our closing frame.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)
from websockets.proxy import get_proxy
from websockets.uri import WebSocketURI, parse_uri

from signaling.protocol import DEFAULT_PORT, MAX_ERROR_CHARS, MAX_MESSAGE_BYTES, CloseCode
from tallow_cli.awake import awake_timeout
from tallow_cli.errors import (
    NothingListens,
    ServerProtocolError,
    ServerRefused,
    ServerUnreachable,
    SignalingError,
)
from tallow_cli.meeting.dialing import dial
from tallow_cli.meeting.server_url import is_near, standard_port

PING_INTERVAL_S = 20.0
CLOSE_TIMEOUT_S = 0.5  # closing politely is a courtesy; a server that does not answer is left alone


class _ImpatientConnection(ClientConnection):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if (
            self.protocol.close_expected()
        ):  # either side has closed or failed; `recv` would wait for the server's FIN
            self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)


class _ConnectOnce(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Signaling servers do not redirect; what does is a portal or a web server."""
        return exc


class WebSocket:
    """One open connection. Made by `open_websocket`; left with `close` or `abort`."""

    def __init__(self, url: str, connection: ClientConnection, proxy: str | None) -> None:
        self._url = url
        self._connection = connection
        self.proxy = proxy  # host and port of the one between; None where there is none

    @property
    def local_address(self) -> str | None:
        """Ours of the connection; None once it is gone."""
        name = self._connection.transport.get_extra_info("sockname")
        return str(name[0]) if isinstance(name, tuple) else None

    async def send(self, text: str) -> None:
        """Send one message, waiting while the server does not read. Cancelling may have sent it."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise _explain_close(self._url, error) from error

    async def recv(self) -> str | bytes:
        """The next message, at most `MAX_MESSAGE_BYTES` long. Cancelling loses nothing."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise _explain_close(self._url, error) from error

    async def check(self, timeout_s: float) -> None:
        """Ask whether the server is still there. Raises ServerUnreachable if it has not answered in time."""
        try:
            async with awake_timeout(timeout_s):
                await (await self._connection.ping())
        except TimeoutError:
            raise ServerUnreachable(self._url, "it stopped answering") from None
        except ConnectionClosed as error:
            raise _explain_close(self._url, error) from error

    async def close(self) -> None:
        """Say goodbye. Never raises; takes at most twice `CLOSE_TIMEOUT_S`."""
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await self._connection.close()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        self._connection.transport.abort()


async def open_websocket(url: str, tls: ssl.SSLContext | None) -> WebSocket:
    """Connect, through the proxy that the environment or the system names for it; the caller sets the timeout. `tls`
    None: the system's trust.
    """
    server = parse_uri(url)
    proxy = None if is_near(url) else _proxy_to(server)
    connecting = _ConnectOnce(
        url,
        proxy=proxy,
        compression=None,
        max_size=MAX_MESSAGE_BYTES,
        open_timeout=None,
        ping_interval=PING_INTERVAL_S,
        close_timeout=CLOSE_TIMEOUT_S,
        user_agent_header=None,
        logger=_silent_logger(),
        create_connection=_ImpatientConnection,
    )
    if tls is not None and url.startswith("wss:"):
        connecting.create_connection_kwargs["ssl"] = tls
    try:
        if proxy is None:
            connecting.create_connection_kwargs["sock"] = await dial(server.host, server.port)
        return WebSocket(url, await connecting, None if proxy is None else _place_of(proxy))
    except OSError as error:
        if proxy is not None:
            reason = error.strerror or str(error) or type(error).__name__
            raise ServerUnreachable(url, f"the proxy at {_place_of(proxy)}: {reason}") from error
        kind = NothingListens if _is_refusal(error) else ServerUnreachable
        raise kind(url, _explain_os_error(error, url)) from error
    except InvalidStatus as error:
        raise _explain_status(url, error.response.status_code, bytes(error.response.body)) from error
    except ImportError as error:
        why = "SOCKS needs the package python-socks, which the extra `socks` of Tallow's package installs"
        raise ServerUnreachable(url, f"the proxy: {why}") from error
    except ProxyError as error:
        place = "" if proxy is None else f" at {_place_of(proxy)}"
        raise ServerUnreachable(url, f"the proxy{place}: {_without_secrets(str(error), proxy)}") from error
    except InvalidMessage as error:
        if isinstance(error.__cause__, EOFError | ConnectionError):
            raise ServerUnreachable(url, "it closed the connection without an answer") from error
        raise ServerProtocolError(url, "it does not speak HTTP") from error
    except InvalidHandshake as error:
        raise ServerProtocolError(url, str(error)[:MAX_ERROR_CHARS]) from error
    except WebSocketException as error:  # an unusable proxy setting
        raise ServerUnreachable(url, _without_secrets(str(error), proxy)) from error


def _proxy_to(server: WebSocketURI) -> str | None:
    """The URL of the proxy that the environment names for this server, or the system does. `ALL_PROXY` comes last, as
    with curl; websockets leaves it out.
    """
    if proxy_bypass(f"{server.host}:{server.port}"):
        return None
    return get_proxy(server) or getproxies().get("all")


def _place_of(proxy: str) -> str:
    """Host and port, without a name and a password."""
    return urlsplit(proxy).netloc.rpartition("@")[2] or "an address that is not one"


def _without_secrets(text: str, proxy: str | None) -> str:
    return text if proxy is None else text.replace(proxy, _place_of(proxy))


def _is_refusal(error: OSError) -> bool:
    # Where several addresses failed in different ways, one OSError without an errno quotes them all.
    return error.errno == errno.ECONNREFUSED or f"[Errno {errno.ECONNREFUSED}]" in str(error)


def _explain_os_error(error: OSError, url: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if _is_refusal(error):
        port = standard_port(url)  # the user may not know that it is this one
        own = f" on port {port}; `tallow serve` listens on {DEFAULT_PORT} unless told otherwise"
        return f"nothing listens there{own if port else ''}"
    if isinstance(
        error, ConnectionError
    ):  # asyncio raises one without a text where a TLS handshake is hung up on
        return error.strerror or "it hung up; with wss:// that may mean that it does not speak TLS: try ws://"
    return error.strerror or str(error) or type(error).__name__


def _explain_status(url: str, status: int, body: bytes) -> SignalingError:
    """What an HTTP answer instead of a WebSocket means. Our server's refusals carry their reason."""
    if status in (403, 429, 503):
        reason = body[:MAX_ERROR_CHARS].decode(errors="replace").strip()
        return ServerRefused(url, reason or f"HTTP {status}")
    return ServerProtocolError(url, f"HTTP {status}")


def _explain_close(url: str, closed: ConnectionClosed) -> SignalingError:
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
    """What goes wrong is raised; the package's own log lines would reach the terminal as well."""
    logger = logging.getLogger("tallow.net.websockets")
    logger.setLevel(logging.CRITICAL + 1)
    return logger
