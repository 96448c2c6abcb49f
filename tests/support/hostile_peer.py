"""A peer that knows the code, and whose SCTP says what it likes: raw packets over a real link's DTLS."""

from __future__ import annotations

import struct
from typing import Any

from google_crc32c import value as crc32c

from tests.support.link_end import LinkEnd

PORT = 5000


def chunk(kind: int, body: bytes = b"", flags: int = 0, length: int | None = None) -> bytes:
    """One chunk, padded; `length` to lie about it."""
    header = struct.pack("!BBH", kind, flags, 4 + len(body) if length is None else length)
    return header + body + bytes(-len(body) % 4)


def parameter(kind: int, value: bytes = b"", length: int | None = None) -> bytes:
    header = struct.pack("!HH", kind, 4 + len(value) if length is None else length)
    return header + value + bytes(-len(value) % 4)


def data_chunk(tsn: int, stream: int, ppid: int, content: bytes, *, ssn: int = 0, flags: int = 3) -> bytes:
    return chunk(0, struct.pack("!LHHL", tsn & 0xFFFFFFFF, stream, ssn, ppid) + content, flags)


def packet(tag: int, *chunks: bytes) -> bytes:
    """An SCTP packet with a right checksum."""
    head, body = struct.pack("!HHL", PORT, PORT, tag), b"".join(chunks)
    return head + struct.pack("<L", crc32c(head + bytes(4) + body)) + body


class HostilePeer:
    """Says SCTP of its own making over the connected `link`, which goes on behaving beside it."""

    def __init__(self, link: LinkEnd) -> None:
        self._link = link

    @property
    def sctp(self) -> Any:
        return self._link.sctp

    @property
    def victims_tag(self) -> int:
        return int(self.sctp._remote_verification_tag)

    def take_tsns(self, count: int) -> int:
        """The first of `count` TSNs in a row that the honest half will not use: it goes on behind them."""
        association = getattr(self.sctp, "_association", None)
        if association is None:
            first = int(self.sctp._local_tsn)
            self.sctp._local_tsn = (first + count) & 0xFFFFFFFF
            return first
        window = association._sender.window
        first = int(window.next_tsn)
        window.next_tsn += count
        return first

    async def say(self, *chunks: bytes, tag: int | None = None) -> None:
        await self.say_packet(packet(self.victims_tag if tag is None else tag, *chunks))

    async def say_packet(self, raw: bytes) -> None:
        await self._link.dtls._send_data(raw)
