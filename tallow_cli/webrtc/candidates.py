"""Candidates and ICE servers: aiortc's objects and those of a link's description, each made from the other."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from aiortc import RTCIceCandidate

from signaling.turn import NotARelay, parsed_relay
from tallow_cli.link.description import MAX_CANDIDATES, CandidateInfo
from tallow_cli.link.ice_servers import parsed_stun
from tallow_cli.link.link import IceServer
from tallow_cli.webrtc.ice_server import RelayServer, StunServer

_MOST_RELAYED: Final = 4
_MOST_REFLEXIVE: Final = 8


def stun_servers(servers: Iterable[IceServer]) -> list[StunServer]:
    """Those of them that answer Binding requests. A URL that cannot be read is nobody to ask."""
    return [StunServer(*parts) for server in servers if (parts := parsed_stun(server.url)) is not None]


def stun_questions(servers: Iterable[IceServer]) -> tuple[list[StunServer], list[StunServer]]:
    """Whom to ask how the world sees us, and who else can: further ports of the same hosts, and relays that speak UDP,
    which answer Binding requests of everybody (RFC 8656 section 5).
    """
    asked = list(servers)
    first: dict[str, StunServer] = {}
    others = [each for each in stun_servers(asked) if first.setdefault(each.host, each) is not each]
    others += [StunServer(each.host, each.port) for each in relay_servers(asked) if each.transport == "udp"]
    return list(first.values()), others


def relay_servers(servers: Iterable[IceServer]) -> list[RelayServer]:
    """Those of them that are relays, in their order. A URL that cannot be read is nobody to ask."""
    found = []
    for server in servers:
        with suppress(NotARelay):
            relay = parsed_relay(server.url)
            found.append(
                RelayServer(
                    relay.host,
                    relay.port,
                    "tcp" if relay.transport == "tcp" else "udp",
                    relay.secure,
                    server.username or "",
                    server.credential or "",
                )
            )
    return found


def candidate_info(candidate: RTCIceCandidate) -> CandidateInfo:
    return CandidateInfo(
        address=candidate.ip,
        port=candidate.port,
        type=candidate.type,  # type: ignore[arg-type]  # a str in aiortc
        priority=candidate.priority,
        foundation=candidate.foundation,
        related_address=candidate.relatedAddress,
        related_port=candidate.relatedPort,
    )


def likeliest(candidates: Iterable[CandidateInfo]) -> tuple[CandidateInfo, ...]:
    """As many as a description holds, in the order of their priority, with some of every kind: dozens of addresses of
    this machine's own shall not push out the one that a NAT or a relay gives it.
    """
    found = sorted(candidates, key=lambda each: -each.priority)
    kept = [each for each in found if each.type == "relay"][:_MOST_RELAYED]
    kept += [each for each in found if each.type == "srflx"][:_MOST_REFLEXIVE]
    room = MAX_CANDIDATES - len(kept)
    kept += [each for each in found if each not in kept][:room]
    return tuple(sorted(kept, key=lambda each: -each.priority))


def relay_candidate(address: str, port: int) -> CandidateInfo:
    """The one candidate of a peer that is spoken to through this UDP relay; being alone, its priority is as good as
    any.
    """
    return CandidateInfo(address=address, port=port, type="host", priority=1, foundation="via")


def rtc_candidate(candidate: CandidateInfo) -> RTCIceCandidate:
    return RTCIceCandidate(
        component=1,
        foundation=candidate.foundation,
        ip=candidate.address,
        port=candidate.port,
        priority=candidate.priority,
        protocol="udp",
        type=candidate.type,
        relatedAddress=candidate.related_address,
        relatedPort=candidate.related_port,
    )
