"""The packet header and the frames of the transfer protocol; docs/spec/transfer.md is normative.

A packet is one DataChannel message: a header, which is also the associated data when the payload is sealed,
and a payload of one or more frames. All integers are big-endian.

    header   form u8 (0 clear, 1 sealed) · channel u8 (0 control) · number u64
    PING     0x01
    ACK      0x02 · channel u8 · largest u64 · delay u32 µs · first length u32 · count u16
             · count × (gap u32 · length u32)
    CREDIT   0x03 · limit u64
    FLOOR    0x04 · number u64
    DATA     0x05 · flags u8 · offset u64 · bytes to the end of the packet
    CONTROL  0x06 · flags u8 · bytes to the end of the packet

Parsing functions take bytes of an untrusted peer and raise PeerProtocolError, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

import msgspec

from tallow_cli.errors import PeerProtocolError
from tallow_cli.ranges import RangeSet

HEADER_BYTES = 10
SEAL_BYTES = 16  # the AEAD tag that follows a sealed payload
FLOOR_BYTES = 9
DATA_HEADER_BYTES = 10
CONTROL_HEADER_BYTES = 2
MAX_CHANNEL_INDEX = 16  # data channels a peer may number; Tallow opens at most 4
MAX_NUMBER = 2**56 - 1  # packet numbers fill 56 bits of the AEAD nonce
MAX_OFFSET = 2**63 - 1  # no file system holds more
MAX_ACK_RANGES = 256  # what a parser takes
SENT_ACK_RANGES = 128  # what we send: such an ACK still fits one network packet, so losing it is unlikely
MAX_FRAMES = 64  # in one packet; an honest one has a handful (an ACK per channel and a CREDIT)

_END_OF_CHUNK = 0x01
_MORE = 0x01

_HEADER = Struct(">BBQ")
_ACK = Struct(">BBQIIH")
_NUMBER = Struct(">BQ")
_DATA = Struct(">BBQ")
_FLOOR_AND_DATA = Struct(">BQBBQ")
_PING, _ACK_TYPE, _CREDIT, _FLOOR, _DATA_TYPE, _CONTROL = range(1, 7)


class PacketHeader(msgspec.Struct, frozen=True, gc=False):
    sealed: bool
    channel: int
    number: int


class Ping(msgspec.Struct, frozen=True, gc=False):
    """Asks for an ACK at once on a data channel; on the control channel it only shows life."""


class Ack(msgspec.Struct, frozen=True):
    """Packets received on `channel`: inclusive (first, last) pairs, descending, never adjacent."""

    channel: int
    delay_us: int
    ranges: tuple[tuple[int, int], ...]

    @property
    def largest(self) -> int:
        return self.ranges[0][1]


class Credit(msgspec.Struct, frozen=True, gc=False):
    limit: int  # distinct stream bytes the sender may have sent in all


class Floor(msgspec.Struct, frozen=True, gc=False):
    number: int  # the sender wants no ACK for packets of this channel below it


class Data(msgspec.Struct, frozen=True):
    offset: int
    end_of_chunk: bool
    data: memoryview


class Control(msgspec.Struct, frozen=True):
    more: bool  # the message goes on in the next CONTROL frame
    data: memoryview


Frame = Ping | Ack | Credit | Floor | Data | Control

_THE_PING = Ping()


def encode_header(sealed: bool, channel: int, number: int) -> bytes:
    return _HEADER.pack(1 if sealed else 0, channel, number)


def parse_header_untrusted(message: bytes | bytearray | memoryview) -> PacketHeader:
    """The header of a received DataChannel message. The payload begins at `HEADER_BYTES`."""
    if len(message) <= HEADER_BYTES:
        raise PeerProtocolError(f"a packet of {len(message)} bytes")
    form, channel, number = _HEADER.unpack_from(message)
    if form > 1:
        raise PeerProtocolError(f"an unknown packet form {form}")
    if channel > MAX_CHANNEL_INDEX:
        raise PeerProtocolError(f"a packet of channel {channel}")
    if number > MAX_NUMBER:
        raise PeerProtocolError("a packet number beyond 56 bits")
    return PacketHeader(form == 1, channel, number)


def encode_ping() -> bytes:
    return b"\x01"


def encode_ack(channel: int, received: RangeSet, delay_s: float) -> bytes:
    """An ACK of the newest ranges of `received`, which must not be empty."""
    newest = reversed(received)
    start, end = next(newest)
    pairs: list[int] = []
    below = start
    for low, high in newest:
        if len(pairs) >= 2 * (SENT_ACK_RANGES - 1):
            break
        pairs.append(below - high)  # never 0: ranges of a RangeSet do not touch
        pairs.append(high - low)
        below = low
    delay_us = min(max(int(delay_s * 1e6), 0), 0xFFFF_FFFF)
    head = _ACK.pack(_ACK_TYPE, channel, end - 1, delay_us, end - start, len(pairs) // 2)
    return head + Struct(f">{len(pairs)}I").pack(*pairs)


def encode_credit(limit: int) -> bytes:
    return _NUMBER.pack(_CREDIT, limit)


def encode_floor(number: int) -> bytes:
    return _NUMBER.pack(_FLOOR, number)


def encode_data(floor: int, offset: int, data: bytes | memoryview, *, end_of_chunk: bool) -> bytes:
    """The payload of a data packet: FLOOR and DATA. One copy of the data is made, here."""
    flags = _END_OF_CHUNK if end_of_chunk else 0
    return b"".join((_FLOOR_AND_DATA.pack(_FLOOR, floor, _DATA_TYPE, flags, offset), data))


def encode_control(data: bytes | memoryview, *, more: bool) -> bytes:
    return b"".join((bytes((_CONTROL, _MORE if more else 0)), data))


def encode_frames(frames: Iterable[Frame]) -> bytes:
    """Any frames, in their order: the plain inverse of `parse_frames_untrusted`, for tests and vectors."""
    parts: list[bytes] = []
    for frame in frames:
        match frame:
            case Ping():
                parts.append(encode_ping())
            case Ack():
                received = RangeSet((first, last + 1) for first, last in frame.ranges)
                parts.append(encode_ack(frame.channel, received, frame.delay_us / 1e6 + 5e-7))
            case Credit():
                parts.append(encode_credit(frame.limit))
            case Floor():
                parts.append(encode_floor(frame.number))
            case Data():
                parts.append(_DATA.pack(_DATA_TYPE, _END_OF_CHUNK if frame.end_of_chunk else 0, frame.offset))
                parts.append(bytes(frame.data))
            case Control():
                parts.append(encode_control(frame.data, more=frame.more))
    return b"".join(parts)


def parse_frames_untrusted(payload: bytes | bytearray | memoryview) -> list[Frame]:
    """The frames of an opened payload. Data and Control hold views of `payload`."""
    view = memoryview(payload)
    size = len(view)
    if size == 0:
        raise PeerProtocolError("a packet without frames")
    frames: list[Frame] = []
    position = 0
    while position < size:
        if len(frames) == MAX_FRAMES:
            raise PeerProtocolError(f"more than {MAX_FRAMES} frames in a packet")
        kind = view[position]
        if kind in (_FLOOR, _CREDIT):
            value = _number(view, position)
            frames.append(Floor(value) if kind == _FLOOR else Credit(value))
            position += _NUMBER.size
        elif kind == _DATA_TYPE:
            frames.append(_data(view, position))
            position = size
        elif kind == _ACK_TYPE:
            ack, position = _ack(view, position)
            frames.append(ack)
        elif kind == _PING:
            frames.append(_THE_PING)
            position += 1
        elif kind == _CONTROL:
            frames.append(_control(view, position))
            position = size
        else:
            raise PeerProtocolError(f"an unknown frame type {kind}")
    return frames


def _number(view: memoryview, position: int) -> int:
    if len(view) - position < _NUMBER.size:
        raise PeerProtocolError("a CREDIT or FLOOR frame cut short")
    value: int = _NUMBER.unpack_from(view, position)[1]
    if value > MAX_OFFSET:
        raise PeerProtocolError("a CREDIT or FLOOR out of range")
    return value


def _data(view: memoryview, position: int) -> Data:
    if len(view) - position <= DATA_HEADER_BYTES:
        raise PeerProtocolError("a DATA frame without data")
    _, flags, offset = _DATA.unpack_from(view, position)
    if flags & ~_END_OF_CHUNK:
        raise PeerProtocolError(f"unknown DATA flags {flags:#x}")
    data = view[position + DATA_HEADER_BYTES :]
    if offset + len(data) > MAX_OFFSET:
        raise PeerProtocolError("a DATA frame beyond the largest offset")
    return Data(offset, bool(flags), data)


def _control(view: memoryview, position: int) -> Control:
    if len(view) - position <= CONTROL_HEADER_BYTES:
        raise PeerProtocolError("a CONTROL frame without data")
    flags = view[position + 1]
    if flags & ~_MORE:
        raise PeerProtocolError(f"unknown CONTROL flags {flags:#x}")
    return Control(bool(flags), view[position + CONTROL_HEADER_BYTES :])


def _ack(view: memoryview, position: int) -> tuple[Ack, int]:
    if len(view) - position < _ACK.size:
        raise PeerProtocolError("an ACK frame cut short")
    _, channel, largest, delay_us, length, count = _ACK.unpack_from(view, position)
    position += _ACK.size
    if not 1 <= channel <= MAX_CHANNEL_INDEX:
        raise PeerProtocolError(f"an ACK of channel {channel}")
    if largest > MAX_NUMBER:
        raise PeerProtocolError("an ACK of a packet number beyond 56 bits")
    if count >= MAX_ACK_RANGES:
        raise PeerProtocolError(f"an ACK of {count + 1} ranges")
    if len(view) - position < 8 * count:
        raise PeerProtocolError("an ACK frame cut short")
    if not 1 <= length <= largest + 1:
        raise PeerProtocolError("an ACK range below zero or empty")
    first = largest - length + 1
    ranges = [(first, largest)]
    numbers = iter(Struct(f">{2 * count}I").unpack_from(view, position))
    for gap, length in zip(numbers, numbers, strict=True):
        last = first - gap - 1
        first = last - length + 1
        if gap < 1 or length < 1 or first < 0:
            raise PeerProtocolError("an ACK range below zero, empty or touching another")
        ranges.append((first, last))
    return Ack(channel, delay_us, tuple(ranges)), position + 8 * count
