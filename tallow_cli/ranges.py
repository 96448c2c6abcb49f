"""Sets of integers kept as sorted, disjoint, half-open ranges: stream bytes held, packet numbers received.

Adjacent ranges are merged, so the number of ranges (`len`) is the memory the set costs; whoever fills a set
from a peer's words bounds it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RangeSet:
    """Half-open ranges `[start, end)` of integers. Empty ranges are accepted and change nothing."""

    __slots__ = ("_ends", "_starts", "_total")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._total = 0
        for start, end in ranges:
            self.add(start, end)

    @property
    def total(self) -> int:
        """How many integers are in the set."""
        return self._total

    def __len__(self) -> int:
        """How many ranges the set is made of."""
        return len(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, ascending."""
        return zip(self._starts, self._ends, strict=True)

    def __reversed__(self) -> Iterator[tuple[int, int]]:
        """The ranges, descending: an ACK names the newest first."""
        return zip(reversed(self._starts), reversed(self._ends), strict=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._starts == other._starts and self._ends == other._ends

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self._starts, value) - 1
        return index >= 0 and value < self._ends[index]

    def covers(self, start: int, end: int) -> bool:
        """Whether all of `[start, end)` is in the set (true of an empty range)."""
        if start >= end:
            return True
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and end <= self._ends[index]

    def covered_until(self, start: int) -> int:
        """The end of the range that holds `start`, or `start` itself if it is not in the set."""
        index = bisect_right(self._starts, start) - 1
        return self._ends[index] if index >= 0 and self._ends[index] > start else start

    def absent_until(self, start: int, limit: int) -> int:
        """`start` is not in the set: where the next range begins, at most `limit`."""
        index = bisect_left(self._starts, start)
        return min(self._starts[index], limit) if index < len(self._starts) else limit

    def add(self, start: int, end: int) -> int:
        """Put `[start, end)` in; returns how many of its integers were not there before."""
        if start >= end:
            return 0
        starts, ends = self._starts, self._ends
        if ends and ends[-1] == start:  # the usual case: what comes next
            ends[-1] = end
            self._total += end - start
            return end - start
        low = bisect_left(ends, start)  # the first range that reaches `start` or beyond it
        high = bisect_right(starts, end)  # one past the last range that begins at `end` or before it
        if low == high:
            starts.insert(low, start)
            ends.insert(low, end)
            self._total += end - start
            return end - start
        merged_start = min(start, starts[low])
        merged_end = max(end, ends[high - 1])
        held = sum(ends[index] - starts[index] for index in range(low, high))
        starts[low:high] = [merged_start]
        ends[low:high] = [merged_end]
        added = merged_end - merged_start - held
        self._total += added
        return added

    def remove(self, start: int, end: int) -> int:
        """Take `[start, end)` out; returns how many of its integers were there."""
        if start >= end:
            return 0
        starts, ends = self._starts, self._ends
        low = bisect_right(ends, start)  # the first range that ends after `start`
        high = bisect_left(starts, end)  # one past the last range that begins before `end`
        if low >= high:
            return 0
        kept = []
        if starts[low] < start:
            kept.append((starts[low], start))
        if ends[high - 1] > end:
            kept.append((end, ends[high - 1]))
        held = sum(ends[index] - starts[index] for index in range(low, high))
        starts[low:high] = [pair[0] for pair in kept]
        ends[low:high] = [pair[1] for pair in kept]
        removed = held - sum(pair[1] - pair[0] for pair in kept)
        self._total -= removed
        return removed

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of `[start, end)` that are not in the set, ascending."""
        if start >= end:
            return []
        starts, ends = self._starts, self._ends
        found = []
        index = bisect_right(ends, start)
        position = start
        while position < end and index < len(starts) and starts[index] < end:
            if starts[index] > position:
                found.append((position, starts[index]))
            position = ends[index]
            index += 1
        if position < end:
            found.append((position, end))
        return found
