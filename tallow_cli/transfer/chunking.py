"""How large a chunk is: a table of path conditions, and the controller that moves along it.

Driver contract (sans-IO, no clock): call `report_metrics` at an even pace (a few times a second) with what
was measured since the last call; read `chunk_size` when cutting the next chunk. Listeners are called from
within `report_metrics`, only when the size changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
MEGABYTE: Final = 1_000_000  # rates count in powers of ten, as networks do


class ChunkMode(StrEnum):
    """How fast the controller moves; the table's limits are the same for all."""

    AGGRESSIVE = "aggressive"
    BALANCED = "balanced"
    CONSERVATIVE = "conservative"


@dataclass(frozen=True, slots=True)
class ChunkRule:
    """One row: the chunk for a path that is faster than `rate_above`, and below both other limits."""

    chunk_size: int  # bytes
    rtt_below_s: float
    loss_below: float  # fraction
    lan_only: bool = False
    rate_above: float = -inf  # bytes/s

    def matches(self, is_lan: bool, rate_bytes_per_s: float, rtt_s: float, loss: float) -> bool:
        return (
            (is_lan or not self.lan_only)
            and rate_bytes_per_s > self.rate_above
            and rtt_s < self.rtt_below_s
            and loss < self.loss_below
        )


# Best first; the first row that matches decides, and the last matches everything.
CHUNK_RULES: Final = (
    ChunkRule(4 * MIB, rtt_below_s=0.005, loss_below=0.001, lan_only=True, rate_above=500 * MEGABYTE),
    ChunkRule(1 * MIB, rtt_below_s=0.010, loss_below=0.01, lan_only=True, rate_above=100 * MEGABYTE),
    ChunkRule(256 * KIB, rtt_below_s=0.010, loss_below=0.01),
    ChunkRule(128 * KIB, rtt_below_s=0.050, loss_below=0.05),
    ChunkRule(64 * KIB, rtt_below_s=0.100, loss_below=0.10),
    ChunkRule(32 * KIB, rtt_below_s=0.200, loss_below=inf),
    ChunkRule(16 * KIB, rtt_below_s=inf, loss_below=inf),
)
CHUNK_SIZES: Final = tuple(rule.chunk_size for rule in reversed(CHUNK_RULES))

# Before anything was measured: what a LAN can take at once, and what most of the internet can.
INITIAL_LAN_CHUNK: Final = 256 * KIB
INITIAL_CHUNK: Final = 64 * KIB


@dataclass(frozen=True, slots=True)
class _Pace:
    """How many reports in a row must ask for a change, and how many rows of the table it then moves."""

    reports_to_grow: int
    rows_to_grow: int
    reports_to_shrink: int
    rows_to_shrink: int


_ALL_ROWS = len(CHUNK_RULES)
_PACES: Final = {
    # Grows at once and forgives a bad moment: for paths known to be good.
    ChunkMode.AGGRESSIVE: _Pace(1, _ALL_ROWS, 3, 1),
    # Grows row by row on a second opinion, shrinks at once: a chunk too large costs more than one too small.
    ChunkMode.BALANCED: _Pace(2, 1, 1, _ALL_ROWS),
    # Grows only on a long good run: for radio links, whose good moments pass.
    ChunkMode.CONSERVATIVE: _Pace(5, 1, 1, _ALL_ROWS),
}


def chunk_size_for(is_lan: bool, rate_bytes_per_s: float, rtt_s: float, loss: float) -> int:
    """Return the table's chunk size in bytes for a path with this rate, RTT and lost fraction (0-1)."""
    matching = (rule for rule in CHUNK_RULES if rule.matches(is_lan, rate_bytes_per_s, rtt_s, loss))
    return next(matching, CHUNK_RULES[-1]).chunk_size


class AdaptiveBitrateController:
    """Follows the table as the path changes; on a steady path it ends at the table's value in any mode."""

    def __init__(self, is_lan: bool, mode: ChunkMode = ChunkMode.BALANCED) -> None:
        self._is_lan = is_lan
        self._pace = _PACES[ChunkMode(mode)]
        self._row = CHUNK_SIZES.index(INITIAL_LAN_CHUNK if is_lan else INITIAL_CHUNK)
        self._streak = 0  # reports in a row that ask for more (positive) or for less (negative)
        self._listeners: list[Callable[[int], None]] = []

    @property
    def chunk_size(self) -> int:
        """The chunk size in bytes to use now."""
        return CHUNK_SIZES[self._row]

    def add_listener(self, listener: Callable[[int], None]) -> None:
        """Have `listener(chunk_size)` called after every change."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[int], None]) -> None:
        """Undo `add_listener`. Raises ValueError for one that was not added."""
        self._listeners.remove(listener)

    def report_metrics(self, rate_bytes_per_s: float, rtt_s: float, loss: float) -> int:
        """Take in what was measured since the last report, and return the chunk size to use now.

        `rate_bytes_per_s` is payload, `rtt_s` seconds, `loss` the lost fraction of the packets (0-1).
        """
        wanted = CHUNK_SIZES.index(chunk_size_for(self._is_lan, rate_bytes_per_s, rtt_s, loss))
        row = self._next_row(wanted)
        if row != self._row:
            self._row = row
            for listener in tuple(self._listeners):
                listener(self.chunk_size)
        return self.chunk_size

    def _next_row(self, wanted: int) -> int:
        pace = self._pace
        if wanted > self._row:
            self._streak = max(self._streak, 0) + 1
            if self._streak >= pace.reports_to_grow:
                self._streak = 0
                return min(wanted, self._row + pace.rows_to_grow)
        elif wanted < self._row:
            self._streak = min(self._streak, 0) - 1
            if -self._streak >= pace.reports_to_shrink:
                self._streak = 0
                return max(wanted, self._row - pace.rows_to_shrink)
        else:
            self._streak = 0
        return self._row
