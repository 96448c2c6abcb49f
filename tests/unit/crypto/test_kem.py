"""ML-KEM-768 behind its seam."""

from __future__ import annotations

import sys

import pytest

from tallow_cli.crypto import kem
from tallow_cli.errors import ExitCode, PeerProtocolError, UnsupportedCrypto
from tests.support.entropy import SeededEntropy


def test_a_damaged_ciphertext_gives_another_secret_and_no_error() -> None:
    key = kem.KemKey(SeededEntropy("kem"))
    secret, ciphertext = kem.encapsulate(key.public)
    assert key.decapsulate(ciphertext) == secret
    damaged = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    assert key.decapsulate(damaged) != secret


def test_the_sizes_are_those_of_fips_203() -> None:
    key = kem.KemKey(SeededEntropy("kem"))
    secret, ciphertext = kem.encapsulate(key.public)
    sizes = len(key.public), len(ciphertext), len(secret)
    assert sizes == (kem.PUBLIC_KEY_BYTES, kem.CIPHERTEXT_BYTES, kem.SHARED_SECRET_BYTES)


def test_key_pairs_come_from_the_entropy_given() -> None:
    assert kem.KemKey(SeededEntropy("a")).public == kem.KemKey(SeededEntropy("a")).public
    assert kem.KemKey(SeededEntropy("a")).public != kem.KemKey(SeededEntropy("b")).public


@pytest.mark.parametrize("public", [b"", b"x", bytes(1183), bytes(1185), b"\xff" * 1184])
def test_a_public_key_that_is_none_is_refused(public: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        kem.encapsulate(public)


@pytest.mark.parametrize("size", [0, 1087, 1089])
def test_a_ciphertext_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(PeerProtocolError):
        kem.KemKey(SeededEntropy("kem")).decapsulate(bytes(size))


def test_a_machine_without_it_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import mlkem

    class Absent:
        @staticmethod
        def from_seed_bytes(seed: bytes) -> None:
            raise UnsupportedAlgorithm("no ML-KEM in this OpenSSL")

    monkeypatch.setattr(mlkem, "MLKEM768PrivateKey", Absent)
    kem.require_support.cache_clear()
    try:
        with pytest.raises(UnsupportedCrypto, match="pip install --upgrade cryptography") as caught:
            kem.KemKey(SeededEntropy("kem"))
        assert caught.value.exit_code is ExitCode.UNEXPECTED
    finally:
        kem.require_support.cache_clear()


def test_an_old_cryptography_is_told_apart_from_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mlkem", None)
    kem.require_support.cache_clear()
    try:
        with pytest.raises(UnsupportedCrypto):
            kem.encapsulate(bytes(kem.PUBLIC_KEY_BYTES))
    finally:
        kem.require_support.cache_clear()
