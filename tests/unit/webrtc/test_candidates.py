from __future__ import annotations

from tallow_cli.link.description import CandidateInfo, CandidateType
from tallow_cli.link.link import IceServer
from tallow_cli.webrtc.candidates import (
    candidate_info,
    likeliest,
    relay_candidate,
    relay_servers,
    rtc_candidate,
    stun_servers,
)
from tallow_cli.webrtc.ice_server import RelayServer, StunServer


def test_a_candidate_is_the_same_after_both_ways() -> None:
    host = CandidateInfo("192.0.2.1", 4000, "host", 99, "f1")
    reflexive = CandidateInfo("198.51.100.1", 5000, "srflx", 7, "f2", "192.0.2.1", 4000)
    for candidate in (host, reflexive):
        assert candidate_info(rtc_candidate(candidate)) == candidate


def test_a_relay_stands_for_all_of_the_peers_addresses() -> None:
    assert rtc_candidate(relay_candidate("127.0.0.1", 9)).ip == "127.0.0.1"


def test_servers_are_told_apart_by_their_urls_and_keep_their_credentials() -> None:
    servers = [
        IceServer("stun:192.0.2.1:8765"),
        IceServer("stun:[2001:db8::1]"),
        IceServer("turn:192.0.2.1:3478", "user", "secret"),
        IceServer("turns:relay.example?transport=tcp", "user", "secret"),
    ]
    assert stun_servers(servers) == [StunServer("192.0.2.1", 8765), StunServer("2001:db8::1", 3478)]
    assert relay_servers(servers) == [
        RelayServer("192.0.2.1", 3478, "udp", False, "user", "secret"),
        RelayServer("relay.example", 5349, "tcp", True, "user", "secret"),
    ]


def test_what_a_server_says_and_cannot_be_read_is_nobody_to_ask() -> None:
    odd = [
        IceServer(url) for url in ("stun:", "stun:[", "stun:a:b", "turn:", "turn:a:0", "turn:a b", "turns:?")
    ]
    assert stun_servers(odd) == []
    assert relay_servers(odd) == []


def test_dozens_of_own_addresses_push_out_neither_a_nats_nor_a_relays() -> None:
    def candidate(kind: CandidateType, priority: int) -> CandidateInfo:
        return CandidateInfo("192.0.2.1", priority, kind, priority, "f")

    found = [candidate("host", 1000 + n) for n in range(60)]
    found += [candidate("srflx", 500 + n) for n in range(20)] + [candidate("relay", 1)]
    kept = likeliest(found)
    assert len(kept) == 32
    assert [each.type for each in kept] == ["host"] * 23 + ["srflx"] * 8 + ["relay"]
    assert kept[0].priority == 1059
    assert likeliest(found[-3:]) == (found[-2], found[-3], found[-1])
