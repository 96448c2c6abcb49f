"""The server's certificate."""

from __future__ import annotations

import re
import ssl

from signaling.listening import CannotListen

_SOURCE = re.compile(r"\s*\(_ssl\.c:\d+\)")


def tls_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """For a chain and its key (in one file, or in two), both PEM; None without. Raises CannotListen."""
    if cert is None:
        if key is not None:
            raise CannotListen("--tls-key needs --tls-cert.")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    asked = False

    def ask_nobody() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(cert, key, ask_nobody)
    except (OSError, ssl.SSLError, ValueError) as error:
        if asked:
            raise CannotListen(
                f"The key {key or cert} is encrypted, and a server has nobody to ask for its pass phrase. "
                "Store it decrypted (openssl pkey -in KEY -out PLAIN), readable for this user only."
            ) from None
        raise CannotListen(
            f"The TLS certificate {cert} cannot be used ({_reason(error)}). "
            "Pass PEM files with --tls-cert and --tls-key."
        ) from error
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return _SOURCE.sub("", str(error.reason or error)).replace("_", " ").lower()
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
