"""Writes the vectors of the list of pieces: `python -m tests.vectors.make_pieces`.

They are those of docs/spec/transfer.md, "What is there already". Every list is spelled out here by hand, and not by the
code under test.
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parent / "pieces"
Range = tuple[int, int]

S = 4_194_304  # a segment

PIECES: list[tuple[str, list[int], list[Range], list[Range]]] = [
    ("nothing is claimed", [1000], [], []),
    ("a small file", [1000], [(0, 1000)], [(0, 1000)]),
    ("a file of just a segment", [S], [(0, S)], [(0, S)]),
    ("a file of a segment and a byte", [S + 1], [(0, S + 1)], [(0, S), (S, S + 1)]),
    ("the inside of a segment", [3 * S], [(S + 5, S + 6)], [(S + 5, S + 6)]),
    (
        "a claim from within one segment into another",
        [3 * S],
        [(S - 1, 2 * S + 1)],
        [(S - 1, S), (S, 2 * S), (2 * S, 2 * S + 1)],
    ),
    (
        "segments count from each file's own first byte",
        [100, 100 + 2 * S],
        [(0, 100 + 2 * S)],
        [(0, 100), (100, 100 + S), (100 + S, 100 + 2 * S)],
    ),
    (
        "one claim over three files, two of them empty",
        [10, 10, 10, 20],
        [(5, 15)],
        [(5, 10), (10, 15)],
    ),
    (
        "two claims that touch are two pieces",
        [1000],
        [(0, 500), (500, 1000)],
        [(0, 500), (500, 1000)],
    ),
    (
        "several claims in one file, and the end of the stream",
        [2 * S + 7],
        [(1, 2), (S - 2, S + 2), (2 * S, 2 * S + 7)],
        [(1, 2), (S - 2, S), (S, S + 2), (2 * S, 2 * S + 7)],
    ),
    (
        "far in the stream",
        [2**40, 2**40 + 9],
        [(2**40 - 3, 2**40 + 2)],
        [(2**40 - 3, 2**40), (2**40, 2**40 + 2)],
    ),
]

REFUSED: list[tuple[str, list[int], list[Range]]] = [
    ("an empty range", [1000], [(5, 5)]),
    ("a range that ends before it begins", [1000], [(6, 5)]),
    ("a range beyond the stream", [1000], [(999, 1001)]),
    ("ranges out of order", [1000], [(10, 20), (0, 5)]),
    ("ranges that overlap", [1000], [(0, 10), (9, 20)]),
    ("something of an empty stream", [0, 0], [(0, 1)]),
    ("something of nothing", [], [(0, 1)]),
]


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    content = {
        "pieces": [
            {"what": what, "file_ends": ends, "claims": claims, "pieces": pieces}
            for what, ends, claims, pieces in PIECES
        ],
        "refused": [{"why": why, "file_ends": ends, "claims": claims} for why, ends, claims in REFUSED],
    }
    (FOLDER / "vectors.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
