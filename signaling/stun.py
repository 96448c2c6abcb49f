"""Answering STUN Binding requests (RFC 8489): which address and port a datagram came from. Sans-IO.

A server of the Basic STUN Server kind (RFC 8489 section 13): no authentication, no state, UDP. Two rules keep it from
being of use to whoever forges sources: an answer is never more than `MOST_LARGER` times as large as its request, and
`StunLimits` bounds how many one network, and all together, are given.
"""

from __future__ import annotations

import ipaddress
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from signaling.networks import PrefixHasher, parsed_address

MOST_LARGER: Final = 2
MAX_REQUEST_BYTES: Final = (
    548  # RFC 8489 section 6.1: what fits every path; a Binding request takes 20 to 150
)

_HEADER: Final = struct.Struct("!HHI12s")  # type, length, magic cookie, transaction
_ATTRIBUTE: Final = struct.Struct("!HH")  # type, length
_MAGIC_COOKIE: Final = 0x2112_A442
_BINDING_REQUEST: Final = 0x0001
_BINDING_SUCCESS: Final = 0x0101
_BINDING_ERROR: Final = 0x0111
_ERROR_CODE: Final = 0x0009
_UNKNOWN_ATTRIBUTES: Final = 0x000A
_XOR_MAPPED_ADDRESS: Final = 0x0020
_FINGERPRINT: Final = 0x8028
_FINGERPRINT_XOR: Final = 0x5354_554E
_COMPREHENSION_OPTIONAL: Final = 0x8000
_FAMILIES: Final = {4: 0x01, 6: 0x02}
# Comprehension-required, and understood: what proves who asks (RFC 8489 section 18.3), which this server need not know,
# and PRIORITY and USE-CANDIDATE of ICE (RFC 8445 section 16.1), which ask nothing of a server.
_UNDERSTOOD: Final = frozenset({0x0006, 0x0008, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E, 0x0024, 0x0025})
_UNKNOWN_ATTRIBUTE: Final = 420
_REASON: Final = b"Unknown Attribute"


def answer(request: bytes, address: str, port: int) -> bytes | None:
    """The datagram to send back to `address` and `port`, from where `request` came. None: nothing is owed, or a
    conforming answer would be too large.
    """
    asked = _parsed(request)
    source = parsed_address(address)
    if asked is None or source is None:
        return None
    unknown = [
        kind for kind in asked.attributes if kind < _COMPREHENSION_OPTIONAL and kind not in _UNDERSTOOD
    ]
    if unknown:
        message = _message(_BINDING_ERROR, asked, _unknown_attributes(unknown))
    else:
        message = _message(_BINDING_SUCCESS, asked, _xor_mapped_address(source, port, asked.transaction))
    return message if len(message) <= MOST_LARGER * len(request) else None


@dataclass(frozen=True, slots=True)
class StunLimits:
    """Answers a second. A client asks from each of its addresses once, and again where an answer is lost."""

    of_one_network: int = 50
    of_all: int = 2_000
    networks: int = 10_000  # remembered within a second


class StunResponder:
    """Answers within the limits. `receive(now, …)` returns the datagram to send back, or None."""

    def __init__(self, entropy: Callable[[int], bytes], limits: StunLimits | None = None) -> None:
        self._limits = limits or StunLimits()
        self._hasher = PrefixHasher(entropy)
        self._second = 0.0  # when the present second of counting began
        self._answered = 0  # in it
        self._answered_to: OrderedDict[str, int] = OrderedDict()
        self.answers = 0  # ever, and what was refused for a limit
        self.refused = 0

    def receive(self, now: float, request: bytes, address: str, port: int) -> bytes | None:
        """`now` in seconds, monotonic. What is over a limit costs no parsing."""
        if not 0.0 <= now - self._second < 1.0:
            self._second, self._answered = now, 0
            self._answered_to.clear()
        if self._answered >= self._limits.of_all:
            self.refused += 1
            return None
        prefix = self._hasher.prefix(address, now)
        blocks = ((prefix.label, 1), *prefix.wider)
        for label, factor in blocks:
            if self._answered_to.get(label, 0) >= self._limits.of_one_network * factor:
                self.refused += 1
                return None
        reply = answer(request, address, port)
        if reply is None:
            return None
        self._answered += 1
        self.answers += 1
        for label, _ in blocks:
            self._answered_to[label] = self._answered_to.get(label, 0) + 1
        while len(self._answered_to) > self._limits.networks:
            self._answered_to.popitem(last=False)
        return reply


@dataclass(frozen=True, slots=True)
class _Request:
    transaction: bytes
    attributes: tuple[int, ...]
    has_fingerprint: bool


def _parsed(data: bytes) -> _Request | None:
    """A well-formed Binding request (RFC 8489 section 6.3), or None."""
    if not _HEADER.size <= len(data) <= MAX_REQUEST_BYTES:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if (
        kind != _BINDING_REQUEST
        or cookie != _MAGIC_COOKIE
        or length % 4
        or length != len(data) - _HEADER.size
    ):
        return None
    attributes: list[int] = []
    at = _HEADER.size
    while at < len(data):  # both are multiples of 4, so a whole attribute header is there
        kind, size = _ATTRIBUTE.unpack_from(data, at)
        following = at + _ATTRIBUTE.size + (size + 3) // 4 * 4
        if following > len(data):
            return None
        if kind == _FINGERPRINT:  # the last attribute, of everything before it (section 14.7)
            is_right = size == 4 and following == len(data)
            if not is_right or data[at + _ATTRIBUTE.size :] != _fingerprint(data[:at]):
                return None
            return _Request(transaction, tuple(attributes), has_fingerprint=True)
        attributes.append(kind)
        at = following
    return _Request(transaction, tuple(attributes), has_fingerprint=False)


def _message(kind: int, asked: _Request, attributes: bytes) -> bytes:
    """A response with the transaction of what was asked, and a FINGERPRINT if that had one."""
    fingerprint_bytes = _ATTRIBUTE.size + 4 if asked.has_fingerprint else 0
    header = _HEADER.pack(kind, len(attributes) + fingerprint_bytes, _MAGIC_COOKIE, asked.transaction)
    message = header + attributes
    if asked.has_fingerprint:
        message += _attribute(_FINGERPRINT, _fingerprint(message))
    return message


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + b"\0" * (-len(value) % 4)


def _fingerprint(message: bytes) -> bytes:
    return (zlib.crc32(message) ^ _FINGERPRINT_XOR).to_bytes(4, "big")


def _xor_mapped_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, transaction: bytes
) -> bytes:
    """RFC 8489 section 14.2."""
    cookie = _MAGIC_COOKIE.to_bytes(4, "big")
    key = (cookie + transaction)[: len(address.packed)]
    hidden = bytes(a ^ b for a, b in zip(address.packed, key, strict=True))
    family = _FAMILIES[address.version]
    return _attribute(
        _XOR_MAPPED_ADDRESS, struct.pack("!BBH", 0, family, port ^ (_MAGIC_COOKIE >> 16)) + hidden
    )


def _unknown_attributes(kinds: list[int]) -> bytes:
    """RFC 8489 sections 14.8 and 14.13."""
    code, number = divmod(_UNKNOWN_ATTRIBUTE, 100)
    error = _attribute(_ERROR_CODE, struct.pack("!HBB", 0, code, number) + _REASON)
    return error + _attribute(_UNKNOWN_ATTRIBUTES, b"".join(kind.to_bytes(2, "big") for kind in kinds))
