"""meeting.dns_message: exact questions are understood, and nothing the network sends does harm."""

from __future__ import annotations

import random

import pytest
from zeroconf import DNSIncoming, DNSOutgoing, DNSQuestion

from tallow_cli.meeting.dns_message import (
    MAX_QUESTIONS,
    TYPE_A,
    TYPE_AAAA,
    TYPE_ANY,
    TYPE_SRV,
    TYPE_TXT,
    Question,
    Service,
    answer,
    asks_for,
    questions_untrusted,
)

NAME, HOST = "4821._tallow._tcp.local.", "tallow-4821.local."
SERVICE = Service(NAME, HOST, 1234, ["192.168.1.7", "fd00::7"])
QUERY, RESPONSE = 0x0000, 0x8400
PTR = 12


def query(*questions: tuple[str, int], flags: int = QUERY) -> bytes:
    """As another implementation writes it, with compressed names."""
    message = DNSOutgoing(flags)
    for name, kind in questions:
        message.add_question(DNSQuestion(name, kind, 1))
    [packet] = message.packets()
    return packet


def test_the_questions_of_another_implementation_are_understood() -> None:
    packet = query((NAME, TYPE_SRV), (NAME.upper(), TYPE_TXT), (HOST, TYPE_A), (HOST, TYPE_AAAA))
    assert questions_untrusted(packet) == [
        Question(NAME, TYPE_SRV),
        Question(NAME, TYPE_TXT),
        Question(HOST, TYPE_A),
        Question(HOST, TYPE_AAAA),
    ]


def test_the_answer_is_understood_by_another_implementation() -> None:
    incoming = DNSIncoming(answer(SERVICE, 120))
    assert incoming.valid
    assert {(record.name, record.type, record.ttl) for record in incoming.answers()} == {
        (NAME, TYPE_SRV, 120),
        (NAME, TYPE_TXT, 120),
        (HOST, TYPE_A, 120),
        (HOST, TYPE_AAAA, 120),
    }
    [srv] = [record for record in incoming.answers() if record.type == TYPE_SRV]
    assert (srv.server, srv.port) == (HOST, 1234)


def test_only_the_very_name_is_asked_for() -> None:
    for kind in (TYPE_SRV, TYPE_TXT, TYPE_ANY):
        assert asks_for(Question(NAME, kind), SERVICE)
    for kind in (TYPE_A, TYPE_AAAA, TYPE_ANY):
        assert asks_for(Question(HOST, kind), SERVICE)
    others = ["482._tallow._tcp.local.", "4822._tallow._tcp.local.", "tallow-482.local.", "local.", ""]
    lists = ["_tallow._tcp.local.", "_services._dns-sd._udp.local.", "_tcp.local."]
    for name in others + lists:
        for kind in (PTR, TYPE_SRV, TYPE_A, TYPE_ANY):
            assert not asks_for(Question(name, kind), SERVICE)
    assert not asks_for(Question(NAME, PTR), SERVICE)


def test_what_is_not_a_query_has_no_questions() -> None:
    assert questions_untrusted(query((NAME, TYPE_SRV), flags=RESPONSE)) == []
    assert questions_untrusted(query((NAME, TYPE_SRV), flags=0x2800)) == [], "an update"
    assert questions_untrusted(b"") == []
    assert questions_untrusted(bytes(9_001)) == []
    assert questions_untrusted(query(*[(NAME, TYPE_SRV)] * (MAX_QUESTIONS + 1))) == []


HEADER = b"\0\0\0\0\0\1\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",  # a pointer to itself
        b"\x01a\xc0\x0c",  # and to the name it is in
        b"\xc0\xff",  # out of the message
        b"\xc0",
        b"\x3fshort",
        b"\x80abc\0",  # a kind of label there is not
        b"\x01a" * 200 + b"\0",
        b"\x04name",
    ],
)
def test_a_name_that_cannot_be_read_is_no_question(name: bytes) -> None:
    assert questions_untrusted(HEADER + name + b"\0\x21\0\1") == []


def test_no_bytes_raise() -> None:
    rng = random.Random(7)
    whole = query((NAME, TYPE_SRV), (HOST, TYPE_A))
    for _ in range(20_000):
        data = bytearray(whole if rng.random() < 0.7 else rng.randbytes(rng.randrange(80)))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        for question in questions_untrusted(bytes(data[: rng.randrange(len(data) + 1)])):
            asks_for(question, SERVICE)
