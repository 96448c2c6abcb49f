"""The password-authenticated key exchange: two sides that know the same words get the same key, and anyone
else learns from one exchange whether one guess was right and nothing more.

Suite 1 is SPAKE2 over Ed25519 as the `spake2` package (0.9, magic-wormhole's) computes it: asymmetric sides,
the joiner A and the host B. The suite id travels in the handshake, so another PAKE can follow behind the same
four names.

`spake2` 0.9 is more liberal with its input than the protocol allows; `_checked_share` is strict in its place.
Tried: it takes trailing bytes, and the neutral element when spelled with its sign bit set or as y = q + 1,
though it refuses the plain spelling. It is not constant-time, which one exchange per code over a network
leaves little to measure.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from tallow_cli.errors import PeerProtocolError

SUITE_SPAKE2_ED25519 = 1
SHARE_BYTES = 33  # a side byte and an Ed25519 point
KEY_BYTES = 32

_FIELD_PRIME = 2**255 - 19
_SIGN_BIT = 1 << 255


class Side(Enum):
    """Who plays which part; the value is the first byte of the side's share."""

    JOINER = b"A"
    HOST = b"B"


class Exchange(Protocol):
    """One side of one exchange."""

    @property
    def share(self) -> bytes:
        """What to send: `SHARE_BYTES` bytes."""
        ...

    def finish(self, peer_share: bytes) -> bytes:
        """The key (`KEY_BYTES`), equal on both sides if the words were. Call once.

        Raises PeerProtocolError for a share no honest peer sends.
        """
        ...


class _Spake2(Protocol):
    """What we use of the untyped package."""

    def start(self) -> bytes: ...
    def finish(self, inbound_side_and_message: bytes) -> bytes: ...


class Spake2Exchange:
    """Suite 1. `identities` are the joiner's and the host's, in this order, on both sides."""

    def __init__(
        self, side: Side, secret: bytes, identities: tuple[bytes, bytes], entropy: Callable[[int], bytes]
    ) -> None:
        import spake2  # costs 37 ms to import: it derives its group constants

        maker = spake2.SPAKE2_A if side is Side.JOINER else spake2.SPAKE2_B
        joiner, host = identities
        self._side = side
        self._machine: _Spake2 = maker(secret, idA=joiner, idB=host, entropy_f=entropy)
        self._share: bytes = self._machine.start()
        self._finished = False

    @property
    def share(self) -> bytes:
        return self._share

    def finish(self, peer_share: bytes) -> bytes:
        if self._finished:
            raise RuntimeError("an exchange finishes once")
        self._finished = True
        other = Side.HOST if self._side is Side.JOINER else Side.JOINER
        share = _checked_share(peer_share, other, own=self._share)
        try:
            return self._machine.finish(share)
        except Exception as error:  # whatever its pure-Python arithmetic meets, the peer sent it
            raise PeerProtocolError("its key exchange share is not a valid point") from error


def _checked_share(share: bytes, sender: Side, own: bytes) -> bytes:
    """`share` if it is the one spelling of a point that is neither ours nor the neutral element.

    Whether the point lies on the curve and in the prime-order subgroup is checked by `spake2`.
    """
    if len(share) != SHARE_BYTES:
        raise PeerProtocolError(f"its key exchange share has {len(share)} bytes instead of {SHARE_BYTES}")
    if share[:1] != sender.value:
        raise PeerProtocolError("its key exchange share is for the other role")
    if share[1:] == own[1:]:
        raise PeerProtocolError("our own key exchange share came back")
    # RFC 8032 section 5.1.3: little-endian y, below the prime; x's low bit on top. y = 1 is the neutral
    # element.
    y = int.from_bytes(share[1:], "little") & ~_SIGN_BIT
    if y >= _FIELD_PRIME or y == 1:
        raise PeerProtocolError("its key exchange share is not a valid point")
    return share
