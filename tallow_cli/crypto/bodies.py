"""The bytes of the handshake's bodies. docs/spec/handshake.md is the normative description.

A body is a kind byte, a format byte, and a fixed list of fields for its kind, each a 16-bit big-endian length
and that many bytes; nothing may follow. What comes from the relay goes through the `…_untrusted` functions,
which raise PeerProtocolError (WrongCodeError for an abort that says so) and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from tallow_cli.crypto import kem, keys, pake
from tallow_cli.errors import (
    IncompatiblePeer,
    NoPathError,
    PeerCancelled,
    PeerProtocolError,
    TallowError,
    UnsupportedCrypto,
    WrongCodeError,
)

FORMAT = 1
NONCE_BYTES = 32
TAG_BYTES = 16  # AES-GCM
MAX_DESCRIPTION_BYTES = 10_000  # 32 candidates take about 6,000
MAX_BODY_BYTES = 12_000  # what the signaling server relays; a reply adds at most 1,900 to its description
MAX_VERSION_CHARS = 64
MAX_PROTOCOLS = 16
MAX_CAPABILITIES = 16
WRONG_CODE_TYPED = (
    "Someone tried to receive with a wrong code, so nothing was sent. "
    "That code is used up: the receiver needs a fresh one."
)
_VERSION = re.compile(rf"[0-9A-Za-z.+\-_]{{1,{MAX_VERSION_CHARS}}}")
_CAPABILITY = re.compile(r"[a-z][a-z0-9\-]{0,31}")


class Kind(IntEnum):
    HELLO = 1
    REPLY = 2
    CONFIRM = 3
    ABORT = 255


class AbortReason(IntEnum):
    """Why a side gave up. Nothing proves an abort: it ends an attempt, and never starts another with the
    code.
    """

    WRONG_CODE = 1
    PROTOCOL = 2
    VERSION = 3
    LOCAL = 4
    NO_PATH = 5  # no way through the network was found, or the host has no address to offer
    CANCELLED = 6  # its user stopped it


@dataclass(frozen=True, slots=True)
class Hello:
    suite: int
    share: bytes
    kem_public: bytes
    nonce: bytes
    version: str
    protocols: tuple[int, ...]  # transfer protocols the joiner speaks
    capabilities: frozenset[str]


@dataclass(frozen=True, slots=True)
class ReplyOpening:
    """The part of a reply that is sent in the clear and enters the transcript before any key exists."""

    share: bytes
    kem_ciphertext: bytes
    nonce: bytes
    version: str
    protocol: int  # the one the host chose
    capabilities: frozenset[str]


@dataclass(frozen=True, slots=True)
class Reply:
    opening: ReplyOpening
    opening_bytes: bytes
    tag: bytes
    sealed_description: bytes


@dataclass(frozen=True, slots=True)
class Confirm:
    tag: bytes
    sealed_description: bytes


def encode_hello(hello: Hello) -> bytes:
    return _encode(
        Kind.HELLO,
        bytes([hello.suite]),
        hello.share,
        hello.kem_public,
        hello.nonce,
        hello.version.encode("ascii"),
        bytes(hello.protocols),
        _encode_capabilities(hello.capabilities),
    )


def decode_hello_untrusted(body: bytes) -> Hello:
    suite, share, kem_public, nonce, version, protocols, capabilities = _fields_untrusted(body, Kind.HELLO, 7)
    if len(suite) != 1 or not 1 <= len(protocols) <= MAX_PROTOCOLS:
        raise PeerProtocolError("its hello is malformed")
    if suite[0] != pake.SUITE_SPAKE2_ED25519:
        raise IncompatiblePeer(
            f"the other side uses key exchange suite {suite[0]}, this side {pake.SUITE_SPAKE2_ED25519}"
        )
    return Hello(
        suite=suite[0],
        share=_sized(share, pake.SHARE_BYTES, "key exchange share"),
        kem_public=_sized(kem_public, kem.PUBLIC_KEY_BYTES, "ML-KEM public key"),
        nonce=_sized(nonce, NONCE_BYTES, "nonce"),
        version=_version_untrusted(version),
        protocols=tuple(protocols),
        capabilities=_capabilities_untrusted(capabilities),
    )


def encode_reply_opening(opening: ReplyOpening) -> bytes:
    return _encode(
        Kind.REPLY,
        opening.share,
        opening.kem_ciphertext,
        opening.nonce,
        opening.version.encode("ascii"),
        bytes([opening.protocol]),
        _encode_capabilities(opening.capabilities),
    )


def encode_reply(opening_bytes: bytes, tag: bytes, sealed_description: bytes) -> bytes:
    return opening_bytes + _field(tag) + _field(sealed_description)


def decode_reply_untrusted(body: bytes) -> Reply:
    share, ciphertext, nonce, version, protocol, capabilities, tag, sealed = _fields_untrusted(
        body, Kind.REPLY, 8
    )
    if len(protocol) != 1:
        raise PeerProtocolError("its reply is malformed")
    opening = ReplyOpening(
        share=_sized(share, pake.SHARE_BYTES, "key exchange share"),
        kem_ciphertext=_sized(ciphertext, kem.CIPHERTEXT_BYTES, "ML-KEM ciphertext"),
        nonce=_sized(nonce, NONCE_BYTES, "nonce"),
        version=_version_untrusted(version),
        protocol=protocol[0],
        capabilities=_capabilities_untrusted(capabilities),
    )
    opening_bytes = body[: len(body) - len(tag) - len(sealed) - 4]
    return Reply(
        opening, opening_bytes, _sized(tag, keys.MAC_BYTES, "confirmation"), _sealed_untrusted(sealed)
    )


def encode_confirm(tag: bytes, sealed_description: bytes) -> bytes:
    return _encode(Kind.CONFIRM, tag, sealed_description)


def decode_confirm_untrusted(body: bytes) -> Confirm:
    tag, sealed = _fields_untrusted(body, Kind.CONFIRM, 2)
    return Confirm(_sized(tag, keys.MAC_BYTES, "confirmation"), _sealed_untrusted(sealed))


def abort_body(error: TallowError) -> bytes:
    """What to send to the other side when a handshake call raised `error`, so that it is loud there too."""
    reason = AbortReason.LOCAL
    if isinstance(error, WrongCodeError):
        reason = AbortReason.WRONG_CODE
    elif isinstance(error, (IncompatiblePeer, UnsupportedCrypto)):
        reason = AbortReason.VERSION
    elif isinstance(error, NoPathError):
        reason = AbortReason.NO_PATH
    elif isinstance(error, PeerCancelled):
        reason = AbortReason.CANCELLED
    elif isinstance(error, PeerProtocolError):
        reason = AbortReason.PROTOCOL
    return _encode(Kind.ABORT, bytes([reason]))


def check_version(version: str) -> str:
    """`version` if it may travel. Raises ValueError: it is our own."""
    if not _VERSION.fullmatch(version):
        raise ValueError("not a version")
    return version


def check_capabilities(capabilities: frozenset[str]) -> frozenset[str]:
    """`capabilities` if they may travel. Raises ValueError: they are our own."""
    if len(capabilities) > MAX_CAPABILITIES or not all(map(_CAPABILITY.fullmatch, capabilities)):
        raise ValueError("not capabilities")
    return capabilities


def _encode(kind: Kind, *values: bytes) -> bytes:
    return bytes([kind, FORMAT]) + b"".join(map(_field, values))


def _field(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _fields_untrusted(body: bytes, kind: Kind, count: int) -> list[bytes]:
    """The `count` fields of a body that must be of `kind`."""
    if not 2 <= len(body) <= MAX_BODY_BYTES:
        raise PeerProtocolError(f"a handshake body of {len(body)} bytes")
    if body[0] == Kind.ABORT:
        _raise_abort(body, at=kind)
    if body[1] != FORMAT:
        raise IncompatiblePeer(f"the other side speaks handshake format {body[1]}, this side {FORMAT}")
    if body[0] != kind:
        raise PeerProtocolError(f"a handshake body of kind {body[0]} where a {kind.name.lower()} was due")
    fields = []
    offset = 2
    for _ in range(count):
        end = offset + 2 + int.from_bytes(body[offset : offset + 2], "big")
        if offset + 2 > len(body) or end > len(body):
            raise PeerProtocolError("a handshake body is cut short")
        fields.append(body[offset + 2 : end])
        offset = end
    if offset != len(body):
        raise PeerProtocolError("a handshake body is followed by more bytes")
    return fields


def abort_reason_untrusted(body: bytes) -> AbortReason | None:
    """Why the other side gave up; None for a reason this side does not know, or a body that is no abort."""
    # Kind, format, length 1, reason. Any other shape is an abort too.
    if len(body) != 5 or body[0] != Kind.ABORT or body[4] not in set(AbortReason):
        return None
    return AbortReason(body[4])


def _raise_abort(body: bytes, at: Kind) -> None:
    """Raise what an abort means to the side that was waiting for a body of kind `at`."""
    reason = abort_reason_untrusted(body)
    if reason == AbortReason.WRONG_CODE:
        raise WrongCodeError(WRONG_CODE_TYPED if at is Kind.CONFIRM else "")
    if reason == AbortReason.VERSION:
        raise IncompatiblePeer("the other side said so")
    if reason == AbortReason.NO_PATH and at is Kind.REPLY:
        # To the host it proves nothing: whoever came may have used the code up.
        raise NoPathError("the other side has no address to offer")
    raise PeerProtocolError("it gave up during the handshake")


def _encode_capabilities(capabilities: frozenset[str]) -> bytes:
    return ",".join(sorted(capabilities)).encode("ascii")


def _capabilities_untrusted(raw: bytes) -> frozenset[str]:
    """Names this side does not know are kept: a newer peer may have some."""
    if not raw:
        return frozenset()
    names = raw.decode("ascii", "replace").split(",")
    if (
        len(names) > MAX_CAPABILITIES
        or names != sorted(set(names))
        or not all(map(_CAPABILITY.fullmatch, names))
    ):
        raise PeerProtocolError("its list of capabilities is malformed")
    return frozenset(names)


def _version_untrusted(raw: bytes) -> str:
    version = raw.decode("ascii", "replace")
    if not _VERSION.fullmatch(version):
        raise PeerProtocolError("its version is malformed")
    return version


def _sealed_untrusted(sealed: bytes) -> bytes:
    if not TAG_BYTES <= len(sealed) <= MAX_DESCRIPTION_BYTES + TAG_BYTES:
        raise PeerProtocolError(f"its sealed description has {len(sealed)} bytes")
    return sealed


def _sized(value: bytes, size: int, what: str) -> bytes:
    if len(value) != size:
        raise PeerProtocolError(f"its {what} has {len(value)} bytes instead of {size}")
    return value
