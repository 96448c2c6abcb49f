"""The handshake's bodies: what is encoded comes back, and anything else is one error."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tallow_cli.crypto import bodies, kem, keys, pake
from tallow_cli.crypto.bodies import AbortReason, Hello, ReplyOpening
from tallow_cli.errors import (
    IncompatiblePeer,
    NoPathError,
    PeerCancelled,
    PeerProtocolError,
    TallowError,
    UnsupportedCrypto,
    WrongCodeError,
)

HELLO = Hello(
    suite=pake.SUITE_SPAKE2_ED25519,
    share=bytes(pake.SHARE_BYTES),
    kem_public=bytes(kem.PUBLIC_KEY_BYTES),
    nonce=bytes(bodies.NONCE_BYTES),
    version="0.1.0",
    protocols=(1, 2),
    capabilities=frozenset({"turbo-1", "a"}),
)
OPENING = ReplyOpening(
    share=bytes(pake.SHARE_BYTES),
    kem_ciphertext=bytes(kem.CIPHERTEXT_BYTES),
    nonce=bytes(bodies.NONCE_BYTES),
    version="0.1.0+dev",
    protocol=1,
    capabilities=frozenset(),
)
TAG = bytes(range(keys.MAC_BYTES))
SEALED = b"s" * 500
REPLY = bodies.encode_reply(bodies.encode_reply_opening(OPENING), TAG, SEALED)
CONFIRM = bodies.encode_confirm(TAG, SEALED)


def test_a_body_comes_back_as_it_was() -> None:
    assert bodies.decode_hello_untrusted(bodies.encode_hello(HELLO)) == HELLO
    reply = bodies.decode_reply_untrusted(REPLY)
    assert (reply.opening, reply.tag, reply.sealed_description) == (OPENING, TAG, SEALED)
    assert reply.opening_bytes == bodies.encode_reply_opening(OPENING)
    confirm = bodies.decode_confirm_untrusted(CONFIRM)
    assert (confirm.tag, confirm.sealed_description) == (TAG, SEALED)


@pytest.mark.parametrize(
    ("body", "decode"),
    [
        (bodies.encode_hello(HELLO), bodies.decode_hello_untrusted),
        (REPLY, bodies.decode_reply_untrusted),
        (CONFIRM, bodies.decode_confirm_untrusted),
    ],
)
def test_cut_short_or_followed_by_more_it_is_refused(body: bytes, decode: Callable[[bytes], object]) -> None:
    rng = random.Random(1)
    for size in {0, 1, 2, 3, len(body) - 1, *(rng.randrange(len(body)) for _ in range(50))}:
        with pytest.raises(PeerProtocolError):
            decode(body[:size])
    with pytest.raises(PeerProtocolError):
        decode(body + b"\0")
    with pytest.raises(PeerProtocolError):
        decode(bytes(bodies.MAX_BODY_BYTES + 1))


@pytest.mark.parametrize(
    "change",
    [
        {"share": b"short"},
        {"nonce": b""},
        {"version": "1.0 beta"},
        {"protocols": ()},
        {"protocols": tuple(range(bodies.MAX_PROTOCOLS + 1))},
        {"capabilities": frozenset({"UPPER"})},
        {"capabilities": frozenset(f"c{index}" for index in range(bodies.MAX_CAPABILITIES + 1))},
    ],
)
def test_a_field_out_of_its_bounds_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(PeerProtocolError):
        bodies.decode_hello_untrusted(bodies.encode_hello(replace(HELLO, **change)))  # type: ignore[arg-type]


def test_another_suite_or_format_is_another_version_and_no_attack() -> None:
    with pytest.raises(IncompatiblePeer):
        bodies.decode_hello_untrusted(bodies.encode_hello(replace(HELLO, suite=9)))
    with pytest.raises(IncompatiblePeer):
        bodies.decode_confirm_untrusted(bytes([CONFIRM[0], 7]) + CONFIRM[2:])


@pytest.mark.parametrize(
    ("error", "reason", "heard"),
    [
        (WrongCodeError(), AbortReason.WRONG_CODE, WrongCodeError),
        (PeerProtocolError("x"), AbortReason.PROTOCOL, PeerProtocolError),
        (IncompatiblePeer("x"), AbortReason.VERSION, IncompatiblePeer),
        (UnsupportedCrypto("x"), AbortReason.VERSION, IncompatiblePeer),
        (NoPathError("x"), AbortReason.NO_PATH, PeerProtocolError),
        (PeerCancelled(), AbortReason.CANCELLED, PeerProtocolError),
    ],
)
def test_an_error_here_is_heard_there(
    error: TallowError, reason: AbortReason, heard: type[TallowError]
) -> None:
    body = bodies.abort_body(error)
    assert bodies.abort_reason_untrusted(body) is reason
    with pytest.raises(heard):
        bodies.decode_confirm_untrusted(body)


@pytest.mark.parametrize("body", [b"", b"\xff", b"\xff\x01\x00\x01\xfe", b"\x01\x01\x00\x01\x01"])
def test_an_abort_of_any_other_shape_has_no_reason(body: bytes) -> None:
    assert bodies.abort_reason_untrusted(body) is None


def test_our_own_words_are_checked_too() -> None:
    assert bodies.check_version("1.2.3") == "1.2.3"
    for version in ("", "1 2", "x" * (bodies.MAX_VERSION_CHARS + 1)):
        with pytest.raises(ValueError, match="version"):
            bodies.check_version(version)
    with pytest.raises(ValueError, match="capabilities"):
        bodies.check_capabilities(frozenset({"no spaces"}))
