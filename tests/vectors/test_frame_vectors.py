"""The published vectors of docs/spec/transfer.md: packets that are read, and packets that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.frames import (
    HEADER_BYTES,
    Ack,
    Control,
    Credit,
    Data,
    Floor,
    Frame,
    Ping,
    encode_frames,
    encode_header,
    parse_frames_untrusted,
    parse_header_untrusted,
)
from tests.vectors.make_frames import FOLDER


def cases(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))[
        "packets"
    ]
    return loaded


def as_json(frame: Frame) -> dict[str, Any]:
    match frame:
        case Ping():
            return {"frame": "PING"}
        case Ack():
            ranges = [list(pair) for pair in frame.ranges]
            return {"frame": "ACK", "channel": frame.channel, "delay_us": frame.delay_us, "ranges": ranges}
        case Credit():
            return {"frame": "CREDIT", "limit": frame.limit}
        case Floor():
            return {"frame": "FLOOR", "number": frame.number}
        case Data():
            data = frame.data.hex()
            return {"frame": "DATA", "offset": frame.offset, "end_of_chunk": frame.end_of_chunk, "data": data}
        case Control():
            return {"frame": "CONTROL", "more": frame.more, "data": frame.data.hex()}


@pytest.mark.parametrize("case", cases("valid"), ids=lambda case: case["name"])
def test_a_valid_packet_says_what_the_vector_says_and_is_written_the_same(case: dict[str, Any]) -> None:
    packet = bytes.fromhex(case["packet"])
    header = parse_header_untrusted(packet)
    assert {"sealed": header.sealed, "channel": header.channel, "number": header.number} == case["header"]
    frames = parse_frames_untrusted(packet[HEADER_BYTES:])
    assert [as_json(frame) for frame in frames] == case["frames"]
    assert encode_header(header.sealed, header.channel, header.number) + encode_frames(frames) == packet


@pytest.mark.parametrize("case", cases("invalid"), ids=lambda case: case["why"])
def test_a_packet_that_breaks_one_rule_is_refused(case: dict[str, Any]) -> None:
    packet = bytes.fromhex(case["packet"])
    with pytest.raises(PeerProtocolError):
        parse_header_untrusted(packet) and parse_frames_untrusted(packet[HEADER_BYTES:])
