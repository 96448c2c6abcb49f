from __future__ import annotations

import random

from tallow_cli.offer.manifest import Entry, EntryKind, pack_holes
from tallow_cli.store.sparse import SparseLayout, layout_of


def entry(size: int, *holes: tuple[int, int]) -> Entry:
    return Entry("s", EntryKind.FILE, size, packed_holes=pack_holes(holes))


def test_a_file_without_holes_needs_no_layout() -> None:
    assert layout_of(entry(10)) is None


def test_data_is_placed_around_holes() -> None:
    layout = SparseLayout(entry(100, (0, 10), (20, 30), (90, 100)))
    assert layout.length == 100
    assert layout.places(0, 70) == [(10, 10), (30, 60)]
    assert layout.places(5, 10) == [(15, 5), (30, 5)]
    assert layout.places(10, 1) == [(30, 1)]
    assert layout.places(69, 1) == [(89, 1)]
    assert layout.places(0, 0) == []
    assert SparseLayout(entry(50, (0, 50))).places(0, 0) == []


def test_places_are_those_of_the_plain_version() -> None:
    rng = random.Random(7)
    for _ in range(200):
        size = rng.randint(1, 60)
        marks = sorted(rng.sample(range(size + 1), 2 * rng.randint(0, min(4, (size + 1) // 2))))
        holes = [(a, b) for a, b in zip(marks[::2], marks[1::2], strict=True)]
        given = entry(size, *holes)
        data = [n for n in range(size) if not any(start <= n < end for start, end in holes)]
        assert given.data_bytes == len(data)
        start = rng.randint(0, len(data))
        count = rng.randint(0, len(data) - start)
        placed = [
            place + k for place, length in SparseLayout(given).places(start, count) for k in range(length)
        ]
        assert placed == data[start : start + count], (size, holes, start, count)
