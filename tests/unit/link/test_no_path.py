"""link.no_path: each cause from both ends, with the help that fits, in words and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tallow_cli.link.description import CandidateInfo, Description, Survey
from tallow_cli.link.no_path import Cause, Checks, Help, diagnosis

MIRROR = {"here": "peer", "peer": "here", "both": "both"}
PRIVATE, SEEN, SIX = "10.0.0.2", "203.0.113.2", "2001:db8::2"
RELAYED = ("turn:r:3478?transport=udp", "it does not answer")
RELAYED_TCP = ("turn:r:3478?transport=tcp", "it is full")


def side(*addresses: str, **survey: Any) -> Description:
    candidates = tuple(
        CandidateInfo(address, 4_000, "srflx" if address == SEEN else "host", 1, "1") for address in addresses
    )
    return Description("abcd", "p" * 22, "", "client", 5_000, 65_536, candidates, survey=Survey(**survey))


CONE = side(PRIVATE, SEEN, stun="answered", nat="endpoint-independent")
SYMMETRIC = side(PRIVATE, SEEN, stun="answered", nat="endpoint-dependent")
BLOCKED = side(PRIVATE, stun="silent")
UNASKED, UNASKED_ELSEWHERE = side(PRIVATE), side("192.168.7.2")


@pytest.mark.parametrize(
    ("ours", "theirs", "cause", "where", "helps"),
    [
        (CONE, CONE, "filtered", "both", ["relay", "port", "network"]),
        (CONE, SYMMETRIC, "symmetric-nat", "peer", ["relay", "network"]),
        (SYMMETRIC, SYMMETRIC, "symmetric-nat", "both", ["relay", "network"]),
        (BLOCKED, SYMMETRIC, "udp-blocked", "here", ["relay-by-tcp", "network"]),
        (BLOCKED, BLOCKED, "udp-blocked", "both", ["relay-by-tcp", "network"]),
        (UNASKED, UNASKED_ELSEWHERE, "private-addresses", "both", ["ice-server", "network"]),
        (UNASKED, UNASKED, "filtered", "both", ["relay", "port", "network"]),
        (side(SIX), CONE, "no-common-family", "both", ["relay", "network"]),
        (side(), CONE, "no-address", "here", ["relay", "network"]),
    ],
)
def test_both_sides_name_the_same_cause_from_where_they_stand(
    ours: Description, theirs: Description, cause: str, where: str, helps: list[str]
) -> None:
    here = diagnosis(ours, theirs, Checks(pairs=2))
    there = diagnosis(theirs, ours, Checks(pairs=2))
    assert here.findings is not None
    assert there.findings is not None
    assert (here.findings["cause"], here.findings["where"], here.findings["help"]) == (cause, where, helps)
    assert (there.findings["cause"], there.findings["where"]) == (cause, MIRROR[where])
    assert here.findings["here"] == there.findings["peer"]


def test_what_came_through_one_way_is_told_before_what_the_servers_said() -> None:
    heard = diagnosis(CONE, SYMMETRIC, Checks(pairs=2, heard=True))
    answered = diagnosis(CONE, SYMMETRIC, Checks(pairs=2, answered=1))
    assert heard.findings is not None
    assert answered.findings is not None
    assert [each.findings["cause"] for each in (heard, answered)] == ["one-way", "one-way"]  # type: ignore[index]  # asked above
    assert (heard.findings["where"], answered.findings["where"]) == ("here", "peer")


def test_the_sentence_lists_what_each_side_had_and_what_would_help() -> None:
    sentence = diagnosis(
        side(PRIVATE, SIX, SEEN, stun="answered"), SYMMETRIC, Checks(pairs=3), [RELAYED_TCP]
    ).sentence
    assert "here: 1 host and 1 srflx by IPv4, 1 host by IPv6; there: 1 host and 1 srflx by IPv4" in sentence
    assert "the relay turn:r:3478?transport=tcp: it is full" in sentence
    assert "See to the relay that gave no address" in sentence


def test_a_relay_by_udp_is_not_to_blame_where_udp_does_not_leave() -> None:
    blocked = side(PRIVATE, stun="silent", relay="failed")
    ready = side(PRIVATE, SEEN, stun="answered", relay="ready")
    found = diagnosis(blocked, ready, Checks(pairs=1), [RELAYED]).findings
    assert found is not None
    assert found["help"] == ["relay-by-tcp", "network"]
    found = diagnosis(blocked, ready, Checks(pairs=1), [RELAYED, RELAYED_TCP]).findings
    assert found is not None
    assert found["help"] == ["mend-relay", "network"]


def test_the_reference_names_every_cause_and_every_help() -> None:
    reference = (Path(__file__).parents[3] / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
    section = reference.split("### Why there is no path")[1].split("## ")[0]
    for each in (*Cause, *Help):
        assert f"`{each}`" in section, each
    found = diagnosis(CONE, BLOCKED, Checks(pairs=2)).findings
    assert found is not None
    for key in found:
        assert f'| "{key}' in section, key


def test_programs_get_every_figure_as_json() -> None:
    found = diagnosis(CONE, BLOCKED, Checks(pairs=2), [RELAYED]).findings
    assert json.loads(json.dumps(found)) == {
        "cause": "udp-blocked",
        "where": "peer",
        "here": {
            "candidates": {
                "host": {"ipv4": 1, "ipv6": 0},
                "srflx": {"ipv4": 1, "ipv6": 0},
                "relay": {"ipv4": 0, "ipv6": 0},
            },
            "stun": "answered",
            "nat": "endpoint-independent",
            "relay": "none",
        },
        "peer": {
            "candidates": {
                "host": {"ipv4": 1, "ipv6": 0},
                "srflx": {"ipv4": 0, "ipv6": 0},
                "relay": {"ipv4": 0, "ipv6": 0},
            },
            "stun": "silent",
            "nat": "unknown",
            "relay": "none",
        },
        "checks": {"pairs": 2, "answered": 0, "heard": False},
        "relays": [{"url": "turn:r:3478?transport=udp", "problem": "it does not answer"}],
        "help": ["mend-relay", "relay-by-tcp", "network"],
    }
