"""The address of a signaling server, as people write it and as it is used. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from signaling.protocol import DEFAULT_PORT
from tallow_cli.errors import BadOption

MAX_URL_CHARS = 2_000
_HOST = re.compile(r"\A[a-z0-9._-]*\Z")


def normalize_server_url(text: str, option: str = "--server") -> str:
    """The ws:// or wss:// URL for `ws://host…`, `wss://host…`, `host:port` or `host`.

    Without a scheme it is ws:// and the port defaults to `DEFAULT_PORT`; with one, to the scheme's 80 or 443.
    Raises BadOption, naming `option`.
    """
    text = text.strip()
    if not text or len(text) > MAX_URL_CHARS or not text.isprintable() or " " in text:
        raise BadOption(option, "an address like ws://host:8765 is needed")
    bare = "://" not in text
    try:
        parts = urlsplit(f"ws://{text}" if bare else text)
        port = parts.port
        host = _ascii_host(parts)
    except ValueError:
        raise BadOption(option, f"{text!r} is not an address; write it like ws://host:8765") from None
    if parts.scheme not in ("ws", "wss"):
        raise BadOption(
            option, f"{parts.scheme}:// is not a signaling address; it begins with ws:// or wss://"
        )
    if parts.username is not None or parts.password is not None:
        raise BadOption(option, "a user name or password in the address is not supported")
    if not host or parts.fragment or parts.query or port == 0:
        raise BadOption(option, f"{text!r} is not an address; write it like ws://host:8765")
    if port is None and bare:
        port = DEFAULT_PORT
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


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


def _ascii_host(parts: SplitResult) -> str:
    """Raises ValueError for names no resolver accepts."""
    host = parts.hostname or ""
    if ":" in host:
        return f"[{ipaddress.IPv6Address(host)}]"
    ascii_host = host.encode("idna").decode("ascii").lower()  # also limits labels to 63 characters
    if not _HOST.match(ascii_host):  # normalization can yield spaces and delimiters
        raise ValueError("not a host name")
    return ascii_host
