from __future__ import annotations

from tallow_cli.link.description import CandidateInfo
from tallow_cli.link.link import IceServer
from tallow_cli.webrtc.candidates import candidate_info, relay_candidate, rtc_candidate, rtc_ice_server


def test_a_candidate_is_the_same_after_both_ways() -> None:
    host = CandidateInfo("192.0.2.1", 4000, "host", 99, "f1")
    reflexive = CandidateInfo("198.51.100.1", 5000, "srflx", 7, "f2", "192.0.2.1", 4000)
    for candidate in (host, reflexive):
        assert candidate_info(rtc_candidate(candidate)) == candidate


def test_a_relay_stands_for_all_of_the_peers_addresses() -> None:
    assert rtc_candidate(relay_candidate("127.0.0.1", 9)).ip == "127.0.0.1"


def test_an_ice_server_keeps_its_credentials() -> None:
    server = rtc_ice_server(IceServer("turn:192.0.2.1:3478", "user", "secret"))
    assert (server.urls, server.username, server.credential) == ("turn:192.0.2.1:3478", "user", "secret")
