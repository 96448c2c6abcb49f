"""The servers that help ICE: what is known of each, where its name leads, and what its refusal means to people."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final, Literal

from aioice import stun


@dataclass(frozen=True, slots=True)
class StunServer:
    host: str  # a name or an address
    port: int


@dataclass(frozen=True, slots=True)
class RelayServer:
    """A TURN server and credentials for it. `transport` is what leads to it, by TLS if it is `secure`."""

    host: str
    port: int
    transport: Literal["udp", "tcp"] = "udp"
    secure: bool = False
    username: str = ""
    credential: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """RFC 7065's, as people know it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'turns' if self.secure else 'turn'}:{host}:{self.port}?transport={self.transport}"


async def resolved(host: str, port: int) -> list[tuple[str, int]]:
    """Each once. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    addresses = [(str(address[0]), int(address[1])) for *_, address in found]
    return list(dict.fromkeys(addresses))


async def resolved_in_time(host: str, port: int, within_s: float) -> list[tuple[str, int]]:
    """Raises OSError, also where no name server answers."""
    try:
        async with asyncio.timeout(within_s):
            return await resolved(host, port)
    except TimeoutError:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers") from None


# RFC 8656 section 19: what a person can do something about.
_REFUSALS: Final = {
    401: "it does not take these credentials, or wants some (--ice-user, TALLOW_ICE_PASSWORD)",
    403: "it may not be used for this",
    441: "it does not take these credentials",
    486: "this user has as many connections as it allows",
    508: "it is full",
}


def refusal(error: BaseException) -> str:
    """Why a relay gave no address, for people."""
    if isinstance(error, stun.TransactionFailed):
        code, words = error.response.attributes.get("ERROR-CODE", (0, ""))
        said = " ".join(str(each) for each in (code, words) if each)
        return f"{_REFUSALS.get(code, 'it said no')} ({said})"
    if isinstance(error, TimeoutError | stun.TransactionTimeout):
        return "it does not answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {getattr(error, 'reason', None) or error}"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)  # asyncio's own texts quote its calls
    return str(error) or type(error).__name__
