"""What a receiver claims to have is proven piece by piece: where the pieces lie.

A claimed range is cut at the ends of files and of segments. A segment is `SEGMENT_BYTES` of one file's data, counted
from the file's first byte in the stream (holes are not in the stream). So the list follows from the offer and the
claims alone: both ends make it, and speak of a piece by its index. docs/spec/transfer.md is normative.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple, overload

# A wrong byte costs so much sent again, a digest so many bytes of disk; a million of them are 4 TiB.
SEGMENT_BYTES = 4 * 1024 * 1024


class Piece(NamedTuple):
    """Bytes [start, end) of the stream: of one file, and within one of its segments."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


class Pieces(Sequence[Piece]):
    """The pieces of `claims`, in the order of the stream; 16 bytes of memory each.

    `file_ends`: the offset at which each file of the stream ends, ascending. `claims`: half-open ranges, ascending and
    apart, within the stream. Raises ValueError for claims that are not.
    """

    __slots__ = ("_ends", "_segment_bytes", "_starts", "total_bytes")

    def __init__(
        self,
        file_ends: Sequence[int] = (),
        claims: Iterable[tuple[int, int]] = (),
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._segment_bytes = segment_bytes
        self._starts = array("q")
        self._ends = array("q")
        self.total_bytes = 0
        previous = 0
        for start, end in claims:
            if not previous <= start < end or not file_ends or end > file_ends[-1]:
                raise ValueError(f"a claim of bytes {start} to {end}, after {previous}")
            self._cut(file_ends, start, end)
            self.total_bytes += end - start
            previous = end

    def _cut(self, file_ends: Sequence[int], start: int, end: int) -> None:
        index = bisect_right(file_ends, start)  # empty files end at or before it
        while start < end:
            file_start, file_end = file_ends[index - 1] if index else 0, file_ends[index]
            stop = min(end, file_end)
            while start < stop:
                segment_end = start + self._segment_bytes - (start - file_start) % self._segment_bytes
                piece_end = min(stop, segment_end)
                self._starts.append(start)
                self._ends.append(piece_end)
                start = piece_end
            index += 1

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Piece: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Piece, ...]: ...

    def __getitem__(self, index: int | slice) -> Piece | tuple[Piece, ...]:
        if isinstance(index, slice):
            return tuple(map(Piece, self._starts[index], self._ends[index]))
        return Piece(self._starts[index], self._ends[index])

    def __eq__(self, other: object) -> bool:
        """As tuples are, of pieces or of pairs."""
        if isinstance(other, Pieces):
            return self._starts == other._starts and self._ends == other._ends
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as of any list

    def __repr__(self) -> str:
        return f"Pieces({[tuple(piece) for piece in self]})"

    def within(self, start: int, end: int) -> range:
        """The indexes of the pieces that begin in [start, end); of a file: all of its pieces."""
        return range(bisect_left(self._starts, start), bisect_left(self._starts, end))
