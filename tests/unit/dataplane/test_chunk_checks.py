"""The checks in front of aiortc's parsers: what stacks really send passes, what would hurt a parser does not."""

from __future__ import annotations

import os
import random
import struct

import pytest
from aiortc.rtcsctptransport import CHUNK_TYPES, InitAckChunk, InitChunk, RTCSctpTransport

from tallow_cli.dataplane.chunk_checks import (
    LIFE_CHUNKS,
    MAX_COOKIE_BYTES,
    MAX_LIFE_CHUNKS,
    MAX_PARAMETERS,
    UNREAD_CHUNKS,
    Parameter,
    check_chunk_untrusted,
    packet_chunks_untrusted,
    parameters_untrusted,
)
from tallow_cli.errors import PeerProtocolError
from tests.support.hostile_peer import chunk, data_chunk, packet, parameter

INIT = struct.pack("!LLHHL", 7, 1 << 20, 65535, 65535, 9)
COOKIE = parameter(7, bytes(24))
RESET = struct.pack("!LLLH", 1, 2, 3, 4)

# What aiortc, dcSCTP and usrsctp send.
FINE = [
    (0, struct.pack("!LHHL", 1, 2, 3, 53) + b"x"),
    (1, INIT),
    (1, INIT + parameter(0xC000) + parameter(0x8008, bytes([130, 192])) + parameter(0x8001, bytes(4))),
    (2, INIT + COOKIE),
    (2, INIT + parameter(7, bytes(MAX_COOKIE_BYTES))),
    (3, struct.pack("!LLHH", 5, 6, 0, 0)),
    (3, struct.pack("!LLHHHHHHL", 5, 6, 2, 1, 2, 2, 4, 9, 77)),
    (4, parameter(1, bytes(12))),
    (5, b"whatever"),
    (6, parameter(12, b"User-initiated")),
    (6, parameter(12, length=0)),
    (7, bytes(4)),
    (8, b""),
    (9, parameter(3, bytes(8))),
    (10, bytes(24)),
    (11, b""),
    (14, b""),
    (130, parameter(13, RESET)),
    (130, parameter(13, RESET[:12]) + parameter(16, bytes(8))),
    (130, parameter(16, bytes(16))),
    (130, parameter(17, bytes(8))),
    (130, parameter(14, bytes(5))),  # an SSN/TSN reset, which aiortc does not know
    (192, bytes(4)),
    (192, bytes(12)),
]
HOSTILE = [
    (0, b""),
    (0, bytes(11)),
    (0, bytes(12)),
    (1, INIT[:15]),
    (1, bytes(4) + INIT[4:]),
    (1, INIT[:8] + bytes(2) + INIT[10:]),
    (1, INIT + parameter(1, length=0)),
    (2, INIT),
    (2, INIT + parameter(7)),
    (2, INIT + COOKIE + COOKIE),
    (2, INIT + parameter(7, bytes(MAX_COOKIE_BYTES + 1))),
    (3, bytes(11)),
    (3, struct.pack("!LLHH", 5, 6, 1, 0)),
    (3, struct.pack("!LLHHHH", 5, 6, 1, 0, 9, 8)),
    (3, struct.pack("!LLHHHHHH", 5, 6, 2, 0, 1, 9, 9, 12)),
    (3, struct.pack("!LLHHHH", 5, 6, 1, 0, 0, 8)),
    (4, b""),
    (4, parameter(1, length=3)),
    (4, parameter(1, bytes(4), length=12)),
    (4, parameter(1) * (MAX_PARAMETERS + 1)),
    (7, b""),
    (7, bytes(3)),
    (10, b""),
    (10, bytes(MAX_COOKIE_BYTES + 1)),
    (130, b""),
    (130, parameter(13, RESET[:11])),
    (130, parameter(13, RESET + b"x")),
    (130, parameter(16, bytes(7))),
    (130, parameter(17, bytes(9))),
    (130, parameter(16, bytes(8)) * 3),
    (130, parameter(13, length=0)),
    (192, b""),
    (192, bytes(6)),
    (77, b""),
]


@pytest.mark.parametrize(("kind", "body"), FINE)
def test_what_stacks_send_passes_and_aiortc_reads_it(kind: int, body: bytes) -> None:
    check_chunk_untrusted(kind, body)
    CHUNK_TYPES[kind](flags=0, body=b"" if kind in UNREAD_CHUNKS else body)


@pytest.mark.parametrize(("kind", "body"), HOSTILE)
def test_what_would_hurt_a_parser_is_refused(kind: int, body: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        check_chunk_untrusted(kind, body)


def test_aiortcs_own_handshake_passes() -> None:
    chunks: list[InitChunk | InitAckChunk] = [InitChunk(), InitAckChunk()]
    for each in chunks:
        each.initiate_tag, each.outbound_streams, each.inbound_streams = 1, 65535, 65535
        RTCSctpTransport._set_extensions(_Extensions(), each.params)  # type: ignore[arg-type]
    chunks[1].params.append((7, os.urandom(24)))
    for each in chunks:
        check_chunk_untrusted(each.type, each.body)


class _Extensions:
    _local_partial_reliability = True


def test_parameters_are_read_with_their_padding_and_without_it() -> None:
    body = parameter(5, b"abc") + parameter(6)
    assert parameters_untrusted(body) == [Parameter(5, b"abc"), Parameter(6, b"")]
    assert parameters_untrusted(parameter(5, b"abc")[:-1]) == [Parameter(5, b"abc")]
    assert parameters_untrusted(parameter(6) + bytes(3)) == [Parameter(6, b"")]
    assert parameters_untrusted(b"") == []


def test_whatever_passes_aiortc_reads_without_an_error_and_at_once() -> None:
    rng = random.Random(int(os.environ.get("TALLOW_SEED", "1")))
    passed = 0
    for _ in range(30_000):
        kind = rng.choice(sorted(LIFE_CHUNKS | {0, 3, 192}))
        body = bytearray(rng.choice([body for each, body in FINE if each == kind]))
        for _ in range(rng.randrange(4)):
            if body:
                body[rng.randrange(len(body))] = rng.choice((0, 1, 3, 4, 5, 255, rng.randrange(256)))
        if rng.random() < 0.2:
            body = body[: rng.randrange(len(body) + 1)]
        if rng.random() < 0.2:
            body += rng.randbytes(rng.randrange(12))
        try:
            check_chunk_untrusted(kind, bytes(body))
        except PeerProtocolError:
            continue
        passed += 1
        CHUNK_TYPES[kind](flags=0, body=b"" if kind in UNREAD_CHUNKS else bytes(body))
    assert passed > 5000


def test_one_malformed_chunk_spoils_its_packet_and_unknown_types_are_passed_over() -> None:
    data, pad = data_chunk(1, 1, 53, b"x"), chunk(0x84, bytes(8))
    spans = packet_chunks_untrusted(packet(1, data, pad, chunk(7, bytes(4))))
    assert [span.type for span in spans] == [0, 7]
    for hostile in (chunk(7), chunk(3, bytes(3)), chunk(0, length=3), chunk(0, length=40)):
        with pytest.raises(PeerProtocolError):
            packet_chunks_untrusted(packet(1, data, hostile))


def test_what_must_stand_alone_does_and_answers_are_counted() -> None:
    heartbeat = chunk(4, parameter(1, bytes(4)))
    assert len(packet_chunks_untrusted(packet(1, *[heartbeat] * MAX_LIFE_CHUNKS))) == MAX_LIFE_CHUNKS
    for bundle in (
        [chunk(1, INIT), heartbeat],
        [chunk(2, INIT + COOKIE), chunk(11)],
        [heartbeat, chunk(14)],
        [heartbeat] * (MAX_LIFE_CHUNKS + 1),
    ):
        with pytest.raises(PeerProtocolError):
            packet_chunks_untrusted(packet(1, *bundle))
