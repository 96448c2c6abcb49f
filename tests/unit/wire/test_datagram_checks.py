"""The form of datagrams: what honest stacks send passes, the rest never reaches a library."""

from __future__ import annotations

import contextlib
import os
import random
import struct

import pytest
from aioice import stun
from aiortc import RTCCertificate
from aiortc.rtcdtlstransport import SRTP_PROFILES
from OpenSSL import SSL

from tallow_cli.wire.datagram_checks import MAX_STUN_BYTES, dtls_is_sound, stun_is_sound

KEY = b"k" * 22


def check() -> stun.Message:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes.update(
        {"USERNAME": "theirs:ours", "PRIORITY": 1, "ICE-CONTROLLING": 2**64 - 1, "USE-CANDIDATE": None}
    )
    return message


def attribute(kind: int, value: bytes, size: int | None = None) -> bytes:
    return struct.pack("!HH", kind, len(value) if size is None else size) + value + bytes(-len(value) % 4)


def message(*attributes: bytes, kind: int = 1, cookie: int = 0x2112A442, length: int | None = None) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HHI12s", kind, len(body) if length is None else length, cookie, bytes(12)) + body


def record(kind: int, content: bytes, length: int | None = None, major: int = 0xFE) -> bytes:
    size = len(content) if length is None else length
    return bytes([kind, major, 0xFD]) + bytes(8) + struct.pack("!H", size) + content


def test_checks_and_their_answers_are_sound() -> None:
    request = check()
    request.add_message_integrity(KEY)
    assert stun_is_sound(bytes(request))
    answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)
    for address in (("192.0.2.1", 7), ("2001:db8::1", 7)):
        answer.attributes["XOR-MAPPED-ADDRESS"] = address
        answer.add_message_integrity(KEY)
        assert stun_is_sound(bytes(answer))
    assert stun_is_sound(message())
    assert stun_is_sound(message(attribute(0x7777, b"unknown to us")))


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        bytes(19),
        message(cookie=0),
        message(kind=0x4001),
        message(length=4),
        message() + b"x",
        message() + bytes(4),
        message(attribute(0x0006, b"abc", size=40)),
        message(attribute(0x0006, b"", size=0xFFFF)),
        message(attribute(0x0024, b"abc")),  # PRIORITY
        message(attribute(0x802A, bytes(7))),  # ICE-CONTROLLING
        message(attribute(0x0008, bytes(24))),  # MESSAGE-INTEGRITY
        message(attribute(0x8028, bytes(4)), attribute(0x8028, bytes(4))),  # FINGERPRINT is the last
        message(*[attribute(0x7777, b"")] * 33),
        message(attribute(0x7777, bytes(MAX_STUN_BYTES))),
    ],
)
def test_stun_that_aioice_would_stumble_over_is_not_sound(hostile: bytes) -> None:
    assert not stun_is_sound(hostile)


def test_whatever_is_sound_aioice_parses_or_refuses_with_the_error_it_expects() -> None:
    rng = random.Random(int(os.environ.get("TALLOW_SEED", "1")))
    request = check()
    request.add_message_integrity(KEY)
    passed = 0
    for _ in range(20_000):
        raw = bytearray(bytes(request))
        for _ in range(rng.randrange(5)):
            raw[rng.randrange(len(raw))] = rng.choice((0, 1, 2, 4, 8, 255, rng.randrange(256)))
        if rng.random() < 0.3:
            raw += attribute(rng.choice(sorted(stun.ATTRIBUTES_BY_TYPE)), rng.randbytes(rng.randrange(24)))
            raw[2:4] = struct.pack("!H", len(raw) - 20)
        if stun_is_sound(bytes(raw)):
            passed += 1
            try:
                stun.parse_message(bytes(raw))
            except ValueError:
                continue
    assert passed > 1000


def test_a_real_dtls_handshake_is_sound() -> None:
    ends = []
    for certificate in (RTCCertificate.generateCertificate(), RTCCertificate.generateCertificate()):
        ends.append(SSL.Connection(certificate._create_ssl_context(srtp_profiles=SRTP_PROFILES)))
    ends[0].set_connect_state()
    ends[1].set_accept_state()
    flights = 0
    for turn in range(8):
        end, other = ends[turn % 2], ends[(turn + 1) % 2]
        with contextlib.suppress(SSL.WantReadError):
            end.do_handshake()
        try:
            flight = end.bio_read(65536)
        except SSL.Error:
            continue
        flights += 1
        assert dtls_is_sound(flight)
        other.bio_write(flight)
    assert flights >= 4
    ends[0].send(b"data")
    data = ends[0].bio_read(65536)
    assert dtls_is_sound(data)
    assert not dtls_is_sound(data + data)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\x16",
        record(0x16, b""),
        record(0x13, b"x"),
        record(0x18, b"x"),
        record(0x16, b"x", major=3),
        record(0x16, b"x", length=2),
        record(0x16, b"x") + b"\x16",
        record(0x17, b"x") + record(0x17, b"x"),
        record(0x16, b"x") + record(0x17, b"x"),
        record(0x17, bytes(16384 + 2049)),
    ],
)
def test_records_that_do_not_add_up_are_not_sound(hostile: bytes) -> None:
    assert not dtls_is_sound(hostile)
