"""Writes the vectors of control messages and offers: `python -m tests.vectors.make_control`.

They are those of docs/spec/transfer.md and manifest.md. The bytes are spelled out here by hand, MessagePack value by
value, and not by the codec under test; the test compares both. What is refused breaks one rule, named in `why`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "control"


def text(value: str) -> str:
    """A fixstr, or a str 8."""
    data = value.encode()
    head = f"{0xA0 | len(data):02x}" if len(data) < 32 else f"d9{len(data):02x}"
    return head + data.hex()


def binary(data: bytes) -> str:
    """A bin 8."""
    return f"c4{len(data):02x}" + data.hex()


def array(*values: str) -> str:
    return f"{0x90 | len(values):02x}" + "".join(values)


def mapping(**values: str) -> str:
    return f"{0x80 | len(values):02x}" + "".join(text(key) + value for key, value in values.items())


DIGEST = bytes(range(32))
NO, YES, NIL, ZERO, ONE = "c2", "c3", "c0", "00", "01"
U8, U16, U32 = "cc", "cd", "ce"
LINUX = mapping(folds=NO, forbids=text(""), strips=NO, devices=NO, text_only=NO, longest=U8 + "ff")
WINDOWS = mapping(
    folds=YES, forbids=text('"*:<>?\\|'), strips=YES, devices=YES, text_only=YES, longest=U8 + "ff"
)

MESSAGES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "a receiver on Linux is ready",
        mapping(type=text("ready"), version=ONE, names=LINUX),
        {
            "type": "ready",
            "version": 1,
            "names": {
                "folds": False, "forbids": "", "strips": False, "devices": False, "text_only": False, "longest": 255,
            },
        },
    ),
    (
        "a receiver on Windows is ready",
        mapping(type=text("ready"), version=ONE, names=WINDOWS),
        {
            "type": "ready",
            "version": 1,
            "names": {
                "folds": True, "forbids": '"*:<>?\\|', "strips": True, "devices": True, "text_only": True,
                "longest": 255,
            },
        },
    ),
    (
        "file 3 was changed while it was sent; 70,000 bytes of it are on their way",
        mapping(type=text("withdraw"), index="03", size=U32 + "00011170", why=text("changed")),
        {"type": "withdraw", "index": 3, "size": 70_000, "why": "changed"},
    ),
    (
        "a receiver that has nothing",
        mapping(type=text("accept"), credit=U32 + "02000000", held="90", kept=binary(b""), claims="90"),
        {"type": "accept", "credit": 33_554_432, "held": [], "kept": [], "claims": []},
    ),
    (
        "a receiver that holds two ranges, keeps the files 1, 8 and 9, and claims to have 4 MiB of another",
        mapping(
            type=text("accept"),
            credit=U32 + "02000000",
            held=array(array(ZERO, "0a"), array("14", U16 + "0400")),
            kept=binary(b"\x02\x03"),
            claims=array(array(U32 + "00100000", U32 + "00500000")),
        ),
        {
            "type": "accept",
            "credit": 33_554_432,
            "held": [[0, 10], [20, 1024]],
            "kept": [1, 8, 9],
            "claims": [[1_048_576, 5_242_880]],
        },
    ),
    (
        "the digest of piece 7, and piece 8 cannot be read",
        mapping(type=text("piece-digests"), first="07", digests=array(binary(DIGEST), binary(bytes(32)))),
        {"type": "piece-digests", "first": 7, "digests": [DIGEST.hex(), bytes(32).hex()]},
    ),
    (
        "two ranges that were claimed are wanted after all",
        mapping(type=text("want"), ranges=array(array(ZERO, "0a"), array(U8 + "ff", U16 + "0100"))),
        {"type": "want", "ranges": [[0, 10], [255, 256]]},
    ),
    (
        "a receiver that needed 12 % of a core, waited for one for 1 %, and whose disk was busy for 62 % of the time",
        mapping(
            type=text("use-report"), core_ppm=U32 + "0001d4c0", robbed_ppm=U16 + "2710",
            blocked=array(array("08", U32 + "000975e0")),
        ),
        {"type": "use-report", "core_ppm": 120_000, "robbed_ppm": 10_000, "blocked": [[8, 620_000]]},
    ),
    (
        "62 % of ten seconds went to the receiver's disk, which leads since four, and 38 % to the path; of 30 s, 90 %",
        mapping(
            type=text("verdict"), window_ms=U16 + "2710", since_ms=U16 + "0fa0",
            shares=array(array("08", U32 + "000975e0"), array("01", U32 + "0005cc60")),
            whole_ms=U16 + "7530", whole=array(array("08", U32 + "000dbba0")),
        ),
        {
            "type": "verdict", "window_ms": 10_000, "since_ms": 4_000,
            "shares": [[8, 620_000], [1, 380_000]], "whole_ms": 30_000, "whole": [[8, 900_000]],
        },
    ),
]  # fmt: skip

REFUSED_MESSAGES: list[tuple[str, str]] = [
    ("a reason that is none", mapping(type=text("withdraw"), index="03", size=ZERO, why=text("boredom"))),
    ("a size below nothing", mapping(type=text("withdraw"), index="03", size="ff", why=text("changed"))),
    ("rules that are not all there are", mapping(type=text("ready"), version=ONE, names=mapping(more=YES))),
    ("names of at most 7 bytes", mapping(type=text("ready"), version=ONE, names=mapping(longest="07"))),
    ("a range of one end", mapping(type=text("accept"), credit=ZERO, held=array(array(ZERO)))),
    (
        "a range that begins below nothing",
        mapping(type=text("accept"), credit=ZERO, claims=array(array("ff", ONE))),
    ),
    ("kept files as an array", mapping(type=text("accept"), credit=ZERO, kept=array(ONE))),
    (
        "kept files with a zero byte at the end",
        mapping(type=text("accept"), credit=ZERO, kept=binary(b"\1\0")),
    ),
    (
        "a digest of 31 bytes",
        mapping(type=text("piece-digests"), first=ZERO, digests=array(binary(bytes(31)))),
    ),
    (
        "a cause of number 0",
        mapping(type=text("use-report"), core_ppm=ZERO, robbed_ppm=ZERO, blocked=array(array(ZERO, ONE))),
    ),
    (
        "a cause of number 19",
        mapping(type=text("use-report"), core_ppm=ZERO, robbed_ppm=ZERO, blocked=array(array("13", ONE))),
    ),
    (
        "more than all of the time",
        mapping(
            type=text("use-report"),
            core_ppm=U32 + "000f4241",
            robbed_ppm=ZERO,
            blocked="90",
        ),
    ),
    (
        "a verdict that names nothing",
        mapping(
            type=text("verdict"),
            window_ms=ONE,
            since_ms=ZERO,
            shares="90",
            whole_ms=ONE,
            whole="90",
        ),
    ),
    ("no digest", mapping(type=text("piece-digests"), first=ZERO, digests="90")),
    ("nothing is wanted", mapping(type=text("want"), ranges="90")),
    ("1,025 ranges are wanted", mapping(type=text("want"), ranges="dc0401" + array(ZERO, ONE) * 1025)),
]

HOLES = bytes(8) + (65_536).to_bytes(8, "big")
OFFERS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "a directory, a name that is no UTF-8, a file whose first 64 KiB are a hole, and two links left out",
        array(
            text("files"),
            array(
                array(text("d"), text("directory"), ZERO, U16 + "01ed", "05", NIL, binary(b"")),
                array(binary(b"d/\xff"), text("file"), ZERO, U16 + "0180", "ff", NIL, binary(b"")),
                array(text("d/s"), text("file"), U32 + "000f4240", U16 + "01a4", "07", NIL, binary(HOLES)),
                array(text("d/l"), text("symlink"), ZERO, U16 + "01ff", ZERO, binary(b"\xff"), binary(b"")),
            ),
            array(array(text("link"), "02")),
        ),
        {
            "kind": "files",
            "entries": [
                ["d", "directory", 0, 0o755, 5, None, []],
                ["d/\udcff", "file", 0, 0o600, -1, None, []],
                ["d/s", "file", 1_000_000, 0o644, 7, None, [[0, 65_536]]],
                ["d/l", "symlink", 0, 0o777, 0, "\udcff", []],
            ],
            "left_out": [["link", 2]],
            "stream_bytes": 934_464,
        },
    ),
]

REFUSED_OFFERS: list[tuple[str, str]] = [
    ("a name as binary that is UTF-8", array(text("files"), array(array(binary(b"a"), text("file"))))),
    (
        "a hole behind the end",
        array(text("files"), array(array(text("a"), text("file"), "0a", ZERO, ZERO, NIL, binary(HOLES)))),
    ),
    (
        "a hole of 15 bytes",
        array(text("files"), array(array(text("a"), text("file"), "0a", ZERO, ZERO, NIL, binary(bytes(15))))),
    ),
    (
        "one reason twice",
        array(
            text("files"),
            array(array(text("a"), text("file"))),
            array(array(text("link"), ONE), array(text("link"), ONE)),
        ),
    ),
]  # fmt: skip


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    content = {
        "messages": [{"what": what, "hex": data, "says": says} for what, data, says in MESSAGES],
        "refused_messages": [{"why": why, "hex": data} for why, data in REFUSED_MESSAGES],
        "offers": [{"what": what, "hex": data, "says": says} for what, data, says in OFFERS],
        "refused_offers": [{"why": why, "hex": data} for why, data in REFUSED_OFFERS],
    }
    (FOLDER / "vectors.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
