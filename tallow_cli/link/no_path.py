"""Why two sides find no way to each other: from what each was told by its servers, and what their checks showed. Pure.

Each side tells the other what its STUN server and relay said (`link.description.Survey`), so both name the same cause,
each from where it stands. The words are those of RFC 4787: a NAT whose mapping depends on the endpoint is what people
call a symmetric one.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from tallow_cli.errors import NoPathError
from tallow_cli.link.description import CandidateInfo, Description

Where = Literal["here", "peer", "both"]

_NETWORK_BITS: Final = {"ipv4": 24, "ipv6": 64}
_KINDS: Final = ("host", "srflx", "relay")
_RELAY: Final = (
    "A relay carries the data all the same: start the signaling server with `tallow serve --relay`, or name one with "
    "--ice-server turn:HOST"
)


class Cause(StrEnum):
    """Stable names, documented in docs/reference/json.md."""

    NO_ADDRESS = "no-address"
    NO_COMMON_FAMILY = "no-common-family"
    ONE_WAY = "one-way"
    UDP_BLOCKED = "udp-blocked"
    SYMMETRIC_NAT = "symmetric-nat"
    PRIVATE_ADDRESSES = "private-addresses"
    FILTERED = "filtered"


class Help(StrEnum):
    """What would help; stable as well."""

    RELAY = "relay"
    RELAY_BY_TCP = "relay-by-tcp"
    MEND_RELAY = "mend-relay"
    ICE_SERVER = "ice-server"
    PORT = "port"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Checks:
    """What ICE saw. `heard`: checks of the peer's came here. `answered`: of our `pairs` so many were answered."""

    pairs: int = 0
    answered: int = 0
    heard: bool = False


def diagnosis(
    ours: Description, theirs: Description, checks: Checks, refusals: Sequence[tuple[str, str]] = ()
) -> NoPathError:
    """The error to end with. `refusals`: the URL of each relay that gave this side no address, and why."""
    cause, where = _cause(ours, theirs, checks)
    helps = _helps(cause, ours, theirs, refusals)
    said = [_CAUSES[cause][where], *(f"the relay {url}: {problem}" for url, problem in refusals)]
    said.append(f"here: {_listed(ours.candidates)}; there: {_listed(theirs.candidates)}")
    findings: dict[str, object] = {
        "cause": cause.value,
        "where": where,
        "here": _side(ours),
        "peer": _side(theirs),
        "checks": {"pairs": checks.pairs, "answered": checks.answered, "heard": checks.heard},
        "relays": [{"url": url, "problem": problem} for url, problem in refusals],
        "help": [each.value for each in helps],
    }
    return NoPathError("; ".join(said), advice=_advice(helps), findings=findings)


def _cause(ours: Description, theirs: Description, checks: Checks) -> tuple[Cause, Where]:
    if not ours.candidates or not theirs.candidates:
        return Cause.NO_ADDRESS, _where(not ours.candidates, not theirs.candidates)
    if not _families(ours) & _families(theirs):
        return Cause.NO_COMMON_FAMILY, "both"
    if checks.heard or checks.answered:
        return Cause.ONE_WAY, "here" if checks.heard else "peer"
    silent = [each.survey.stun == "silent" for each in (ours, theirs)]
    if any(silent):
        return Cause.UDP_BLOCKED, _where(*silent)
    symmetric = [each.survey.nat == "endpoint-dependent" for each in (ours, theirs)]
    if any(symmetric):
        return Cause.SYMMETRIC_NAT, _where(*symmetric)
    unseen = [
        each.survey.stun == "unasked" and all(map(_is_private, each.candidates)) for each in (ours, theirs)
    ]
    if any(unseen) and not _share_network(ours, theirs):
        return Cause.PRIVATE_ADDRESSES, _where(*unseen)
    return Cause.FILTERED, "both"


def _share_network(ours: Description, theirs: Description) -> bool:
    """Whether the two have addresses of what is mostly one network, where no NAT stands between."""
    return bool(set(map(_network, ours.candidates)) & set(map(_network, theirs.candidates)))


def _network(candidate: CandidateInfo) -> str:
    bits = _NETWORK_BITS[_version(candidate)]
    return str(ipaddress.ip_network((candidate.address, bits), strict=False))


def _where(here: bool, peer: bool) -> Where:
    if here and peer:
        return "both"
    return "here" if here else "peer"


_CAUSES: Final[dict[Cause, dict[Where, str]]] = {
    Cause.NO_ADDRESS: {
        "here": "this machine has no address that can be used",
        "peer": "the other side has no address that can be used",
        "both": "neither side has an address that can be used",
    },
    Cause.NO_COMMON_FAMILY: {"both": "one side has only IPv4 and the other only IPv6"},
    Cause.ONE_WAY: {
        "here": "the other side's packets arrive here, and ours are not answered: one direction is blocked",
        "peer": "our packets are answered, and the other side chose none of these ways: one direction is blocked",
    },
    Cause.UDP_BLOCKED: {
        "here": "UDP does not leave this network: the STUN server did not answer",
        "peer": "UDP does not leave the other side's network: the STUN server did not answer it",
        "both": "UDP leaves neither network, or does not reach the STUN server, which answered neither side",
    },
    Cause.SYMMETRIC_NAT: {
        "here": "this side is behind a symmetric NAT, whose port for the other side nobody can know beforehand",
        "peer": "the other side is behind a symmetric NAT, whose port for this side nobody can know beforehand",
        "both": "both sides are behind symmetric NATs, whose ports for each other nobody can know beforehand",
    },
    Cause.PRIVATE_ADDRESSES: {
        "here": "this side has only private addresses, and no STUN server to say how the world sees it",
        "peer": "the other side has only private addresses, and no STUN server to say how the world sees it",
        "both": "both sides have only private addresses, and no STUN server to say how the world sees them",
    },
    Cause.FILTERED: {
        "both": "none of the addresses answered: a firewall or a missing route lies between them"
    },
}


def _helps(
    cause: Cause, ours: Description, theirs: Description, refusals: Sequence[tuple[str, str]]
) -> list[Help]:
    relays = {each.survey.relay for each in (ours, theirs)}
    helps: list[Help] = []
    stuck = [each for each in (ours, theirs) if each.survey.stun == "silent" and each.survey.relay != "ready"]
    to_mend = any(not (url.endswith("=udp") and ours in stuck) for url, _ in refusals)
    if to_mend or (theirs.survey.relay == "failed" and theirs not in stuck):
        helps.append(Help.MEND_RELAY)
    asked_by_tcp = any(url.endswith("=tcp") for url, _ in refusals)
    if cause is Cause.UDP_BLOCKED and stuck and not (asked_by_tcp and stuck == [ours]):
        helps.append(Help.RELAY_BY_TCP)
    elif cause is Cause.PRIVATE_ADDRESSES:
        helps.append(Help.ICE_SERVER)
    elif relays == {"none"}:
        helps.append(Help.RELAY)
    if cause in (Cause.FILTERED, Cause.ONE_WAY):
        helps.append(Help.PORT)
    helps.append(Help.NETWORK)
    return helps


_ADVICE: Final = {
    Help.MEND_RELAY: "See to the relay that gave no address",
    Help.RELAY: _RELAY,
    Help.RELAY_BY_TCP: f"{_RELAY}?transport=tcp, which needs no UDP",
    Help.ICE_SERVER: "Meet at a server that both reach (`tallow serve`, --server), or name --ice-server stun:HOST",
    Help.PORT: "open a UDP port in the firewall (--udp-ports)",
    Help.NETWORK: "try another network",
}


def _advice(helps: Sequence[Help]) -> str:
    words = [_ADVICE[each] for each in helps]
    text = "; or ".join((words[0], *(each[0].lower() + each[1:] for each in words[1:])))
    return f"{text[0].upper()}{text[1:]}."


def _version(candidate: CandidateInfo) -> str:
    return f"ipv{ipaddress.ip_address(candidate.address).version}"


def _families(side: Description) -> set[str]:
    return set(map(_version, side.candidates))


def _is_private(candidate: CandidateInfo) -> bool:
    return not ipaddress.ip_address(candidate.address).is_global


def _counted(candidates: Sequence[CandidateInfo]) -> Counter[tuple[str, str]]:
    return Counter((each.type, _version(each)) for each in candidates)


def _side(side: Description) -> dict[str, object]:
    counts = _counted(side.candidates)
    return {
        "candidates": {
            kind: {version: counts[kind, version] for version in ("ipv4", "ipv6")} for kind in _KINDS
        },
        "stun": side.survey.stun,
        "nat": side.survey.nat,
        "relay": side.survey.relay,
    }


def _listed(candidates: Sequence[CandidateInfo]) -> str:
    """`2 host and 1 srflx by IPv4, 1 host by IPv6`."""
    counts = _counted(candidates)
    parts = []
    for version, name in (("ipv4", "IPv4"), ("ipv6", "IPv6")):
        kinds = [f"{counts[kind, version]} {kind}" for kind in _KINDS if counts[kind, version]]
        if kinds:
            parts.append(f"{' and '.join(kinds)} by {name}")
    return ", ".join(parts) or "no addresses"
