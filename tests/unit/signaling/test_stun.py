"""signaling.stun: what a Binding request is answered with, and what is not answered at all."""

from __future__ import annotations

import struct
import zlib
from random import Random

import pytest
from aioice import stun as aioice_stun

from signaling.stun import MAX_REQUEST_BYTES, MOST_LARGER, StunLimits, StunResponder, answer
from tests.support.entropy import SeededEntropy

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
# RFC 5769 section 2.1: a request with SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, MESSAGE-INTEGRITY, FINGERPRINT.
RFC_5769_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
# Sections 2.2 and 2.3: what stands in the responses' XOR-MAPPED-ADDRESS.
RFC_5769_MAPPED = [
    ("192.0.2.1", 32853, "002000080001a147e112a643"),
    ("2001:db8:1234:5678:11:2233:4455:6677", 32853, "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),
]


def request(attributes: bytes = b"", *, transaction: bytes = TRANSACTION, fingerprint: bool = False) -> bytes:
    size = len(attributes) + 8 * fingerprint
    message = struct.pack("!HHI", 1, size, 0x2112A442) + transaction + attributes
    if fingerprint:
        message += struct.pack("!HHI", 0x8028, 4, zlib.crc32(message) ^ 0x5354554E)
    return message


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


@pytest.mark.parametrize(("address", "port", "mapped"), RFC_5769_MAPPED)
def test_addresses_are_hidden_as_rfc_5769_shows(address: str, port: int, mapped: str) -> None:
    reply = answer(RFC_5769_REQUEST, address, port)
    assert reply is not None
    assert reply[:2] == b"\x01\x01"
    assert reply[8:20] == TRANSACTION
    assert bytes.fromhex(mapped) in reply


def test_the_request_of_rfc_5769_is_answered_with_a_fingerprint_that_another_stack_accepts() -> None:
    reply = answer(RFC_5769_REQUEST, "192.0.2.1", 32853)
    assert reply is not None
    message = aioice_stun.parse_message(reply)  # checks length and fingerprint
    assert message.message_class is aioice_stun.Class.RESPONSE
    assert message.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.1", 32853)
    assert "FINGERPRINT" in message.attributes


def test_a_bare_request_is_answered_without_a_fingerprint() -> None:
    reply = answer(request(), "198.51.100.7", 4711)
    assert reply is not None
    message = aioice_stun.parse_message(reply)
    assert message.attributes == {"XOR-MAPPED-ADDRESS": ("198.51.100.7", 4711)}


def test_an_ipv4_address_that_came_through_an_ipv6_socket_is_told_as_what_it_is() -> None:
    reply = answer(request(), "::ffff:198.51.100.7", 4711)
    assert reply == answer(request(), "198.51.100.7", 4711)


def test_an_attribute_that_must_be_understood_and_is_not_gets_420_and_its_number() -> None:
    assert answer(request(attribute(0x7FFE, b"")), "192.0.2.1", 1) is None, (
        "it would be too large for what was asked"
    )
    padded = request(attribute(0x0003, b"\0\0\0\6") + attribute(0x8022, b"x" * 40))
    reply = answer(padded, "192.0.2.1", 1)
    assert reply is not None
    message = aioice_stun.parse_message(reply)
    assert message.message_class is aioice_stun.Class.ERROR
    assert message.attributes["ERROR-CODE"] == (420, "Unknown Attribute")
    assert reply.endswith(attribute(0x000A, b"\0\3"))


@pytest.mark.parametrize("fingerprint", [False, True])
@pytest.mark.parametrize("padding", range(0, 61, 4))
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_no_answer_is_more_than_twice_its_request(address: str, padding: int, fingerprint: bool) -> None:
    asked = request(attribute(0x8022, b"x" * padding) if padding else b"", fingerprint=fingerprint)
    reply = answer(asked, address, 1)
    assert reply is None or len(reply) <= MOST_LARGER * len(asked)
    if address == "192.0.2.1" or padding:
        assert reply is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        request()[:-1],
        b"\x01\x01" + request()[2:],  # a response
        b"\x00\x11" + request()[2:],  # an indication
        b"\x00\x03" + request()[2:],  # an Allocate request
        request()[:4] + b"\0\0\0\0" + request()[8:],  # RFC 3489 knew no cookie
        request() + b"\0\0\0\0",  # longer than it says
        struct.pack("!HHI", 1, 4, 0x2112A442)
        + TRANSACTION
        + struct.pack("!HH", 0x8022, 8),  # an attribute beyond the end
        struct.pack("!HHI", 1, 2, 0x2112A442) + TRANSACTION + b"\0\0",
        RFC_5769_REQUEST[:-1] + b"\0",  # a false fingerprint
        request(
            attribute(0x8028, b"\0\0\0\0") + attribute(0x8022, b"")
        ),  # a fingerprint that is not the last
        request(attribute(0x8022, b"x" * (MAX_REQUEST_BYTES - 20))),
    ],
    ids=range(12),
)
def test_what_is_no_whole_binding_request_is_not_answered(data: bytes) -> None:
    assert answer(data, "192.0.2.1", 1) is None


def test_random_and_mutated_datagrams_never_raise_and_never_amplify() -> None:
    rng = Random(8489)
    for _ in range(5_000):
        data = bytearray(RFC_5769_REQUEST if rng.random() < 0.7 else rng.randbytes(rng.randrange(200)))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        reply = answer(bytes(data), "2001:db8::1", rng.randrange(65_536))
        assert reply is None or len(reply) <= MOST_LARGER * len(data)


def responder(**limits: int) -> StunResponder:
    return StunResponder(SeededEntropy("stun"), StunLimits(**limits))


def test_one_network_is_given_so_many_answers_a_second_and_others_theirs() -> None:
    server = responder(of_one_network=3)
    given = [server.receive(0.1 * n, request(), "192.0.2.1", 1) is not None for n in range(5)]
    assert given == [True, True, True, False, False]
    assert server.receive(0.5, request(), "192.0.2.2", 1) is not None
    assert server.receive(1.0, request(), "192.0.2.1", 1) is not None
    assert (server.answers, server.refused) == (5, 2)


def test_a_whole_block_of_addresses_is_given_no_more_than_a_block() -> None:
    server = responder(of_one_network=1)
    given = sum(server.receive(0.0, request(), f"192.0.2.{n}", 1) is not None for n in range(100))
    assert given == 8


def test_all_networks_together_are_bounded_in_answers_and_in_memory() -> None:
    server = responder(of_all=100, networks=10)
    given = sum(server.receive(0.0, request(), f"10.{n}.0.1", 1) is not None for n in range(250))
    assert given == 100
    assert len(server._answered_to) <= 10


def test_a_clock_that_stood_still_or_jumped_does_not_silence_it_for_long() -> None:
    server = responder(of_one_network=1)
    assert server.receive(1_000.0, request(), "192.0.2.1", 1) is not None
    assert server.receive(1_000.5, request(), "192.0.2.1", 1) is None
    assert server.receive(5_000.0, request(), "192.0.2.1", 1) is not None
