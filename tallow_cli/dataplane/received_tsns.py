"""Which of the peer's TSNs have arrived: one cumulative number, and ranges above it. Also says when to SACK.

A batch of consecutive TSNs is one call, so the cost is per batch and per gap (stock aiortc sorts a set for every
packet: 100 us each at 1,000 gaps). RFC 9260 section 6.2; SACK at once on a new or a filled gap, on duplicates and on
the I bit (RFC 7053), else every few packets or after a short time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

from tallow_cli.dataplane.packets import encode_sack
from tallow_cli.dataplane.serial import TSN_MASK

# A gap block's offsets have 16 bits: what lies beyond could not be reported, so it is not accepted either.
MAX_SPAN: Final = 65_535
# More than any batch yields from a peer that behaves; the rest go unreported.
MAX_DUPLICATES: Final = 32
# RFC 9260 allows 200 ms, which starves a rate estimator; DATAPLANE: 1 to 2 ms.
SACK_DELAY_S: Final = 0.002


class ReceivedTsns:
    """`cumulative_end`: the first TSN not received, as a plain integer; `highest_end`: one past the highest."""

    def __init__(self, initial_tsn: int, ack_every_packets: int) -> None:
        self.cumulative_end = initial_tsn
        self.highest_end = initial_tsn
        self.sack_at: float | None = None
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._duplicates: list[int] = []
        self._ack_every = ack_every_packets
        self._unacked_packets = 0

    @property
    def has_gaps(self) -> bool:
        return bool(self._starts)

    def __contains__(self, tsn: int) -> bool:
        if tsn < self.cumulative_end:
            return True
        index = bisect_right(self._starts, tsn) - 1
        return index >= 0 and tsn < self._ends[index]

    def add(self, now: float, first: int, end: int) -> None:
        """TSNs [first, end) arrived, none of which was there before."""
        self._unacked_packets += end - first
        if first == self.cumulative_end:
            self.cumulative_end = end
            if self._starts:
                self._absorb()
                self.sack_at = now  # a gap was filled
            elif self._unacked_packets >= self._ack_every:
                self.sack_at = now
        else:
            if first > self.highest_end or end < self.highest_end:
                self.sack_at = now  # a new gap, or part of one filled
            elif self._unacked_packets >= self._ack_every:
                self.sack_at = now
            self._insert(first, end)
        if end > self.highest_end:
            self.highest_end = end
        if self.sack_at is None:
            self.sack_at = now + SACK_DELAY_S

    def add_duplicate(self, now: float, tsn: int) -> None:
        self.sack_at = now
        if len(self._duplicates) < MAX_DUPLICATES:
            self._duplicates.append(tsn & TSN_MASK)

    def sack_soon(self, now: float) -> None:
        self.sack_at = now

    def forward(self, end: int) -> None:
        """The peer abandoned everything below `end` (RFC 3758 section 3.6)."""
        if end <= self.cumulative_end:
            return
        self.cumulative_end = end
        self.highest_end = max(self.highest_end, end)
        self._absorb()

    def take_sack(self, rwnd_bytes: int, max_bytes: int) -> bytes:
        """The SACK chunk, at most so many bytes: the lowest gap blocks that fit."""
        base = self.cumulative_end - 1
        room = (max_bytes - 16 - 4 * len(self._duplicates)) // 4
        gaps: list[int] = []
        for start, end in zip(self._starts[:room], self._ends[:room], strict=True):
            gaps.append(start - base)
            gaps.append(end - 1 - base)
        sack = encode_sack(base & TSN_MASK, rwnd_bytes, gaps, self._duplicates)
        self._duplicates.clear()
        self._unacked_packets = 0
        self.sack_at = None
        return sack

    def _insert(self, first: int, end: int) -> None:
        starts, ends = self._starts, self._ends
        if starts and first == ends[-1]:
            ends[-1] = end
            return
        index = bisect_left(starts, first)
        joins_left = index > 0 and ends[index - 1] == first
        joins_right = index < len(starts) and starts[index] == end
        if joins_left and joins_right:
            ends[index - 1] = ends[index]
            del starts[index], ends[index]
        elif joins_left:
            ends[index - 1] = end
        elif joins_right:
            starts[index] = first
        else:
            starts.insert(index, first)
            ends.insert(index, end)

    def _absorb(self) -> None:
        """Ranges that the cumulative TSN has reached become part of it."""
        starts, ends = self._starts, self._ends
        count = 0
        while count < len(starts) and starts[count] <= self.cumulative_end:
            self.cumulative_end = max(self.cumulative_end, ends[count])
            count += 1
        if count:
            del starts[:count], ends[:count]
