"""STUN and TURN servers as people name them: `stun:` URLs (RFC 7064) and `turn:` ones (RFC 7065)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from signaling.turn import NotARelay, parsed_relay
from tallow_cli.errors import BadOption
from tallow_cli.link.link import MAX_PORT, IceServer

OPTION: Final = "--ice-server"
STUN_PORT: Final = 3_478  # RFC 8489 section 9
MAX_SERVERS: Final = 8
_STUN: Final = re.compile(r"stun:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_LIKE: Final = "stun:HOST:3478, turn:HOST:3478?transport=tcp or turns:HOST:5349"


def ice_servers(
    urls: Sequence[str], user: str | None, password: str | None, *, just_said: bool = True
) -> tuple[IceServer, ...]:
    """What these URLs name, each once; the credentials are for the relays among them, and `just_said` the user: else it
    lies ready for the day when there is a relay. Raises BadOption.
    """
    servers = [_ice_server(url, user, password) for url in urls]
    found = tuple({server.url: server for server in servers}.values())
    if len(found) > MAX_SERVERS:
        raise BadOption(OPTION, f"{len(found)} servers are too many to ask; {MAX_SERVERS} are the most")
    has_relay = any(is_relay(server.url) for server in found)
    if user is not None and not has_relay and just_said:
        raise BadOption("--ice-user", f"it is for a relay, and none is named; add {OPTION} turn:…")
    if user is not None and password is None and has_relay:
        raise BadOption("--ice-user", "it needs a password, in the variable TALLOW_ICE_PASSWORD")
    if user is None and password is not None and has_relay:
        raise BadOption("TALLOW_ICE_PASSWORD", "it needs the name that it goes with; add --ice-user")
    return found


def is_relay(url: str) -> bool:
    return url.startswith(("turn:", "turns:"))


def parsed_stun(url: str) -> tuple[str, int] | None:
    """The host and port of a `stun:` URL in the form that `ice_servers` gives; None if it is none."""
    match = _STUN.fullmatch(url)
    if match is None:
        return None
    port = int(match[2] or STUN_PORT)
    return (match[1].strip("[]"), port) if 1 <= port <= MAX_PORT else None


def _ice_server(text: str, user: str | None, password: str | None) -> IceServer:
    """With its scheme and transport in small letters."""
    if "@" in text:  # not repeated: there may be a password before it
        raise BadOption(
            OPTION, "a URL holds no credentials; give them by --ice-user and the variable TALLOW_ICE_PASSWORD"
        )
    scheme, colon, rest = text.strip().partition(":")
    address, mark, query = rest.partition("?")
    scheme = scheme.lower()
    url = f"{scheme}{colon}{address}{mark}{query.lower()}"
    if not colon or scheme not in ("stun", "stuns", "turn", "turns"):
        raise BadOption(OPTION, f"{text!r} does not begin with stun:, turn: or turns:; write it like {_LIKE}")
    if rest.startswith("//"):
        raise BadOption(OPTION, f"{text!r} has slashes, which such URLs have not; write it like {_LIKE}")
    if scheme == "stuns":
        raise BadOption(OPTION, f"{text!r} asks for STUN over TLS, which Tallow does not speak; use stun:")
    if scheme == "stun":
        _check_stun(url, text)
        return IceServer(url)
    try:
        parsed_relay(url)
    except NotARelay as error:
        raise BadOption(OPTION, str(error)) from None
    return IceServer(url, user, password)


def _check_stun(url: str, text: str) -> None:
    if "?" in url:
        raise BadOption(OPTION, f"{text!r} has a ?, which only relays' URLs may have; use stun:HOST:3478")
    match = _STUN.fullmatch(url)
    if match is None:
        raise BadOption(OPTION, f"{text!r} is not like stun:HOST:3478")
    if parsed_stun(url) is None:
        raise BadOption(OPTION, f"{text!r} has a port that is not from 1 to 65535")
    if match[1].startswith("["):
        try:
            ipaddress.IPv6Address(match[1].strip("[]"))
        except ValueError:
            raise BadOption(OPTION, f"{text!r} has no address in its brackets") from None
