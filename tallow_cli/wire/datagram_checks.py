"""What a datagram must look like before aioice or OpenSSL sees it. Anybody who finds the port can send one.

Each check is of form alone: lengths that add up, sizes that fields of their kind have, and no more than an honest
sender needs. What is well-formed may still be a stranger's; `ice_wall` asks for the source.
"""

from __future__ import annotations

import struct
from typing import Final

# RFC 7983: what the first byte of a datagram says.
STUN_LAST_FIRST_BYTE: Final = 3
DTLS_FIRST_BYTES: Final = bytes(range(20, 64))

# RFC 8489 section 6.1: below the path MTU, if that is unknown below 1,280 bytes of IPv6. A check of ours has 120.
MAX_STUN_BYTES: Final = 1280
_STUN_HEADER: Final = struct.Struct("!HHI12s")
_STUN_ATTRIBUTE: Final = struct.Struct("!HH")
_MAGIC_COOKIE: Final = 0x2112A442
_FINGERPRINT: Final = 0x8028
# libwebrtc sends about ten in a check, coturn as many in a response.
_MAX_STUN_ATTRIBUTES: Final = 32
# Attributes of one size only, which aioice unpacks without looking: CHANGE-REQUEST, MESSAGE-INTEGRITY, CHANNEL-NUMBER,
# LIFETIME, REQUESTED-TRANSPORT, PRIORITY, USE-CANDIDATE, FINGERPRINT, ICE-CONTROLLED, ICE-CONTROLLING.
_STUN_SIZES: Final = {
    0x0003: 4,
    0x0008: 20,
    0x000C: 4,
    0x000D: 4,
    0x0019: 4,
    0x0024: 4,
    0x0025: 0,
    _FINGERPRINT: 4,
    0x8029: 8,
    0x802A: 8,
}

_RECORD_HEADER_BYTES: Final = 13
# RFC 6347 section 4.1: 2^14 bytes of content and at most 2,048 more of cipher overhead.
_MAX_RECORD_BYTES: Final = 16384 + 2048
_APPLICATION_DATA: Final = 0x17
_RECORD_TYPES: Final = range(0x14, 0x18)  # change cipher spec, alert, handshake, application data
_DTLS_MAJOR: Final = 0xFE


def stun_is_sound(datagram: bytes, most: int = MAX_STUN_BYTES) -> bool:
    """Whether it is a STUN message (RFC 8489 section 5) of at most `most` bytes that aioice can parse at once."""
    size = len(datagram)
    if not _STUN_HEADER.size <= size <= most or size % 4:
        return False
    kind, length, cookie, _ = _STUN_HEADER.unpack_from(datagram)
    if kind & 0xC000 or length != size - _STUN_HEADER.size or cookie != _MAGIC_COOKIE:
        return False
    position = _STUN_HEADER.size
    for _ in range(_MAX_STUN_ATTRIBUTES):
        if position == size:
            return True
        attribute, value_bytes = _STUN_ATTRIBUTE.unpack_from(datagram, position)
        end = position + _STUN_ATTRIBUTE.size + (value_bytes + 3 & ~3)
        if end > size or _STUN_SIZES.get(attribute, value_bytes) != value_bytes:
            return False
        if attribute == _FINGERPRINT and end != size:
            return False  # RFC 8489 section 14.7: it is the last
        position = end
    return position == size


def dtls_is_sound(datagram: bytes | memoryview) -> bool:
    """Whether it is DTLS 1.2 records back to back (RFC 6347 section 4.1).

    Application data must be alone: OpenSSL hands out one record at a time, and would keep the others for ever.
    """
    position, size = 0, len(datagram)
    while position + _RECORD_HEADER_BYTES <= size:
        kind = datagram[position]
        length = datagram[position + 11] << 8 | datagram[position + 12]
        end = position + _RECORD_HEADER_BYTES + length
        if (
            kind not in _RECORD_TYPES
            or datagram[position + 1] != _DTLS_MAJOR
            or not 0 < length <= _MAX_RECORD_BYTES
            or (kind == _APPLICATION_DATA and (position or end != size))
        ):
            return False
        position = end
    return position == size and size > 0
