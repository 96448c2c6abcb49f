"""One side's conversation with a signaling server.

    client = await SignalingClient.connect(url)
    host                                          joiner
    nameplate = await client.allocate()           await client.join(nameplate)
    await client.wait_for_peer(timeout_s=600)     await client.send(body)
    body = await client.recv()                    body = await client.recv()
    await client.close()                          await client.close()

Two that have met before meet again under a token, in either order, with `meet_again`. One task at a time uses a
client. After the peer has gone, or a guess was wrong, the host may `allocate` again
on the same connection, which ends the old room. The server is not trusted: whatever it sends ends in a value
or in one of these errors, and every wait has a timeout.

    ServerUnreachable    no connection, or it broke: DNS, refused, TLS, proxy, timeout, shutdown
    ServerRefused        it answered, and said no: a limit, a version
    ServerProtocolError  it is not a Tallow server, or breaks the protocol
    NameplateTaken       somebody else waits under the number asked for
    UnknownNameplate     nobody waits under that number
    PeerNeverCame        nobody joined in time
    PeerVanished         the other side left, or fell silent, before the handshake was over
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from signaling.protocol import (
    PROTOCOL_VERSION,
    Allocate,
    Allocated,
    ClientMessage,
    Error,
    ErrorCode,
    Hello,
    IceServer,
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
from tallow_cli.awake import awake_timeout
from tallow_cli.errors import (
    NameplateTaken,
    PeerNeverCame,
    PeerVanished,
    ServerProtocolError,
    ServerRefused,
    ServerUnreachable,
    SignalingError,
    TallowError,
    UnknownNameplate,
)
from tallow_cli.meeting.dialing import hedged
from tallow_cli.meeting.server_url import normalize_server_url

if TYPE_CHECKING:
    from tallow_cli.meeting.websocket import WebSocket

CONNECT_TIMEOUT_S = 10.0
# When another connection is begun beside one that is not greeted yet: its TCP may have run out of patience on a bad
# network, where a fresh one has not. TLS on a satellite's round trip takes 3 s.
_HEDGES_S = (0.0, 4.0, 8.0)
REPLY_TIMEOUT_S = 10.0  # for the server's answer to allocate, join and for its taking what we send
PEER_TIMEOUT_S = 30.0  # for the next step of the handshake
RACE_HEAD_START_S = 0.15  # between candidate servers, as between addresses in RFC 8305 (which says 0.25)
JOIN_RETRY_FIRST_S = 0.2
CHECK_S = 2.0  # of silence, where every second counts; and how long the server has to answer then
JOIN_RETRY_MOST_S = 5.0  # 12 a minute, below the server's limit of 30

# A room that was filled up was filled by the peer: it is no fault of the server's.
_ROOM_IS_OVER = (ErrorCode.ROOM_EXPIRED, ErrorCode.NOT_IN_ROOM, ErrorCode.ROOM_LIMIT)
_Answer = TypeVar("_Answer", Allocated, Joined)
_Client = TypeVar("_Client", bound="SignalingClient")


class SignalingClient:
    """See the module. Make one with `connect` or `connect_any`; leave it with `close` or `async with`."""

    def __init__(self, url: str, socket: WebSocket) -> None:
        self.url = url
        self.other_stun_port: int | None = None  # answers as well
        self.stun_port: int | None = None  # UDP, of the same host, if the server answers STUN requests
        self.has_relays = False  # whether the server will name some, once there is a peer
        self.ice_servers: tuple[IceServer, ...] = ()  # relays to use, once there is a peer: untrusted
        self._socket = socket
        self._was_in_room = False
        self._peer_present = False

    @property
    def local_address(self) -> str | None:
        """The address of this machine from which the server was reached; None if that is not known."""
        return self._socket.local_address

    @property
    def proxy(self) -> str | None:
        """Host and port of the proxy that the connection goes through, if it does."""
        return self._socket.proxy

    @classmethod
    async def connect(
        cls, url: str, *, timeout_s: float = CONNECT_TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> Self:
        """Connect and exchange greetings.

        `url` is what `normalize_server_url` accepts; `tls` overrides the system's trust for wss://.
        Raises BadOption, ServerUnreachable, ServerRefused, ServerProtocolError.
        """
        from tallow_cli.meeting.websocket import open_websocket

        url = normalize_server_url(url)

        async def greeted() -> Self:
            client = cls(url, await open_websocket(url, tls))
            try:
                await client._greet()
            except BaseException:
                client._socket.abort()
                raise
            return client

        try:
            async with asyncio.timeout(timeout_s):
                return await hedged(greeted, _HEDGES_S, lambda late: late._socket.abort())
        except TimeoutError:
            raise ServerUnreachable(url, f"no answer within {timeout_s:g} s") from None

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

        Raises NameplateTaken, ServerRefused and the server errors.
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
                self._peer_came(await self._request(Join(nameplate), Joined))
            except UnknownNameplate:
                if loop.time() + pause_s > deadline:
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, JOIN_RETRY_MOST_S)
            else:
                self._was_in_room = True
                return

    async def wait_for_peer(self, timeout_s: float) -> None:
        """Host: until somebody joins. Raises PeerNeverCame (the server's limit came first: before `timeout_s`), and
        the server errors.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with awake_timeout(timeout_s):
                message = await self._next()
        except TimeoutError:
            raise PeerNeverCame(timeout_s) from None
        if isinstance(message, Error) and message.code == ErrorCode.ROOM_EXPIRED:
            raise PeerNeverCame(loop.time() - begun)
        if not isinstance(message, PeerJoined):
            raise self._error_for(message)
        self._peer_came(message)

    async def meet_again(self, token: str, *, is_host: bool) -> None:
        """Come to the room under `token`, and wait there for the other side, as long as it takes. The server is asked
        all along whether it is still there: a path that was lost and found may have lost its connections.

        Raises ServerUnreachable and the server errors.
        """
        if is_host:
            await self.allocate(token)
        else:
            await self._say(Join(token))
            self._was_in_room = True
        while True:
            message = await self._next_of_living()
            if isinstance(message, PeerJoined if is_host else Joined):
                return self._peer_came(message)
            if not _is_last_word(message):
                raise self._error_for(message)
            if isinstance(message, Error):  # the room is over; the caller comes again
                raise ServerUnreachable(self.url, "the room was closed")

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
            async with awake_timeout(timeout_s):
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
        """Leave. Never raises, and takes a second at most."""
        await self._socket.close()

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
        self.stun_port, self.other_stun_port = message.stun_port, message.other_stun_port
        self.has_relays = message.has_relays

    def _peer_came(self, message: Joined | PeerJoined) -> None:
        """Both are in the room: only now the server says which relays there are."""
        self._peer_present = True
        self.ice_servers = message.ice_servers

    async def _request(self, request: Allocate | Join, answer: type[_Answer]) -> _Answer:
        """Send, and wait for the answer. Before it, only the last words of the room before may come."""
        try:
            async with awake_timeout(REPLY_TIMEOUT_S):
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
        if message.code == ErrorCode.NAMEPLATE_TAKEN and isinstance(request, Allocate) and request.nameplate:
            return NameplateTaken(request.nameplate)
        if message.code == ErrorCode.BAD_MESSAGE:
            return ServerProtocolError(self.url, f"it did not understand: {message.message}")
        return ServerRefused(self.url, message.message or message.code)

    async def _next(self) -> ServerMessage:
        try:
            return decode_server_message_untrusted(await self._socket.recv())
        except MalformedMessage as error:
            raise ServerProtocolError(self.url, str(error)) from None

    async def _next_of_living(self) -> ServerMessage:
        """The next message of a server that may have gone without a word."""
        while True:
            with suppress(TimeoutError):
                async with awake_timeout(CHECK_S):
                    return await self._next()
            await self._socket.check(CHECK_S)

    async def _say(self, message: ClientMessage) -> None:
        try:
            async with awake_timeout(REPLY_TIMEOUT_S):
                await self._socket.send(encode(message))
        except TimeoutError:
            raise ServerUnreachable(self.url, f"it took nothing for {REPLY_TIMEOUT_S:g} s") from None
        except SignalingError:
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
