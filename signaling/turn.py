"""Relays that clients may use where there is no direct way: their URLs (RFC 7065), and credentials for them. Sans-IO.

The credentials are those of coturn's `use-auth-secret` ("A REST API for access to TURN services", draft-uberti): the
user name is the time of its end, the password a MAC of it under a secret that this server and the relay share. They let
whoever has them use the relay until then, and nothing else.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from signaling.protocol import IceServer

# An allocation that lives on is refreshed with the same credentials, so they outlast nearly every transfer; a later
# attempt gets new ones.
LIFETIME_S: Final = 12 * 3_600
MIN_SECRET_CHARACTERS: Final = 16
MAX_RELAYS: Final = 4  # in one message to a client
DEFAULT_PORT: Final = {"turn": 3_478, "turns": 5_349}
_URL: Final = re.compile(
    r"(?P<scheme>turns?):(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]{1,253})"
    r"(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>udp|tcp))?"
)
_USER_BYTES: Final = 6


class NotARelay(ValueError):
    """What was given is no TURN URL, or no secret. The text says why, for people."""


@dataclass(frozen=True, slots=True)
class Relay:
    """One TURN URL, taken apart. `transport` is between client and relay; with `secure` it is TLS over TCP."""

    url: str
    host: str
    port: int
    transport: str  # "udp" or "tcp"
    secure: bool


def parsed_relay(url: str) -> Relay:
    """Raises NotARelay."""
    match = _URL.fullmatch(url.strip())
    if match is None:
        raise NotARelay(f"{url!r} is not like turn:HOST:3478 or turns:HOST:5349?transport=tcp")
    scheme, host = match["scheme"], match["host"].strip("[]")
    secure = scheme == "turns"
    port = int(match["port"] or DEFAULT_PORT[scheme])
    if not 1 <= port <= 65_535:
        raise NotARelay(f"{url!r} has a port that is not from 1 to 65535")
    transport = match["transport"] or ("tcp" if secure else "udp")
    if secure and transport == "udp":
        raise NotARelay(f"{url!r} asks for DTLS, which Tallow does not speak; use turns:…?transport=tcp")
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise NotARelay(f"{url!r} has no address in its brackets") from None
    return Relay(match[0], host, port, transport, secure)


def checked_secret(text: str) -> str:
    """The one line of a secret file. Raises NotARelay."""
    secret = text.strip()
    if len(secret) < MIN_SECRET_CHARACTERS or any(character.isspace() for character in secret):
        raise NotARelay(
            f"a relay's secret is one word of at least {MIN_SECRET_CHARACTERS} characters, the one of its "
            "static-auth-secret"
        )
    return secret


class RelayCredentials:
    """Hands out `relays` with fresh credentials. `unix_time` is the wall clock; `entropy(n)` gives n random bytes."""

    def __init__(
        self,
        relays: Sequence[Relay],
        secret: str,
        unix_time: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._urls = tuple(relay.url for relay in relays[:MAX_RELAYS])
        self._secret = secret.encode()
        self._unix_time = unix_time
        self._entropy = entropy

    def __call__(self) -> tuple[IceServer, ...]:
        user = f"{int(self._unix_time()) + LIFETIME_S}:{self._entropy(_USER_BYTES).hex()}"
        password = base64.b64encode(hmac.digest(self._secret, user.encode(), "sha1")).decode()
        return tuple(IceServer(url, user, password) for url in self._urls)
