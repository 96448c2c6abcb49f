"""A server that speaks just enough HTTP and WebSocket (RFC 6455) to misbehave in any way a test asks for."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType

from signaling.protocol import ClientMessage, ServerMessage, Welcome, decode_client_message_untrusted, encode

TEXT, BINARY, CONTINUATION, CLOSE, PING = 1, 2, 0, 8, 9
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

Script = Callable[["Wire"], Awaitable[None]]


def frame(opcode: int, payload: bytes, *, final: bool = True, claimed_size: int | None = None) -> bytes:
    """One unmasked frame, which may lie about its size."""
    size = len(payload) if claimed_size is None else claimed_size
    first = (0x80 if final else 0) | opcode
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


def text(message: str | ServerMessage) -> bytes:
    return frame(TEXT, (message if isinstance(message, str) else encode(message)).encode())


class Wire:
    """One client's connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """The client's HTTP request, unanswered."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def drop_by_drop(self, data: bytes) -> None:
        """Every byte in a segment of its own."""
        for index in range(len(data)):
            await self.raw(data[index : index + 1])
            await asyncio.sleep(0)

    async def upgrade(self) -> None:
        """Accept the WebSocket as a correct server does."""
        await self.raw(self.acceptance(await self.request()))

    @staticmethod
    def acceptance(request: bytes) -> bytes:
        lines = dict(line.split(b": ", 1) for line in request.split(b"\r\n") if b": " in line)
        key = base64.b64encode(hashlib.sha1(lines[b"Sec-WebSocket-Key"] + _GUID).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        return head + b"Sec-WebSocket-Accept: " + key + b"\r\n\r\n"

    async def welcome(self) -> None:
        """Up to and including the greetings, all is well."""
        await self.upgrade()
        await self.raw(text(Welcome(1)))
        await self.hear()

    async def hear(self) -> ClientMessage:
        """The client's next message."""
        head = await self._reader.readexactly(2)
        size = head[1] & 0x7F
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2), "big")
        mask = await self._reader.readexactly(4)
        masked = await self._reader.readexactly(size)
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
        return decode_client_message_untrusted(payload.decode())

    async def reset(self) -> None:
        """End the connection with an RST."""
        self._writer.transport.abort()

    async def hang_up(self) -> None:
        self._writer.close()

    async def silence(self) -> None:
        """Say nothing until the client goes."""
        with contextlib.suppress(OSError):
            await self._reader.read()


class HostileServer:
    """`async with HostileServer(script) as url:` runs the script for every connection."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        try:
            # Cancelled at the end of the test: returning keeps asyncio's streams from logging it.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._script(Wire(reader, writer))
        finally:
            writer.transport.abort()
