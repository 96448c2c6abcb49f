from __future__ import annotations

import json

import pytest

from tallow_cli.crypto.bodies import MAX_DESCRIPTION_BYTES
from tallow_cli.errors import PeerProtocolError
from tallow_cli.link.description import (
    MAX_CANDIDATES,
    CandidateInfo,
    Description,
    decode_untrusted,
    encode,
    worth_trying,
)

FINGERPRINT = ":".join(f"{n:02X}" for n in range(32))


def candidate(**changes: object) -> CandidateInfo:
    fields: dict[str, object] = {
        "address": "192.0.2.7",
        "port": 40000,
        "type": "host",
        "priority": 2130706431,
        "foundation": "a1",
    }
    return CandidateInfo(**{**fields, **changes})  # type: ignore[arg-type]


def description(**changes: object) -> Description:
    fields: dict[str, object] = {
        "ufrag": "abcd",
        "pwd": "p" * 22,
        "fingerprint": FINGERPRINT,
        "dtls_role": "server",
        "sctp_port": 5000,
        "max_message_size": 262144,
        "candidates": (candidate(),),
    }
    return Description(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_description_survives_the_wire() -> None:
    full = description(
        candidates=(
            candidate(),
            candidate(address="2001:db8::1"),
            candidate(type="srflx", related_address="0.0.0.0", related_port=9),
        ),
        capabilities=("zero-checksum", "rwnd.16m"),
        engine="turbo",
        reliable=True,
        channels=4,
    )
    assert decode_untrusted(encode(full)) == full


def test_the_largest_legal_description_fits_the_limit() -> None:
    widest = candidate(
        address="2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        port=65535,
        foundation="f" * 32,
        related_address="2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        related_port=65535,
    )
    encoded = encode(description(candidates=(widest,) * MAX_CANDIDATES))
    assert len(encoded) < MAX_DESCRIPTION_BYTES
    assert len(decode_untrusted(encoded).candidates) == MAX_CANDIDATES


@pytest.mark.parametrize(
    "changes",
    [
        {"ufrag": "abc"},
        {"ufrag": "abcd\r\n"},
        {"pwd": "p" * 21},
        {"pwd": "p" * 257},
        {"fingerprint": FINGERPRINT.lower()},
        {"fingerprint": FINGERPRINT[:-3]},
        {"fingerprint": ""},
        {"sctp_port": 0},
        {"sctp_port": 65536},
        {"max_message_size": 0},
        {"max_message_size": 1 << 40},
        {"channels": 1},
        {"channels": 5},
        {"engine": "\x1b[31m"},
        {"capabilities": ("UPPER",)},
        {"capabilities": ("a",) * 33},
        {"candidates": (candidate(),) * (MAX_CANDIDATES + 1)},
        {"version": 2},
    ],
)
def test_a_field_out_of_range_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(PeerProtocolError):
        decode_untrusted(encode(description(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "evil.example"},
        {"address": "2d9c.local"},
        {"address": "224.0.0.251"},
        {"address": "ff02::1"},
        {"address": "0.0.0.0"},
        {"address": "::"},
        {"address": "255.255.255.255"},
        {"address": "fe80::1%eth0"},
        {"address": "127.1"},
        {"address": ""},
        {"port": 0},
        {"port": 65536},
        {"priority": 0},
        {"priority": 1 << 31},
        {"foundation": ""},
        {"foundation": "a b"},
        {"related_address": "name.example"},
        {"related_port": -1},
    ],
)
def test_a_candidate_that_cannot_be_one_machine_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(PeerProtocolError):
        decode_untrusted(encode(description(candidates=(candidate(**changes),))))


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{",
        b"[" * 5000,
        json.dumps({"ufrag": "abcd"}).encode(),
        encode(description())[:-1] + b',"extra":1}',
        encode(description()).replace(b'"server"', b'"actpass"'),
        encode(description()).replace(b"5000", b'"5000"'),
        encode(description()).replace(b"5000", b"5000.5"),
        encode(description()).replace(b'"host"', b'"tcp"'),
        b" " * (MAX_DESCRIPTION_BYTES + 1),
    ],
)
def test_anything_that_is_not_a_description_is_refused(encoded: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        decode_untrusted(encoded)


def test_a_loopback_address_of_the_peers_is_tried_only_where_there_is_no_other() -> None:
    def at(*addresses: str) -> tuple[CandidateInfo, ...]:
        return tuple(CandidateInfo(each, 9, "host", 1, "a") for each in addresses)

    theirs = at("192.0.2.1", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "2001:db8::1")
    assert worth_trying(theirs, at("192.0.2.7")) == at("192.0.2.1", "2001:db8::1")
    assert worth_trying(theirs, at("127.0.0.1", "::1")) == at(
        "192.0.2.1", "127.0.0.1", "127.9.9.9", "::1", "2001:db8::1"
    )
