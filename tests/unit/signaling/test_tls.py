"""The server's certificate: taken, or refused in one sentence."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from signaling.listening import CannotListen
from signaling.tls import tls_context
from tests.support.certificates import self_signed


def test_a_chain_and_its_key_make_a_server(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    assert isinstance(tls_context(str(cert), str(key)), ssl.SSLContext)


def test_both_may_stand_in_one_file(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    assert isinstance(tls_context(str(both), None), ssl.SSLContext)


def test_without_a_certificate_there_is_no_tls_and_a_key_alone_is_a_mistake() -> None:
    assert tls_context(None, None) is None
    with pytest.raises(CannotListen, match="--tls-cert"):
        tls_context(None, "key.pem")


def test_an_encrypted_key_asks_nobody(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(CannotListen, match="pass phrase"):
        tls_context(str(cert), str(key))


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_what_is_no_certificate_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CannotListen, match=r"cert\.pem"):
        tls_context(str(path), None)
