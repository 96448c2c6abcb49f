"""The session description: what one side must know of the other to build the connection.

It travels sealed under the code's key (docs/spec/description.md is normative), in place of an SDP: typed
fields that feed aiortc's ORTC objects. The bytes come from a peer that knows the code, which makes it
authentic, not harmless: `decode_untrusted` checks every field before any of it reaches the ICE or DTLS code.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Literal

import msgspec

from tallow_cli.crypto.bodies import MAX_CAPABILITIES, MAX_DESCRIPTION_BYTES
from tallow_cli.errors import PeerProtocolError
from tallow_cli.link.channels import MAX_CHANNELS, MIN_CHANNELS

DESCRIPTION_VERSION: Final = 1
MAX_CANDIDATES: Final = 32
# Below this a single control message might not fit; above 2^30 aiortc and everyone else refuse anyway.
MIN_MESSAGE_SIZE: Final = 1200
MAX_MESSAGE_SIZE: Final = 1 << 30

DtlsRole = Literal["client", "server"]
CandidateType = Literal["host", "srflx", "relay"]
StunAnswer = Literal["unasked", "answered", "silent"]
NatMapping = Literal["unknown", "none", "endpoint-independent", "endpoint-dependent"]
RelayOffer = Literal["none", "ready", "failed"]

# RFC 8839 section 5.4: ice-ufrag is 4-256 and ice-pwd 22-256 ice-chars.
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FOUNDATION: Final = re.compile(r"[A-Za-z0-9+/]{1,32}")
_FINGERPRINT: Final = re.compile(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}")
_CAPABILITY: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,47}")


class CandidateInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A UDP transport address the peer may be reached at (RFC 8445)."""

    address: str  # an IP literal, never a name
    port: int
    type: CandidateType
    priority: int
    foundation: str
    related_address: str | None = None
    related_port: int | None = None


class Survey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a side was told by its servers, for whoever has to say why there is no way (`link.no_path`). Informative.

    `stun`: whether a STUN server answered. `nat`: how its NAT maps ports (RFC 4787 section 4.1), as far as two answers
    show it. `relay`: whether it has a relay to offer.
    """

    stun: StunAnswer = "unasked"
    nat: NatMapping = "unknown"
    relay: RelayOffer = "none"


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One side's half of the connection.

    New optional abilities are announced in `capabilities`, which may hold names this version does not know;
    new fields need a new `version`.
    """

    ufrag: str
    pwd: str
    fingerprint: str  # SHA-256 of the DTLS certificate, "AB:CD:…"
    dtls_role: DtlsRole
    sctp_port: int
    max_message_size: int
    candidates: tuple[CandidateInfo, ...]
    engine: str = "aiortc"
    capabilities: tuple[str, ...] = ()
    channels: int = 3
    reliable: bool = False
    version: int = DESCRIPTION_VERSION
    survey: Survey = Survey()


def encode(description: Description) -> bytes:
    return msgspec.json.encode(description)


_decoder: Final = msgspec.json.Decoder(Description)


def decode_untrusted(encoded: bytes) -> Description:
    """The peer's description, every field checked. Raises PeerProtocolError."""
    if len(encoded) > MAX_DESCRIPTION_BYTES:
        raise PeerProtocolError(f"a session description of {len(encoded)} bytes")
    try:
        description = _decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError("a malformed session description") from error
    _check(description)
    return description


def worth_trying(
    theirs: tuple[CandidateInfo, ...], ours: tuple[CandidateInfo, ...]
) -> tuple[CandidateInfo, ...]:
    """The peer's candidates that may be its own as seen from here.

    A loopback address is, if this machine has no other either. Else it is this machine's, and what listens there is
    not for the peer to have checks sent to. IPv4 in the disguise of IPv6 leads nowhere from a socket of either
    (RFC 8445 section 5.1.1.1).
    """
    theirs = tuple(candidate for candidate in theirs if _mapped_ipv4(candidate) is None)
    if any(_is_loopback(candidate) for candidate in ours):
        return theirs
    return tuple(candidate for candidate in theirs if not _is_loopback(candidate))


def _is_loopback(candidate: CandidateInfo) -> bool:
    return ipaddress.ip_address(candidate.address).is_loopback


def _mapped_ipv4(candidate: CandidateInfo) -> ipaddress.IPv4Address | None:
    address = ipaddress.ip_address(candidate.address)
    return address.ipv4_mapped if address.version == 6 else None


def _check(description: Description) -> None:
    if description.version != DESCRIPTION_VERSION:
        raise PeerProtocolError(
            f"session description version {description.version}, not {DESCRIPTION_VERSION}"
        )
    _require(_UFRAG.fullmatch(description.ufrag), "ICE user name")
    _require(_PWD.fullmatch(description.pwd), "ICE password")
    _require(_FINGERPRINT.fullmatch(description.fingerprint), "DTLS fingerprint")
    _require(1 <= description.sctp_port <= 65535, "SCTP port")
    _require(MIN_MESSAGE_SIZE <= description.max_message_size <= MAX_MESSAGE_SIZE, "maximum message size")
    _require(MIN_CHANNELS <= description.channels <= MAX_CHANNELS, "number of channels")
    _require(_CAPABILITY.fullmatch(description.engine), "engine")
    _require(len(description.capabilities) <= MAX_CAPABILITIES, "number of capabilities")
    for capability in description.capabilities:
        _require(_CAPABILITY.fullmatch(capability), "capability")
    _require(len(description.candidates) <= MAX_CANDIDATES, "number of candidates")
    for candidate in description.candidates:
        _check_candidate(candidate)


def _check_candidate(candidate: CandidateInfo) -> None:
    _require(_FOUNDATION.fullmatch(candidate.foundation), "candidate foundation")
    _require(0 < candidate.priority < 1 << 31, "candidate priority")  # RFC 8445 section 5.1.2
    _require(1 <= candidate.port <= 65535, "candidate port")
    _require(_is_peer_address(candidate.address), "candidate address")
    # The related address is a diagnostic and is never sent to; 0.0.0.0 and :: are its usual disguises.
    _require(candidate.related_address is None or _is_ip(candidate.related_address), "related address")
    _require(candidate.related_port is None or 0 <= candidate.related_port <= 65535, "related port")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_peer_address(text: str) -> bool:
    """Whether one machine can have this address: no names (they would make us resolve), no groups."""
    if "%" in text or not _is_ip(text):
        return False
    address = ipaddress.ip_address(text)
    return not (address.is_multicast or address.is_unspecified or text == "255.255.255.255")


def _require(holds: object, what: str) -> None:
    if not holds:
        raise PeerProtocolError(f"a session description with an unusable {what}")
