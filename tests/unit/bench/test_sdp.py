from __future__ import annotations

from aiortc.sdp import SessionDescription

from tallow_cli.bench.sdp import sdp_via

HEAD = [
    "v=0",
    "o=- 1 1 IN IP4 0.0.0.0",
    "s=-",
    "t=0 0",
    "m=application 50001 DTLS/SCTP 5000",
    "c=IN IP4 10.0.0.5",
    "a=mid:0",
]
CANDIDATES = [
    "a=candidate:1 1 udp 2130706431 10.0.0.5 50001 typ host",
    "a=candidate:2 1 udp 2130706430 fd00::5 50002 typ host",
]
TAIL = ["a=end-of-candidates", "a=ice-ufrag:abcd", "a=ice-pwd:" + "x" * 22]


def text(*lines: str) -> str:
    return "\r\n".join([*lines, ""])


def test_aiortc_reads_one_candidate_the_relay_and_all_the_rest_as_it_was() -> None:
    moved = sdp_via(text(*HEAD, *CANDIDATES, *TAIL), ("127.0.0.1", 4000))
    (media,) = SessionDescription.parse(moved).media
    assert [(candidate.ip, candidate.port, candidate.type) for candidate in media.ice_candidates] == [
        ("127.0.0.1", 4000, "host")
    ]
    lines = moved.split("\r\n")
    assert [line for line in lines if not line.startswith("a=candidate:")] == [*HEAD, *TAIL, ""]


def test_an_sdp_without_candidates_stays_as_it_is() -> None:
    assert sdp_via(text(*HEAD, *TAIL), ("127.0.0.1", 4000)) == text(*HEAD, *TAIL)
