"""The little of DNS (RFC 1035) that a multicast DNS responder needs (RFC 6762): questions read, one answer written.

Pure. What comes from the network goes through `questions_untrusted`, which returns what it understands and never
raises.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

TYPE_A, TYPE_TXT, TYPE_AAAA, TYPE_SRV, TYPE_ANY = 1, 16, 28, 33, 255
MAX_QUESTIONS = 32  # of one message; a resolver asks two or four at a time
MAX_MESSAGE_BYTES = 9_000  # RFC 6762 section 17
_MAX_NAME_BYTES = 255
_MAX_POINTERS = 16  # in one name; each leads backwards, so they end by themselves too
_CLASS_IN = 1
_CACHE_FLUSH = 0x8000  # the answer replaces what others have cached; in a question: a wish for unicast
_RESPONSE = 0x8000
_AUTHORITATIVE = 0x0400
_OPCODE = 0x7800
_HEADER = struct.Struct("!6H")


@dataclass(frozen=True, slots=True)
class Question:
    name: str  # lower case, ending in a dot
    type: int


@dataclass(frozen=True, slots=True)
class Service:
    """What a name stands for: the port of a service and the addresses of its host."""

    name: str
    host: str
    port: int
    addresses: Sequence[str]


def questions_untrusted(message: bytes) -> list[Question]:
    """The questions of a query. None of what is not a query, and those before the first that cannot be read."""
    if not _HEADER.size <= len(message) <= MAX_MESSAGE_BYTES:
        return []
    _identity, flags, count, *_others = _HEADER.unpack_from(message)
    if flags & (_RESPONSE | _OPCODE) or count > MAX_QUESTIONS:
        return []
    found: list[Question] = []
    position = _HEADER.size
    for _ in range(count):
        read = _name_untrusted(message, position)
        if read is None or read[1] + 4 > len(message):
            break
        name, position = read
        kind, group = struct.unpack_from("!HH", message, position)
        position += 4
        if group & ~_CACHE_FLUSH == _CLASS_IN:
            found.append(Question(name, kind))
    return found


def asks_for(question: Question, service: Service) -> bool:
    """Whether this very name is asked for. A question that would list names is not for anybody to answer."""
    if question.name == service.name:
        return question.type in (TYPE_SRV, TYPE_TXT, TYPE_ANY)
    return question.name == service.host and question.type in (TYPE_A, TYPE_AAAA, TYPE_ANY)


def answer(service: Service, ttl_s: int) -> bytes:
    """All that is known of the service. `ttl_s` 0 says goodbye."""
    host = _encoded(service.host)
    records = [
        _record(service.name, TYPE_SRV, ttl_s, struct.pack("!HHH", 0, 0, service.port) + host),
        _record(service.name, TYPE_TXT, ttl_s, b"\x00"),  # RFC 6763 section 6.1: there must be one
    ]
    for text in service.addresses:
        address = ipaddress.ip_address(text)
        records.append(
            _record(service.host, TYPE_A if address.version == 4 else TYPE_AAAA, ttl_s, address.packed)
        )
    return _HEADER.pack(0, _RESPONSE | _AUTHORITATIVE, 0, len(records), 0, 0) + b"".join(records)


def _record(name: str, kind: int, ttl_s: int, data: bytes) -> bytes:
    return _encoded(name) + struct.pack("!HHIH", kind, _CLASS_IN | _CACHE_FLUSH, ttl_s, len(data)) + data


def _encoded(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\x00"


def _name_untrusted(message: bytes, position: int) -> tuple[str, int] | None:
    """The name at `position`, and where what follows it begins."""
    labels: list[bytes] = []
    end: int | None = None
    size = pointers = 0
    while position < len(message):
        length = message[position]
        if length == 0:
            name = b"".join(label + b"." for label in labels).decode("latin-1").lower()
            return name, position + 1 if end is None else end
        if length & 0xC0 == 0xC0:
            if position + 1 >= len(message):
                return None
            target = (length & 0x3F) << 8 | message[position + 1]
            end = position + 2 if end is None else end
            pointers += 1
            if target >= position or pointers > _MAX_POINTERS:
                return None
            position = target
            continue
        size += length + 1
        if length & 0xC0 or size > _MAX_NAME_BYTES or position + 1 + length > len(message):
            return None
        labels.append(message[position + 1 : position + 1 + length])
        position += 1 + length
    return None
