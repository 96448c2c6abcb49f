"""Packets that have become too large for their path, in parts: between Tallow peers only.

A TSN is bound to its bytes, so what was sent at a size that the path carries no more cannot be cut smaller (RFC 9260
section 6.9), and IP, which may cut it, is often not let through: IPv4 routers that do not, firewalls that drop
fragments (RFC 8900). So such a packet is sent in several of a size that passes, each with one PART chunk, and put
together before anybody looks into it. A part that is lost costs the packet, as with IP.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Final

from tallow_cli.dataplane.packets import CHUNK_HEADER_BYTES, COMMON_HEADER_BYTES, PART, PacketWriter
from tallow_cli.errors import PeerProtocolError

# Number of the packet, where in it this part begins, how long it is.
_PART_HEADER: Final = struct.Struct("!LHH")
_CHUNK: Final = struct.Struct("!BBH")
# One DTLS record: no packet is larger.
MAX_WHOLE_BYTES: Final = 16_384
# A part is half at least of what a path carries, and that is 576 bytes: shorter ones would be an attack on memory.
MIN_PART_BYTES: Final = 256
# Parts leave one behind the other, so few packets are open at once; one that lost a part stays until it is the oldest.
MAX_OPEN: Final = 64


class PacketSplitter:
    """Cuts packets for one association."""

    def __init__(self, writer: PacketWriter) -> None:
        self._writer = writer
        self._number = 0

    def split(self, packet: bytes, packet_bytes: int) -> list[bytes]:
        """The packet as packets of at most `packet_bytes`, itself if it fits. All but the last are equally long."""
        size = len(packet)
        if size <= packet_bytes:
            return [packet]
        room = packet_bytes - COMMON_HEADER_BYTES - CHUNK_HEADER_BYTES - _PART_HEADER.size
        count = -(-size // room)
        step = (-(-size // count) + 3) & ~3
        self._number = (self._number + 1) & 0xFFFF_FFFF
        length = CHUNK_HEADER_BYTES + _PART_HEADER.size
        return [
            self._writer.control(
                _CHUNK.pack(PART, 0, length + min(step, size - start))
                + _PART_HEADER.pack(self._number, start, size)
                + packet[start : start + step]
            )
            for start in range(0, size, step)
        ]


class _Open:
    __slots__ = ("held_bytes", "parts", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.parts: dict[int, bytes] = {}
        self.held_bytes = 0


class PacketJoiner:
    """Puts the peer's parts together. Keeps `MAX_OPEN` packets of `MAX_WHOLE_BYTES` at most."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}

    def add_untrusted(self, body: bytes) -> bytes | None:
        """Take a PART chunk's value; the whole packet once nothing of it is missing.

        Raises `PeerProtocolError` for a part that cannot be one.
        """
        if len(body) < _PART_HEADER.size:
            raise PeerProtocolError("a part of a packet shorter than its header")
        number, start, size = _PART_HEADER.unpack_from(body)
        part = body[_PART_HEADER.size :]
        end = start + len(part)
        if size > MAX_WHOLE_BYTES or end > size or len(part) < (MIN_PART_BYTES if end < size else 1):
            raise PeerProtocolError("a part of a packet where none can be")
        whole = self._open.get(number)
        if whole is None or whole.size != size:
            whole = self._open[number] = _Open(size)
            if len(self._open) > MAX_OPEN:
                del self._open[next(iter(self._open))]
        if start not in whole.parts:
            whole.parts[start] = part
            whole.held_bytes += len(part)
        if whole.held_bytes < size:
            return None
        del self._open[number]
        parts = sorted(whole.parts.items())
        if any(begin + len(part) != after for (begin, part), (after, _) in pairwise(parts)):
            raise PeerProtocolError("parts of a packet that overlap")
        return b"".join([part for _, part in parts])
