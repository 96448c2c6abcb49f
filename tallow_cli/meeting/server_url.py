"""The address of a signaling server, as people write it and as it is used. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from signaling.protocol import DEFAULT_PORT
from tallow_cli.errors import BadOption

MAX_URL_CHARS = 2_000
_SCHEMES = {
    "ws": "ws",
    "wss": "wss",
    "http": "ws",
    "https": "wss",
}  # of the page that answers there in a browser
_DEFAULT_PORTS = {"ws": 80, "wss": 443}  # RFC 6455 section 3
# `ws:/host`, `http:host`: not a host called ws. `ws:8765` is one, with a port.
_HALF_A_SCHEME = re.compile(r"(?:wss?|https?):(?!//|[0-9]+(?:/|\Z))", re.IGNORECASE)
# Whether the end of `::1:8765` is a port or a part of the address, nobody can tell.
_PORT_LIKE = re.compile(r"::.*:[0-9]{4,5}\Z")
_HOST = re.compile(r"\A[a-z0-9._-]*\Z")


def normalize_server_url(text: str, option: str = "--server") -> str:
    """The ws:// or wss:// URL for `ws://host…`, `wss://host…`, `host:port`, `host` or an address such as `::1`.

    Without a scheme it is ws:// and the port defaults to `DEFAULT_PORT`; with one, to the scheme's 80 or 443. http and
    https are read as ws and wss, which is what they become. Raises BadOption, naming `option`.
    """
    text = _bracketed(text.strip(), option)
    if not text or len(text) > MAX_URL_CHARS or not text.isprintable() or " " in text:
        raise BadOption(option, "an address like ws://host:8765 is needed")
    if _HALF_A_SCHEME.match(text):
        raise BadOption(option, f"{text!r} is not an address; write it like ws://host:8765")
    bare = "://" not in text
    try:
        parts = urlsplit(f"ws://{text}" if bare else text)
        port = parts.port
        host = _ascii_host(parts)
    except ValueError:
        raise BadOption(option, f"{text!r} is not an address; write it like ws://host:8765") from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise BadOption(
            option, f"{parts.scheme}:// is not a signaling address; it begins with ws:// or wss://"
        )
    if parts.username is not None or parts.password is not None:
        raise BadOption(option, "a user name or password in the address is not supported")
    if not host or parts.fragment or parts.query or port == 0 or "//" in parts.path:
        raise BadOption(option, f"{text!r} is not an address; write it like ws://host:8765")
    if port is None and bare:
        port = DEFAULT_PORT
    return f"{scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def standard_port(url: str) -> int | None:
    """The port that a URL which names none stands for; None where it names one of its own."""
    parts = urlsplit(url)
    standard = _DEFAULT_PORTS.get(parts.scheme)
    return standard if parts.port in (None, standard) else None


def server_url(address: str, port: int) -> str:
    """The ws:// URL of a numeric address."""
    return f"ws://[{address}]:{port}" if ":" in address else f"ws://{address}:{port}"


def is_near(url: str) -> bool:
    """Whether the server is on this machine or network, so that no proxy leads to it."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".local"):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def _bracketed(text: str, option: str) -> str:
    """An IPv6 address alone gets the brackets that a URL wants. Raises BadOption where it may end in a port."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return text
    if _PORT_LIKE.search(text):
        address, _, port = text.rpartition(":")
        raise BadOption(option, f"{text!r} may end in a port; write it like [{address}]:{port} or [{text}]")
    return f"[{text}]"


def _ascii_host(parts: SplitResult) -> str:
    """Raises ValueError for names no resolver accepts."""
    host = parts.hostname or ""
    if ":" in host:
        return f"[{ipaddress.IPv6Address(host)}]"
    ascii_host = host.encode("idna").decode("ascii").lower()  # also limits labels to 63 characters
    if not _HOST.match(ascii_host):  # normalization can yield spaces and delimiters
        raise ValueError("not a host name")
    return ascii_host
