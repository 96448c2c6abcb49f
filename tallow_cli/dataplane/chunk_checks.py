"""Whether a chunk from the peer is what its type says, asked before any parser of a library sees it.

The association's life is aiortc's (INIT, COOKIE, HEARTBEAT, RE-CONFIG, SHUTDOWN, ABORT); with `--engine aiortc` DATA,
SACK and FORWARD-TSN are as well. Its parsers believe the lengths and counts they are given: a parameter of length 0
keeps them busy for ever, a gap block of 65,535 packets costs milliseconds each, a field cut short raises whatever
`struct` raises. So every length and every count is checked here, against RFC 9260, 3758 and 6525, and what fails
is dropped with its packet or alone. Functions named `…_untrusted` raise `PeerProtocolError` and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tallow_cli.dataplane.packets import (
    CHUNK_HEADER_BYTES,
    DATA,
    DATA_HEADER_BYTES,
    FORWARD_TSN,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    SACK,
    ChunkSpan,
    chunks_untrusted,
    parse_forward_tsn_untrusted,
    parse_sack_untrusted,
)
from tallow_cli.errors import PeerProtocolError

INIT_ACK: Final = 2
ABORT: Final = 6
SHUTDOWN: Final = 7
SHUTDOWN_ACK: Final = 8
ERROR: Final = 9
COOKIE_ECHO: Final = 10
COOKIE_ACK: Final = 11
SHUTDOWN_COMPLETE: Final = 14
RE_CONFIG: Final = 130
# What an association's life consists of; HEARTBEAT ACK is missing because nobody but the path probes asks for one.
LIFE_CHUNKS: Final = frozenset(
    {INIT, INIT_ACK, HEARTBEAT, ABORT, SHUTDOWN, SHUTDOWN_ACK}
    | {ERROR, COOKIE_ECHO, COOKIE_ACK, SHUTDOWN_COMPLETE, RE_CONFIG}
)
# An ABORT is obeyed and an ERROR believed whatever causes they list, and a HEARTBEAT ACK that is not a path probe's
# means nothing: their values are handed to nobody.
UNREAD_CHUNKS: Final = frozenset((ABORT, ERROR, HEARTBEAT_ACK))
# RFC 9260 section 6.10: these are never bundled with anything.
_ALONE: Final = frozenset((INIT, INIT_ACK, SHUTDOWN_COMPLETE))

# dcSCTP and usrsctp send five to eight in an INIT, aiortc three; a HEARTBEAT has one.
MAX_PARAMETERS: Final = 32
# Answered one by one, each in a packet of its own. A stack that behaves bundles two or three.
MAX_LIFE_CHUNKS: Final = 16
# RFC 6525 section 3.1: one request or response, or two of the pairs it lists.
MAX_RECONFIG_PARAMETERS: Final = 2
# usrsctp's is about 400 bytes, others' fewer than 100; it must fit one packet together with its chunk.
MAX_COOKIE_BYTES: Final = 1024

_PARAMETER: Final = struct.Struct("!HH")
_INIT: Final = struct.Struct("!LLHHL")
_STATE_COOKIE: Final = 7
_OUTGOING_RESET, _RESET_RESPONSE, _ADD_OUTGOING = 13, 16, 17


class Parameter(NamedTuple):
    """`value`: without its 4-byte header and its padding."""

    type: int
    value: bytes


def parameters_untrusted(body: bytes, most: int = MAX_PARAMETERS) -> list[Parameter]:
    """A chunk's type-length-value parameters (RFC 9260 section 3.2.1), at most `most`.

    Up to three bytes behind the last are its padding, which some stacks count into the chunk's length.
    """
    parameters: list[Parameter] = []
    position, total = 0, len(body)
    while position + _PARAMETER.size <= total:
        kind, length = _PARAMETER.unpack_from(body, position)
        if length < _PARAMETER.size or position + length > total:
            raise PeerProtocolError(f"an SCTP parameter claims {length} bytes")
        if len(parameters) == most:
            raise PeerProtocolError(f"more than {most} parameters in an SCTP chunk")
        parameters.append(Parameter(kind, body[position + _PARAMETER.size : position + length]))
        position += (length + 3) & ~3
    return parameters


def check_chunk_untrusted(kind: int, body: bytes) -> None:
    """Raise PeerProtocolError unless a chunk of this type may have this value (header cut off).

    Types that no check is here for are refused: hand a library only what somebody has thought about.
    """
    check = _CHECKS.get(kind)
    if check is None:
        raise PeerProtocolError(f"an SCTP chunk of type {kind}")
    check(body)


def packet_chunks_untrusted(packet: bytes) -> list[ChunkSpan]:
    """The packet's chunks, those of unknown types left out (RFC 9260 section 3.2); checksum and tag are the caller's.

    One malformed chunk spoils its packet, as does bundling what must stand alone.
    """
    known = [span for span in chunks_untrusted(packet) if span.type in _CHECKS]
    life = 0
    for span in known:
        if span.type in _ALONE and len(known) > 1:
            raise PeerProtocolError(f"an SCTP chunk of type {span.type} that is not alone in its packet")
        life += span.type in LIFE_CHUNKS
        check_chunk_untrusted(span.type, packet[span.start : span.end])
    if life > MAX_LIFE_CHUNKS:
        raise PeerProtocolError(f"{life} chunks to answer in one packet")
    return known


def _check_data(body: bytes) -> None:
    if len(body) <= DATA_HEADER_BYTES - CHUNK_HEADER_BYTES:
        raise PeerProtocolError("DATA without data")  # RFC 9260 section 3.3.1


def _check_init(body: bytes) -> list[Parameter]:
    if len(body) < _INIT.size:
        raise PeerProtocolError("an INIT shorter than its fixed part")
    tag, _, outbound_streams, inbound_streams, _ = _INIT.unpack_from(body)
    if not (tag and outbound_streams and inbound_streams):
        raise PeerProtocolError("an INIT with a tag or a number of streams of 0")  # RFC 9260 section 3.3.2
    return parameters_untrusted(body[_INIT.size :])


def _check_init_ack(body: bytes) -> None:
    cookies = [each.value for each in _check_init(body) if each.type == _STATE_COOKIE]
    if len(cookies) != 1:
        raise PeerProtocolError("an INIT ACK without its one cookie")
    _check_cookie(cookies[0])


def _check_cookie(body: bytes) -> None:
    if not 0 < len(body) <= MAX_COOKIE_BYTES:
        raise PeerProtocolError(f"a cookie of {len(body)} bytes")


def _check_sack(body: bytes) -> None:
    """Blocks ascend and do not touch backwards, so that together they cover 65,535 packets at most."""
    end = 0
    gaps = parse_sack_untrusted(body).gaps
    for first, last in zip(gaps[::2], gaps[1::2], strict=True):
        if not end < first <= last:
            raise PeerProtocolError("gap blocks that do not ascend")
        end = last


def _check_forward_tsn(body: bytes) -> None:
    parse_forward_tsn_untrusted(body)


def _check_parameters(body: bytes) -> None:
    if not parameters_untrusted(body):
        raise PeerProtocolError("an SCTP chunk without the parameter it is about")


def _check_shutdown(body: bytes) -> None:
    if len(body) != 4:
        raise PeerProtocolError(f"a SHUTDOWN of {len(body)} bytes")


def _check_reconfig(body: bytes) -> None:
    parameters = parameters_untrusted(body, MAX_RECONFIG_PARAMETERS)
    if not parameters:
        raise PeerProtocolError("an empty RE-CONFIG")
    for kind, value in parameters:
        # RFC 6525 sections 4.1, 4.4 and 4.5; others are ignored by whoever does not know them.
        size = len(value)
        if (
            (kind == _OUTGOING_RESET and (size < 12 or size % 2))
            or (kind == _RESET_RESPONSE and size not in (8, 16))
            or (kind == _ADD_OUTGOING and size != 8)
        ):
            raise PeerProtocolError(f"a RE-CONFIG parameter {kind} of {size} bytes")


def _check_nothing(body: bytes) -> None:
    """Chunks that have no value, or whose value nobody reads."""


_CHECKS: Final[Mapping[int, Callable[[bytes], object]]] = {
    DATA: _check_data,
    INIT: _check_init,
    INIT_ACK: _check_init_ack,
    SACK: _check_sack,
    HEARTBEAT: _check_parameters,
    HEARTBEAT_ACK: _check_nothing,
    ABORT: _check_nothing,
    SHUTDOWN: _check_shutdown,
    SHUTDOWN_ACK: _check_nothing,
    ERROR: _check_nothing,
    COOKIE_ECHO: _check_cookie,
    COOKIE_ACK: _check_nothing,
    SHUTDOWN_COMPLETE: _check_nothing,
    RE_CONFIG: _check_reconfig,
    FORWARD_TSN: _check_forward_tsn,
}
