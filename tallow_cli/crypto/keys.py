"""The key schedule of the handshake, and what a finished handshake leaves: `SessionKeys`.

HKDF with SHA-512 (RFC 5869). The root mixes the PAKE key and the ML-KEM secret under the transcript, so it is
known only to a side that knew the words *and* holds the KEM secret, and differs if one byte on the way did.
Every use has its own label, and every direction its own key, so no value made for one can be replayed as
another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from enum import Enum

from tallow_cli.crypto import wordlist
from tallow_cli.errors import PeerProtocolError

KEY_BYTES = 32  # AES-256, HMAC-SHA-256
MAC_BYTES = 32
FINGERPRINT_BYTES = 32  # SHA-256 of a DTLS certificate
_LABEL_PREFIX = b"tallow/1 "
_TOKEN_BYTES = 16  # 128 bits: 26 characters in base32
_MEET_AGAIN_SALT = b"tallow meet again 1"
_VERIFIER_WORDS = 4  # 41 bits: what two people can read to each other


class Role(Enum):
    """Who made the code (the host, who sends) and who typed it (the joiner, who receives)."""

    HOST = b"host"
    JOINER = b"joiner"

    @property
    def other(self) -> Role:
        return Role.JOINER if self is Role.HOST else Role.HOST


class Transcript:
    """A running SHA-512 over length-prefixed values, so that no two different histories hash alike."""

    def __init__(self, *values: bytes) -> None:
        self._hash = hashlib.sha512()
        for value in values:
            self.append(value)

    def append(self, value: bytes) -> None:
        self._hash.update(len(value).to_bytes(4, "big"))
        self._hash.update(value)

    def digest(self) -> bytes:
        """Of everything appended so far; 64 bytes."""
        return self._hash.digest()


class KeySchedule:
    """Derives keys from one root secret."""

    def __init__(self, pake_key: bytes, kem_secret: bytes, transcript_digest: bytes) -> None:
        # HKDF-Extract, RFC 5869 section 2.2. Both inputs have a fixed length, so their concatenation is
        # unambiguous.
        self._root = hmac.digest(transcript_digest, pake_key + kem_secret, "sha512")

    def derive(self, use: str, role: Role | None = None, context: bytes = b"") -> bytes:
        """HKDF-Expand for `use`, for what `role` sends where that matters, bound to the digest `context`."""
        return _expand(self._root, use + (f" {role.value.decode()}" if role else ""), context)

    def session_keys(self, role: Role, transcript_digest: bytes) -> SessionKeys:
        """The keys of the side that plays `role`, bound to the whole handshake."""

        def key(use: str, sender: Role | None = None) -> bytes:
            return self.derive(use, sender, transcript_digest)

        return SessionKeys(
            role=role,
            seal_key=key("packets", role),
            open_key=key("packets", role.other),
            link_key_own=key("link", role),
            link_key_peer=key("link", role.other),
            verifier=key("verifier"),
            resume_key=key("resume"),
        )


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """A room that only two sides know, and the password of their handshake there. Stands in the place of a `Code`."""

    nameplate: str = field(repr=False)  # a token (docs/spec/signaling.md)
    announced_as: str = field(repr=False)  # a token, too: what is asked for on the network opens no room
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """What the two sides share after a handshake. Never printed: every secret is kept out of `repr`."""

    role: Role
    seal_key: bytes = field(repr=False)  # AES-256 for packets this side sends
    open_key: bytes = field(repr=False)  # … and for those it receives
    link_key_own: bytes = field(repr=False)
    link_key_peer: bytes = field(repr=False)
    verifier: bytes = field(repr=False)  # equal on both sides; safe to show
    resume_key: bytes = field(repr=False)  # equal on both sides

    def link_confirmation(
        self, role: Role, own_fingerprint: bytes | str, peer_fingerprint: bytes | str
    ) -> bytes:
        """The first frame to send after DTLS: proof that this very connection ends at the side that knows the
        code.

        `role` is this side's; fingerprints are SHA-256, 32 bytes or `AB:CD:…` text. Raises ValueError for a
        role that is not this side's or a text that is no fingerprint.
        """
        self._check_role(role)
        return _link_mac(self.link_key_own, role, own_fingerprint, peer_fingerprint)

    def verify_link_confirmation(
        self, role: Role, own_fingerprint: bytes | str, peer_fingerprint: bytes | str, received: bytes
    ) -> None:
        """Check the first frame of the other side, in constant time; parse nothing else of theirs before.

        `role` and `own_fingerprint` are this side's. Raises PeerProtocolError: close the connection.
        """
        self._check_role(role)
        expected = _link_mac(self.link_key_peer, role.other, peer_fingerprint, own_fingerprint)
        if not hmac.compare_digest(expected, received):
            raise PeerProtocolError("the connection does not end at the machine that knows the code")

    def rendezvous(self) -> Rendezvous:
        """Where these two sides, and nobody else, meet again if they lose each other. Equal on both sides.

        The keys of that meeting come from a handshake of its own, so they are fresh each time.
        """
        root = hmac.digest(_MEET_AGAIN_SALT, self.resume_key, "sha512")  # HKDF-Extract
        room, name = (
            base64.b32encode(_expand(root, use, b"")[:_TOKEN_BYTES]).decode("ascii").rstrip("=").lower()
            for use in ("reconnect room", "reconnect name")
        )
        return Rendezvous(room, name, _expand(root, "reconnect secret", b""))

    def verifier_words(self) -> tuple[str, ...]:
        """Four words, equal on both sides, for two people to compare: that excludes even a lucky guess."""
        vocabulary = wordlist.words()
        number = int.from_bytes(self.verifier, "big")
        chosen = []
        for _ in range(_VERIFIER_WORDS):
            number, index = divmod(number, len(vocabulary))
            chosen.append(vocabulary[index])
        return tuple(chosen)

    def _check_role(self, role: Role) -> None:
        if role is not self.role:
            raise ValueError(f"these are the {self.role.name.lower()}'s keys")


def _expand(root: bytes, use: str, context: bytes) -> bytes:
    """HKDF-Expand under the label of `use`."""
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    label = _LABEL_PREFIX + use.encode("ascii")
    info = bytes([len(label)]) + label + context
    return HKDFExpand(algorithm=SHA512(), length=KEY_BYTES, info=info).derive(root)


def _link_mac(key: bytes, role: Role, own: bytes | str, peer: bytes | str) -> bytes:
    values = (role.value, _fingerprint_bytes(own), _fingerprint_bytes(peer))
    return hmac.digest(key, b"".join(len(value).to_bytes(4, "big") + value for value in values), "sha256")


def _fingerprint_bytes(fingerprint: bytes | str) -> bytes:
    """The 32 bytes of a fingerprint in either form."""
    raw = bytes.fromhex(fingerprint.replace(":", "")) if isinstance(fingerprint, str) else fingerprint
    if len(raw) != FINGERPRINT_BYTES:
        raise ValueError(f"a SHA-256 fingerprint has {FINGERPRINT_BYTES} bytes, not {len(raw)}")
    return raw
