"""Writes the frame vectors of docs/spec/transfer.md: `python -m tests.vectors.make_frames`.

The bytes of valid packets are spelled out here by hand, field by field, and not by the codec under test; the
test compares both. Each invalid packet breaks one rule, named in `why`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "frames"


def u(value: int, size: int) -> str:
    return value.to_bytes(size, "big").hex()


def header(channel: int, number: int, form: int = 0) -> str:
    return u(form, 1) + u(channel, 1) + u(number, 8)


def ack(
    channel: int, largest: int, delay_us: int, first: int, pairs: list[tuple[int, int]], count: int = -1
) -> str:
    count = len(pairs) if count < 0 else count
    tail = "".join(u(gap, 4) + u(length, 4) for gap, length in pairs)
    return "02" + u(channel, 1) + u(largest, 8) + u(delay_us, 4) + u(first, 4) + u(count, 2) + tail


DATA = "05" + u(0, 1) + u(0, 8)

VALID: list[tuple[str, str, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "a probe on data channel 2",
        header(2, 7) + "01",
        {"sealed": False, "channel": 2, "number": 7},
        [{"frame": "PING"}],
    ),
    (
        "the last message of a chunk, behind the floor",
        header(1, 300) + "04" + u(298, 8) + "05" + "01" + u(1 << 33, 8) + b"tallow".hex(),
        {"sealed": False, "channel": 1, "number": 300},
        [
            {"frame": "FLOOR", "number": 298},
            {"frame": "DATA", "offset": 1 << 33, "end_of_chunk": True, "data": b"tallow".hex()},
        ],
    ),
    (
        "an ACK of 90 to 100, 5 to 7 and 0, with the credit",
        header(3, 12) + ack(2, 100, 25_000, 11, [(82, 3), (4, 1)]) + "03" + u(1 << 25, 8),
        {"sealed": False, "channel": 3, "number": 12},
        [
            {"frame": "ACK", "channel": 2, "delay_us": 25_000, "ranges": [[90, 100], [5, 7], [0, 0]]},
            {"frame": "CREDIT", "limit": 1 << 25},
        ],
    ),
    (
        "two channels acknowledged at once",
        header(1, 0) + ack(1, 4, 0, 5, []) + ack(2, 2**56 - 1, 2**32 - 1, 1, []) + "03" + u(0, 8),
        {"sealed": False, "channel": 1, "number": 0},
        [
            {"frame": "ACK", "channel": 1, "delay_us": 0, "ranges": [[0, 4]]},
            {"frame": "ACK", "channel": 2, "delay_us": 2**32 - 1, "ranges": [[2**56 - 1, 2**56 - 1]]},
            {"frame": "CREDIT", "limit": 0},
        ],
    ),
    (
        "a fragment of a control message that goes on",
        header(0, 1) + "06" + "01" + b"\x82\xa4type".hex(),
        {"sealed": False, "channel": 0, "number": 1},
        [{"frame": "CONTROL", "more": True, "data": b"\x82\xa4type".hex()}],
    ),
    (
        "a whole control message: Bye",
        header(0, 5) + "06" + "00" + b"\x81\xa4type\xa3bye".hex(),
        {"sealed": False, "channel": 0, "number": 5},
        [{"frame": "CONTROL", "more": False, "data": b"\x81\xa4type\xa3bye".hex()}],
    ),
]

INVALID: list[tuple[str, str]] = [
    ("nothing at all", ""),
    ("a header cut short", header(1, 1)[:-2]),
    ("a header without frames", header(1, 1)),
    ("an unknown packet form", header(1, 1, form=2) + "01"),
    ("a channel above 16", header(17, 1) + "01"),
    ("a packet number of 57 bits", header(1, 2**56) + "01"),
    ("an unknown frame type", header(1, 1) + "07"),
    ("frame type 0", header(1, 1) + "00"),
    ("65 frames", header(1, 1) + "01" * 65),
    ("a CREDIT cut short", header(1, 1) + "03" + u(1, 7)),
    ("a CREDIT of 2^63", header(1, 1) + "03" + u(2**63, 8)),
    ("a FLOOR cut short", header(1, 1) + "04"),
    ("a DATA frame without data", header(1, 1) + DATA),
    ("an unknown DATA flag", header(1, 1) + "05" + "02" + u(0, 8) + "00"),
    ("DATA that ends beyond 2^63 - 1", header(1, 1) + "05" + "00" + u(2**63 - 1, 8) + "00"),
    ("a CONTROL frame without data", header(0, 1) + "06" + "00"),
    ("an unknown CONTROL flag", header(0, 1) + "06" + "02" + "00"),
    ("an ACK cut short", header(1, 1) + ack(1, 10, 0, 1, [])[:-2]),
    ("an ACK whose last pair is cut short", header(1, 1) + ack(1, 10, 0, 1, [(1, 1)])[:-2]),
    ("an ACK of the control channel", header(1, 1) + ack(0, 10, 0, 1, [])),
    ("an ACK of a channel above 16", header(1, 1) + ack(17, 10, 0, 1, [])),
    ("an ACK of a packet number of 57 bits", header(1, 1) + ack(1, 2**56, 0, 1, [])),
    ("an ACK whose first range is empty", header(1, 1) + ack(1, 10, 0, 0, [])),
    ("an ACK whose first range begins below 0", header(1, 1) + ack(1, 10, 0, 12, [])),
    ("an ACK of a range that touches the one above", header(1, 1) + ack(1, 10, 0, 1, [(0, 1)])),
    ("an ACK of an empty range", header(1, 1) + ack(1, 10, 0, 1, [(1, 0)])),
    ("an ACK of a range that begins below 0", header(1, 1) + ack(1, 10, 0, 1, [(5, 6)])),
    ("an ACK of 257 ranges", header(1, 1) + ack(1, 10_000, 0, 1, [(1, 1)] * 256)),
]


def main() -> None:
    valid = [
        {"name": name, "packet": packet, "header": head, "frames": frames}
        for name, packet, head, frames in VALID
    ]
    invalid = [{"why": why, "packet": packet} for why, packet in INVALID]
    for name, description, cases in (
        ("valid", "Clear packets in hex and what they say. Ranges are inclusive.", valid),
        ("invalid", "Clear packets in hex that a receiver refuses; each breaks one rule.", invalid),
    ):
        text = json.dumps({"description": description, "packets": cases}, indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
