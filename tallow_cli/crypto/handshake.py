"""The handshake: three bodies over a relay that is not trusted, after which both sides know that the other
knew the code, share `SessionKeys`, and hold each other's session description. docs/spec/handshake.md is
normative.

    hello    J -> H   PAKE share, ML-KEM public key, nonce, versions, capabilities
    reply    H -> J   PAKE share, ML-KEM ciphertext, nonce, versions, capabilities,
                      tag_H, sealed description_H
    confirm  J -> H   tag_J, sealed description_J

The transcript takes in every byte as it was sent. Keys come from PAKE key and KEM secret together under its
hash, so a relay that changes, drops, repeats or mixes anything makes the tags fail. It can try one guess of
the words: the host's code is spent at the first hello, whatever comes of it, and that is enforced here and
not left to the server.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tallow_cli.crypto import bodies, kem, pake, seal
from tallow_cli.crypto.bodies import Confirm, Hello, Reply, ReplyOpening, abort_body
from tallow_cli.crypto.keys import KeySchedule, Role, SessionKeys, Transcript
from tallow_cli.errors import IncompatiblePeer, PeerProtocolError, WrongCodeError

__all__ = ["CLEAR_PAYLOAD", "RECONNECT", "HandshakeResult", "HostHandshake", "JoinerHandshake", "abort_body"]

TRANSFER_PROTOCOLS = (1,)  # what comes after the handshake; the host takes the highest both speak
CLEAR_PAYLOAD = "clear-payload"  # `--no-encrypt`: takes effect only if both sides name it
RECONNECT = "reconnect"  # looks for another connection if one is lost: only where both do
_PROTOCOL_NAME = b"tallow handshake 1"

Entropy = Callable[[int], bytes]


class Known(Protocol):
    """What both sides know beforehand: a `Code`, or a `Rendezvous` of two that have met before."""

    @property
    def nameplate(self) -> str: ...

    @property
    def secret(self) -> bytes:
        """The password."""
        ...


_NO_CAPABILITIES: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HandshakeResult:
    """What one side holds after a handshake that succeeded."""

    peer_description: bytes = field(repr=False)  # holds the peer's ICE password
    peer_version: str  # untrusted text, though only `[0-9A-Za-z.+_-]`
    keys: SessionKeys
    protocol: int  # the transfer protocol both speak
    peer_capabilities: frozenset[str]
    clear_payload: bool  # both asked that payload be left to DTLS alone

    def packet_sealer(self) -> seal.PacketSeal:
        """For what this side sends: a PacketSealer, or its clear twin if both sides asked for it."""
        return seal.ClearSealer() if self.clear_payload else seal.PacketSealer(self.keys.seal_key)

    def packet_opener(self) -> seal.PacketOpen:
        return seal.ClearOpener() if self.clear_payload else seal.PacketOpener(self.keys.open_key)


class _Handshake:
    """What both sides bring to a handshake."""

    def __init__(
        self,
        known: Known,
        *,
        version: str,
        entropy: Entropy,
        capabilities: frozenset[str] = _NO_CAPABILITIES,
        protocols: tuple[int, ...] = TRANSFER_PROTOCOLS,
    ) -> None:
        self._known = known
        self._version = bodies.check_version(version)
        self._capabilities = bodies.check_capabilities(capabilities)
        self._protocols = protocols
        self._entropy = entropy


@dataclass(frozen=True, slots=True)
class _Replied:
    """What the host keeps between its reply and the confirmation."""

    hello: Hello
    protocol: int
    schedule: KeySchedule
    transcript: Transcript


class HostHandshake(_Handshake):
    """The side that made the code. One object is one code is one guess."""

    _spent = False
    _replied: _Replied | None = None

    @property
    def spent(self) -> bool:
        """Whether someone has had the one guess this code allows. Never offer a spent code again."""
        return self._spent

    def receive_hello(self, body: bytes, description: bytes) -> bytes:
        """The reply to a hello; the code is spent from this call on, also when it raises.

        `description` is this side's, sealed into the reply. Raises PeerProtocolError, WrongCodeError (the
        other side said so), UnsupportedCrypto; then send `abort_body(error)`.
        """
        self._replied = None
        if self._spent:
            raise PeerProtocolError("a second hello for one code")
        self._spent = True
        hello = bodies.decode_hello_untrusted(body)
        protocol = _choose_protocol(self._protocols, hello.protocols)
        exchange = _exchange(pake.Side.HOST, self._known, self._entropy)
        pake_key = exchange.finish(hello.share)
        kem_secret, kem_ciphertext = kem.encapsulate(hello.kem_public)
        opening_bytes = bodies.encode_reply_opening(
            ReplyOpening(
                share=exchange.share,
                kem_ciphertext=kem_ciphertext,
                nonce=self._entropy(bodies.NONCE_BYTES),
                version=self._version,
                protocol=protocol,
                capabilities=self._capabilities,
            )
        )
        transcript = _transcript(self._known, body, opening_bytes)
        schedule = KeySchedule(pake_key, kem_secret, transcript.digest())
        tag, sealed = _prove_and_seal(schedule, Role.HOST, transcript.digest(), description)
        reply = bodies.encode_reply(opening_bytes, tag, sealed)
        transcript.append(reply)
        self._replied = _Replied(hello, protocol, schedule, transcript)
        return reply

    def receive_confirm(self, body: bytes) -> HandshakeResult:
        """The handshake's result, if the other side proves that it knows the code.

        Raises WrongCodeError (it does not, or says that we do not), PeerProtocolError.
        """
        replied, self._replied = self._replied, None
        if replied is None:
            raise PeerProtocolError("a confirmation out of turn")
        confirm = bodies.decode_confirm_untrusted(body)
        description = _check_and_open(replied.schedule, Role.JOINER, replied.transcript.digest(), confirm)
        replied.transcript.append(body)
        return HandshakeResult(
            peer_description=description,
            peer_version=replied.hello.version,
            keys=replied.schedule.session_keys(Role.HOST, replied.transcript.digest()),
            protocol=replied.protocol,
            peer_capabilities=replied.hello.capabilities,
            clear_payload=_both_want_clear(self._capabilities, replied.hello.capabilities),
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the joiner keeps between its hello and the reply."""

    exchange: pake.Exchange
    kem_key: kem.KemKey
    body: bytes


class JoinerHandshake(_Handshake):
    """The side that typed the code. One object is one attempt."""

    _started = False
    _asked: _Asked | None = None

    def hello(self) -> bytes:
        """The first body. Call once. Raises UnsupportedCrypto."""
        if self._started:
            raise RuntimeError("one hello per handshake")
        self._started = True
        exchange = _exchange(pake.Side.JOINER, self._known, self._entropy)
        kem_key = kem.KemKey(self._entropy)
        body = bodies.encode_hello(
            Hello(
                suite=pake.SUITE_SPAKE2_ED25519,
                share=exchange.share,
                kem_public=kem_key.public,
                nonce=self._entropy(bodies.NONCE_BYTES),
                version=self._version,
                protocols=self._protocols,
                capabilities=self._capabilities,
            )
        )
        self._asked = _Asked(exchange, kem_key, body)
        return body

    def receive_reply(self, body: bytes, description: bytes) -> tuple[bytes, HandshakeResult]:
        """The confirmation to send, and the result: the host has proved that it knows the code.

        `description` is this side's, sealed into the confirmation. Raises WrongCodeError, PeerProtocolError;
        then send `abort_body(error)` so that the host hears of it at once.
        """
        asked, self._asked = self._asked, None
        if asked is None:
            raise PeerProtocolError("a reply out of turn")
        reply = bodies.decode_reply_untrusted(body)
        opening = reply.opening
        transcript = _transcript(self._known, asked.body, reply.opening_bytes)
        pake_key = asked.exchange.finish(opening.share)
        schedule = KeySchedule(
            pake_key, asked.kem_key.decapsulate(opening.kem_ciphertext), transcript.digest()
        )
        peer_description = _check_and_open(schedule, Role.HOST, transcript.digest(), reply)
        if opening.protocol not in self._protocols:  # the host knows the code, and answers what was not asked
            raise PeerProtocolError(f"it chose transfer protocol {opening.protocol}, which was not offered")
        transcript.append(body)
        confirm = bodies.encode_confirm(
            *_prove_and_seal(schedule, Role.JOINER, transcript.digest(), description)
        )
        transcript.append(confirm)
        return confirm, HandshakeResult(
            peer_description=peer_description,
            peer_version=opening.version,
            keys=schedule.session_keys(Role.JOINER, transcript.digest()),
            protocol=opening.protocol,
            peer_capabilities=opening.capabilities,
            clear_payload=_both_want_clear(self._capabilities, opening.capabilities),
        )


def _exchange(side: pake.Side, known: Known, entropy: Entropy) -> pake.Exchange:
    return pake.Spake2Exchange(side, known.secret, _identities(known), entropy)


def _identities(known: Known) -> tuple[bytes, bytes]:
    """The joiner's and the host's: each is its role under this nameplate."""
    nameplate = known.nameplate.encode("ascii")
    joiner = b"/".join((_PROTOCOL_NAME, Role.JOINER.value, nameplate))
    host = b"/".join((_PROTOCOL_NAME, Role.HOST.value, nameplate))
    return joiner, host


def _transcript(known: Known, hello_body: bytes, reply_opening: bytes) -> Transcript:
    return Transcript(_PROTOCOL_NAME, *_identities(known), hello_body, reply_opening)


def _choose_protocol(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int:
    common = set(ours) & set(theirs)
    if not common:
        raise IncompatiblePeer(
            f"the other side speaks transfer protocol {_listed(theirs)}, this side {_listed(ours)}"
        )
    return max(common)


def _listed(protocols: tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(protocols)))


def _both_want_clear(ours: frozenset[str], theirs: frozenset[str]) -> bool:
    return CLEAR_PAYLOAD in ours and CLEAR_PAYLOAD in theirs


def _prove_and_seal(
    schedule: KeySchedule, sender: Role, digest: bytes, description: bytes
) -> tuple[bytes, bytes]:
    """The sender's proof that it has the key, and its description under a key used for nothing else."""
    if len(description) > bodies.MAX_DESCRIPTION_BYTES:
        raise ValueError(f"a description has at most {bodies.MAX_DESCRIPTION_BYTES} bytes")
    return _tag(schedule, sender, digest), seal.seal_once(
        schedule.derive("description", sender), description, digest
    )


def _check_and_open(schedule: KeySchedule, sender: Role, digest: bytes, proof: Reply | Confirm) -> bytes:
    """The description of a sender that proved to have the key. Raises WrongCodeError, PeerProtocolError."""
    if not hmac.compare_digest(_tag(schedule, sender, digest), proof.tag):
        raise WrongCodeError(bodies.WRONG_CODE_TYPED if sender is Role.JOINER else "")
    return seal.open_once_untrusted(schedule.derive("description", sender), proof.sealed_description, digest)


def _tag(schedule: KeySchedule, sender: Role, digest: bytes) -> bytes:
    return hmac.digest(schedule.derive("confirm", sender), digest, "sha256")
