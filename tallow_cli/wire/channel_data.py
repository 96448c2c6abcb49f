"""ChannelData messages of a relay (RFC 8656 section 12.4), many at a time. Pure.

    0                   16                  32
    | channel number    | length            | data … | over TCP and TLS: padding to a multiple of four

A run is datagrams of one size back to back, only the last perhaps shorter, as in `wire.udp_batch`: framed, equal
datagrams stay equal, so that one `UDP_SEGMENT` call carries them to the relay too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

CHANNEL_NUMBERS: Final = range(0x4000, 0x5000)
HEADER_BYTES: Final = 4
# RFC 7983: what the first byte of a datagram says.
CHANNEL_FIRST_BYTES: Final = bytes(range(0x40, 0x50))
_HEADER: Final = struct.Struct("!HH")
_STUN_HEADER_BYTES: Final = 20
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")  # by the length modulo 4

Run = tuple[int, bytes, int]  # channel, datagrams back to back, size of each but the last


def framed(run: bytes | memoryview, segment: int, channel: int) -> bytes:
    """The run's datagrams as messages for UDP, of `segment + HEADER_BYTES` each."""
    header = _HEADER.pack(channel, segment)
    whole = len(run) - len(run) % segment
    parts: list[bytes | memoryview] = []
    for start in range(0, whole, segment):
        parts += (header, run[start : start + segment])
    if whole < len(run):
        parts += (_HEADER.pack(channel, len(run) - whole), run[whole:])
    return b"".join(parts)


def framed_for_stream(run: bytes | memoryview, segment: int, channel: int) -> bytes:
    """The run's datagrams as messages for TCP or TLS."""
    parts: list[bytes | memoryview] = []
    for start in range(0, len(run), segment):
        datagram = run[start : start + segment]
        parts += (_HEADER.pack(channel, len(datagram)), datagram, _PADDING[len(datagram) % 4])
    return b"".join(parts)


def unframed_untrusted(run: memoryview, segment: int) -> Iterator[Run]:
    """The runs in a run of messages that came by UDP. What is no whole ChannelData message is left out."""
    messages = [run[start : start + segment] for start in range(0, len(run), segment)]
    return _joined(_data_untrusted(message) for message in messages)


def _data_untrusted(message: memoryview) -> tuple[int, memoryview]:
    """The channel and what it carries: nothing where the message is broken."""
    if len(message) < HEADER_BYTES:
        return 0, message[:0]
    channel, length = _HEADER.unpack_from(message)
    end = HEADER_BYTES + length
    return channel, message[HEADER_BYTES:end] if end <= len(message) else message[:0]


def _joined(data: Iterator[tuple[int, memoryview]]) -> Iterator[Run]:
    """Neighbours of one channel and size in one run."""
    parts: list[memoryview] = []
    channel = size = 0
    for its_channel, datagram in data:
        if not datagram:
            continue
        if parts and (its_channel != channel or len(datagram) > size or len(parts[-1]) < size):
            yield channel, b"".join(parts), size
            parts = []
        if not parts:
            channel, size = its_channel, len(datagram)
        parts.append(datagram)
    if parts:
        yield channel, b"".join(parts), size


class StreamParser:
    """Cuts what comes by TCP or TLS into STUN messages and runs of ChannelData, keeping what is unfinished."""

    def __init__(self) -> None:
        self._rest = b""

    def receive_untrusted(self, data: bytes) -> tuple[list[bytes], list[Run]]:
        """The STUN messages and the runs that are whole now."""
        buffer = memoryview(self._rest + data if self._rest else data)
        stun: list[bytes] = []
        frames: list[tuple[int, memoryview]] = []
        start, size = 0, len(buffer)
        while size - start >= HEADER_BYTES:
            kind, length = _HEADER.unpack_from(buffer, start)
            is_data = kind in CHANNEL_NUMBERS
            begin = start + (HEADER_BYTES if is_data else _STUN_HEADER_BYTES)
            end = begin + (length + 3 & ~3)
            if end > size:
                break
            if is_data:
                frames.append((kind, buffer[begin : begin + length]))
            else:
                stun.append(bytes(buffer[start:end]))
            start = end
        runs = list(_joined(iter(frames)))
        self._rest = bytes(buffer[start:])
        return stun, runs
