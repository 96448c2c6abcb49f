"""Writes tests/vectors/handshake/*.json. Run it only when the protocol changes: `python -m
tests.vectors.make_handshake`.

The ML-KEM ciphertexts are fresh at every run, as OpenSSL makes them from its own randomness; everything else
follows from the seeds.
"""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path

from tallow_cli.crypto import bodies, kem
from tallow_cli.crypto.codes import parse_code
from tallow_cli.crypto.handshake import CLEAR_PAYLOAD, HandshakeResult, HostHandshake, JoinerHandshake
from tallow_cli.errors import TallowError
from tests.support.entropy import SeededEntropy

FOLDER = Path(__file__).parent / "handshake"
DRAWN_BYTES = 64 + 64 + bodies.NONCE_BYTES  # of entropy: SPAKE2 scalar, ML-KEM seed (joiner only), nonce

AGREEMENTS = {
    "three-words": ("4821-acorn-blend-crisp", [], [], [1], [1]),
    "eight-words-and-yo-yo": ("999999999 Yo-Yo acid_acorn acre acts afar affix aged", [], [], [1], [1]),
    "both-want-clear-payload": ("7-zoom-zone-zippy", [CLEAR_PAYLOAD], [CLEAR_PAYLOAD], [1], [1]),
    "one-wants-clear-payload": ("7-zoom-zone-zippy", [CLEAR_PAYLOAD], ["unknown-to-us"], [1], [1]),
    "highest-common-protocol": ("1000-wager-walk-wavy", [], [], [1, 2, 4], [1, 2, 3]),
}


class Fixed:
    """Entropy with the given bytes, and no more."""

    def __init__(self, drawn: bytes) -> None:
        self._left = drawn

    def __call__(self, size: int) -> bytes:
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def agreement(name: str) -> dict[str, object]:
    """One handshake that succeeds, with everything needed to replay it."""
    text, host_wants, joiner_wants, host_speaks, joiner_speaks = AGREEMENTS[name]
    code = parse_code(text)
    host_entropy, joiner_entropy = (SeededEntropy(f"{name} {who}")(DRAWN_BYTES) for who in ("host", "joiner"))
    joiner = JoinerHandshake(
        code,
        version="0.1.0",
        entropy=Fixed(joiner_entropy),
        capabilities=frozenset(joiner_wants),
        protocols=tuple(joiner_speaks),
    )
    host = HostHandshake(
        code,
        version="0.2.0-rc.1+build",
        entropy=Fixed(host_entropy),
        capabilities=frozenset(host_wants),
        protocols=tuple(host_speaks),
    )
    hello = joiner.hello()
    drawn = kem.encapsulate(bodies.decode_hello_untrusted(hello).kem_public)
    original, kem.encapsulate = kem.encapsulate, lambda public: drawn
    reply = host.receive_hello(hello, b"description of the host")
    kem.encapsulate = original
    confirm, at_joiner = joiner.receive_reply(reply, b"description of the joiner")
    at_host = host.receive_confirm(confirm)
    return {
        "code": text,
        "secret": code.secret.decode(),
        "host": side(host_entropy, "0.2.0-rc.1+build", host_wants, host_speaks, b"description of the host"),
        "joiner": side(joiner_entropy, "0.1.0", joiner_wants, joiner_speaks, b"description of the joiner"),
        "kem_secret": drawn[0].hex(),
        "kem_ciphertext": drawn[1].hex(),
        "hello": hello.hex(),
        "reply": reply.hex(),
        "confirm": confirm.hex(),
        "result": result(at_host, at_joiner),
    }


def side(
    entropy: bytes, version: str, wants: list[str], speaks: list[int], description: bytes
) -> dict[str, object]:
    return {
        "entropy": entropy.hex(),
        "version": version,
        "capabilities": wants,
        "protocols": speaks,
        "description": description.hex(),
    }


def result(at_host: HandshakeResult, at_joiner: HandshakeResult) -> dict[str, object]:
    keys = at_host.keys
    fingerprints = bytes(range(32)), bytes(range(32, 64))
    return {
        "protocol": at_host.protocol,
        "clear_payload": at_host.clear_payload,
        "packets_key_host": keys.seal_key.hex(),
        "packets_key_joiner": keys.open_key.hex(),
        "resume_key": keys.resume_key.hex(),
        "verifier": keys.verifier.hex(),
        "verifier_words": list(keys.verifier_words()),
        "fingerprint_host": fingerprints[0].hex(),
        "fingerprint_joiner": fingerprints[1].hex(),
        "link_confirmation_host": keys.link_confirmation(keys.role, *fingerprints).hex(),
        "link_confirmation_joiner": at_joiner.keys.link_confirmation(
            at_joiner.keys.role, *reversed(fingerprints)
        ).hex(),
    }


def refusals(base: dict[str, object]) -> list[dict[str, str]]:
    """Bodies that must be refused where the right one of `base` was due, each wrong in one way."""
    hello, reply, confirm = (bytes.fromhex(str(base[kind])) for kind in ("hello", "reply", "confirm"))
    neutral = (1).to_bytes(32, "little")
    cases: list[tuple[str, str, bytes]] = [
        ("empty body", "hello", b""),
        ("a kind byte alone", "hello", hello[:1]),
        ("reply where a hello is due", "hello", reply),
        ("confirm where a hello is due", "hello", confirm),
        ("format 2", "hello", hello[:1] + b"\x02" + hello[2:]),
        ("suite 2", "hello", replaced(hello, 0, b"\x02")),
        ("no suite", "hello", replaced(hello, 0, b"")),
        ("share for the host's role", "hello", replaced(hello, 1, b"B" + fields(hello)[1][1:])),
        ("share is the neutral element", "hello", replaced(hello, 1, b"A" + neutral)),
        (
            "share is the neutral element with its sign bit",
            "hello",
            replaced(hello, 1, b"A" + neutral[:31] + b"\x80"),
        ),
        (
            "share is the neutral element as q + 1",
            "hello",
            replaced(hello, 1, b"A" + (2**255 - 18).to_bytes(32, "little")),
        ),
        ("share of order 2", "hello", replaced(hello, 1, b"A" + (2**255 - 20).to_bytes(32, "little"))),
        ("share of order 4", "hello", replaced(hello, 1, b"A" + bytes(32))),
        ("share with a trailing byte", "hello", replaced(hello, 1, fields(hello)[1] + b"\x00")),
        ("share one byte short", "hello", replaced(hello, 1, fields(hello)[1][:-1])),
        ("ML-KEM key with a coefficient out of range", "hello", replaced(hello, 2, b"\xff" * 1184)),
        ("ML-KEM key one byte short", "hello", replaced(hello, 2, fields(hello)[2][:-1])),
        ("nonce one byte short", "hello", replaced(hello, 3, fields(hello)[3][:-1])),
        ("empty version", "hello", replaced(hello, 4, b"")),
        ("escape sequence in the version", "hello", replaced(hello, 4, b"\x1b[31m")),
        ("version of 65 characters", "hello", replaced(hello, 4, b"1" * 65)),
        ("no protocols", "hello", replaced(hello, 5, b"")),
        ("17 protocols", "hello", replaced(hello, 5, bytes(range(1, 18)))),
        ("no common protocol", "hello", replaced(hello, 5, b"\xc8")),
        ("capabilities out of order", "hello", replaced(hello, 6, b"b,a")),
        ("a capability twice", "hello", replaced(hello, 6, b"a,a")),
        ("a capability in upper case", "hello", replaced(hello, 6, b"A")),
        ("cut inside a length", "hello", hello[:-1]),
        ("cut between two fields", "hello", hello[:-2]),
        ("a byte after the last field", "hello", hello + b"\x00"),
        ("a field after the last field", "hello", hello + b"\x00\x00"),
        ("12,001 bytes", "hello", hello + bytes(12_001 - len(hello))),
        ("abort", "hello", b"\xff\x01\x00\x01\x02"),
        ("hello reflected", "reply", hello),
        ("joiner's share reflected", "reply", replaced(reply, 0, fields(hello)[1])),
        ("joiner's point reflected as the host's", "reply", replaced(reply, 0, b"B" + fields(hello)[1][1:])),
        ("another nonce", "reply", replaced(reply, 2, bytes(32))),
        ("ML-KEM ciphertext with one bit changed", "reply", flipped(reply, 1)),
        ("another version", "reply", replaced(reply, 3, b"0.2.0")),
        ("another protocol", "reply", replaced(reply, 4, b"\x02")),
        ("a capability added", "reply", replaced(reply, 5, b"clear-payload")),
        ("tag with one bit changed", "reply", flipped(reply, 6)),
        ("sealed description with one bit changed", "reply", flipped(reply, 7)),
        ("sealed description empty", "reply", replaced(reply, 7, b"")),
        ("abort: wrong code", "reply", b"\xff\x01\x00\x01\x01"),
        ("abort: version", "reply", b"\xff\x01\x00\x01\x03"),
        ("abort of a format to come", "reply", b"\xff\x02\x00\x01\x63"),
        ("tag with one bit changed", "confirm", flipped(confirm, 0)),
        ("sealed description with one bit changed", "confirm", flipped(confirm, 1)),
        ("the host's own tag and description", "confirm", bodies.encode_confirm(*fields(reply)[-2:])),
        ("the reply reflected", "confirm", reply),
        ("abort: wrong code", "confirm", b"\xff\x01\x00\x01\x01"),
    ]
    return [
        {"name": name, "at": at, "body": body.hex(), "error": refused(base, at, body)}
        for name, at, body in cases
    ]


def refused(base: dict[str, object], at: str, body: bytes) -> str:
    """The class of the error that `body` meets."""
    try:
        replay(base, {at: body})
    except TallowError as error:
        return type(error).__name__
    raise SystemExit(f"{at}: {body.hex()[:40]} was taken")


def replay(
    base: dict[str, object], instead: dict[str, bytes]
) -> tuple[HandshakeResult, HandshakeResult, list[bytes]]:
    """Run the handshake `base` again, with the bodies in `instead` in the place of their kind."""
    code = parse_code(str(base["code"]))
    made = []
    for maker, who in ((HostHandshake, "host"), (JoinerHandshake, "joiner")):
        told = base[who]
        assert isinstance(told, dict)
        made.append(
            maker(
                code,
                version=told["version"],
                entropy=Fixed(bytes.fromhex(told["entropy"])),
                capabilities=frozenset(told["capabilities"]),
                protocols=tuple(told["protocols"]),
            )
        )
    host, joiner = made
    assert isinstance(host, HostHandshake)
    assert isinstance(joiner, JoinerHandshake)
    drawn = bytes.fromhex(str(base["kem_secret"])), bytes.fromhex(str(base["kem_ciphertext"]))
    original, kem.encapsulate = kem.encapsulate, lambda public: (original(public), drawn)[1]
    try:
        hello = joiner.hello()
        reply = host.receive_hello(instead.get("hello", hello), b"description of the host")
        confirm, at_joiner = joiner.receive_reply(instead.get("reply", reply), b"description of the joiner")
        at_host = host.receive_confirm(instead.get("confirm", confirm))
    finally:
        kem.encapsulate = original
    return at_host, at_joiner, [hello, reply, confirm]


def fields(body: bytes) -> list[bytes]:
    found, offset = [], 2
    while offset < len(body):
        size = int.from_bytes(body[offset : offset + 2], "big")
        found.append(body[offset + 2 : offset + 2 + size])
        offset += 2 + size
    return found


def replaced(body: bytes, index: int, value: bytes) -> bytes:
    parts = fields(body)
    parts[index] = value
    return body[:2] + b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def flipped(body: bytes, index: int) -> bytes:
    value = bytearray(fields(body)[index])
    value[len(value) // 2] ^= 0x10
    return replaced(body, index, bytes(value))


def meeting_again(resume_key: bytes) -> dict[str, str]:
    """Where two sides that share this key meet again; RFC 5869 step by step, with nothing but HMAC."""
    root = hmac.digest(b"tallow meet again 1", resume_key, "sha512")

    def derived(use: str) -> bytes:
        label = b"tallow/1 " + use.encode()
        return hmac.digest(root, bytes([len(label)]) + label + b"\x01", "sha512")[:32]

    def token(use: str) -> str:
        return base64.b32encode(derived(use)[:16]).decode().rstrip("=").lower()

    return {
        "resume_key": resume_key.hex(),
        "nameplate": token("reconnect room"),
        "announced_name": token("reconnect name"),
        "password": derived("reconnect secret").hex(),
    }


def write_meeting_again() -> None:
    keys = [bytes(32), bytes(range(32)), SeededEntropy("meeting again")(32)]
    listed = [meeting_again(key) for key in keys]
    (FOLDER / "meeting-again.json").write_text(json.dumps(listed, indent=1) + "\n")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    write_meeting_again()
    for name in AGREEMENTS:
        base = agreement(name)
        (FOLDER / f"{name}.json").write_text(json.dumps(base, indent=1) + "\n")
        if name == "three-words":
            listed = {"base": f"{name}.json", "refused": refusals(base)}
            (FOLDER / "refused.json").write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    main()
