"""Candidates and ICE servers: aiortc's objects and those of a link's description, each made from the other."""

from __future__ import annotations

from aiortc import RTCIceCandidate, RTCIceServer

from tallow_cli.link.description import CandidateInfo
from tallow_cli.link.link import IceServer


def rtc_ice_server(server: IceServer) -> RTCIceServer:
    return RTCIceServer(server.url, server.username, server.credential)


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
