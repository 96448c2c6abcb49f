"""SDP for peers that speak nothing else: rendered from, and read into, the fields of a `Description`.

Only what a connection with data channels alone needs (RFC 8841, 8839, 8122). Candidates that are not UDP
addresses (TCP, mDNS names) are left out.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Literal

from tallow_cli.link.description import CandidateInfo, Description, DtlsRole

Setup = Literal["actpass", "active", "passive"]

# RFC 8841 section 6.1: without the attribute a peer takes 64 KiB.
DEFAULT_MAX_MESSAGE_SIZE: Final = 65536

_TEMPLATE: Final = """\
v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=msid-semantic: WMS
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:0
a=ice-ufrag:{ufrag}
a=ice-pwd:{pwd}
a=fingerprint:sha-256 {fingerprint}
a=setup:{setup}
a=sctp-port:{sctp_port}
a=max-message-size:{max_message_size}
"""


def render(description: Description, setup: Setup) -> str:
    lines = _TEMPLATE.format(
        ufrag=description.ufrag,
        pwd=description.pwd,
        fingerprint=description.fingerprint,
        setup=setup,
        sctp_port=description.sctp_port,
        max_message_size=description.max_message_size,
    ).splitlines()
    for each in description.candidates:
        line = (
            f"a=candidate:{each.foundation} 1 udp {each.priority} {each.address} {each.port} typ {each.type}"
        )
        if each.related_address is not None:
            line += f" raddr {each.related_address} rport {each.related_port}"
        lines.append(line)
    lines.append("a=end-of-candidates")
    return "\r\n".join(lines) + "\r\n"


def parse(sdp: str) -> Description:
    """Raises ValueError when something a connection needs is missing. An `actpass` peer becomes the server."""
    setup = _one(sdp, "setup")
    role: DtlsRole = "client" if setup == "active" else "server"
    algorithm, _, fingerprint = _one(sdp, "fingerprint").partition(" ")
    if algorithm.lower() != "sha-256":
        raise ValueError(f"a fingerprint by {algorithm}")
    size = re.search(r"^a=max-message-size:(\d+)", sdp, re.MULTILINE)
    return Description(
        ufrag=_one(sdp, "ice-ufrag"),
        pwd=_one(sdp, "ice-pwd"),
        fingerprint=fingerprint.upper(),
        dtls_role=role,
        sctp_port=int(_one(sdp, "sctp-port")),
        max_message_size=int(size.group(1)) if size else DEFAULT_MAX_MESSAGE_SIZE,
        candidates=tuple(_candidates(sdp)),
        engine="foreign",
    )


def _one(sdp: str, name: str) -> str:
    found = re.search(rf"^a={name}:(.*?)\s*$", sdp, re.MULTILINE)
    if found is None:
        raise ValueError(f"no a={name} in {sdp!r}")
    return found.group(1)


def _candidates(sdp: str) -> list[CandidateInfo]:
    found = []
    for line in re.findall(r"^a=candidate:(.*?)\s*$", sdp, re.MULTILINE):
        foundation, component, transport, priority, address, port, _, kind, *_ = line.split()
        if component != "1" or transport.lower() != "udp" or kind not in ("host", "srflx", "relay"):
            continue
        try:
            ipaddress.ip_address(address)
        except ValueError:
            continue
        found.append(CandidateInfo(address, int(port), kind, int(priority), foundation))
    return found
