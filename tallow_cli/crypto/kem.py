"""ML-KEM-768 (FIPS 203): what keeps recorded traffic closed to a later quantum computer.

Whether it is there is a property of the OpenSSL that `cryptography` was built with, so it is probed once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from tallow_cli.errors import PeerProtocolError, UnsupportedCrypto

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

PUBLIC_KEY_BYTES = 1184
CIPHERTEXT_BYTES = 1088
SHARED_SECRET_BYTES = 32
SEED_BYTES = 64


@cache
def require_support() -> None:
    """Raises UnsupportedCrypto unless this machine's `cryptography` can do ML-KEM-768."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    except ImportError as error:
        raise UnsupportedCrypto("ML-KEM-768") from error
    try:
        MLKEM768PrivateKey.from_seed_bytes(bytes(SEED_BYTES))
    except UnsupportedAlgorithm as error:
        raise UnsupportedCrypto("ML-KEM-768") from error


class KemKey:
    """A fresh key pair for one handshake. Raises UnsupportedCrypto."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        require_support()
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

        self._private: MLKEM768PrivateKey = MLKEM768PrivateKey.from_seed_bytes(entropy(SEED_BYTES))
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret. A damaged ciphertext of the right length gives an unrelated one (implicit
        rejection, FIPS 203 section 6.3), which the key confirmation then catches. Raises PeerProtocolError
        for a wrong length.
        """
        if len(ciphertext) != CIPHERTEXT_BYTES:
            raise PeerProtocolError(
                f"its ML-KEM ciphertext has {len(ciphertext)} bytes instead of {CIPHERTEXT_BYTES}"
            )
        return self._private.decapsulate(ciphertext)


def encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """A shared secret and the ciphertext that carries it to the owner of `public`.

    The randomness is OpenSSL's own: `cryptography` offers no other. Raises PeerProtocolError if `public` is
    not a valid key (FIPS 203 section 7.2), UnsupportedCrypto.
    """
    require_support()
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey

    try:
        return MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError as error:
        raise PeerProtocolError("its ML-KEM public key is not valid") from error
