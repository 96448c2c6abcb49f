"""What the sender measured of the path, for the users of both ends: it alone can, and the receiver shows the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# RFC 3550 section 6.4.1: J += (|D| - J) / 16. The first sixteen differences are averaged plainly instead, so that the
# figure does not spend its first seconds climbing from zero.
JITTER_GAIN: Final = 16


@dataclass(frozen=True, slots=True)
class PathSummary:
    """Round trips in seconds, losses as fractions of the packets sent; all but the first two since the beginning."""

    rtt_s: float
    jitter_s: float
    avg_rtt_s: float
    min_rtt_s: float
    max_rtt_s: float
    avg_loss: float
    max_loss: float


class Jitter:
    """The smoothed change from one round trip to the next, in RFC 3550's sense. For whoever takes the samples."""

    __slots__ = ("_changes", "_latest_s", "value_s")

    def __init__(self) -> None:
        self.value_s = 0.0
        self._latest_s = -1.0
        self._changes = 0

    def add(self, rtt_s: float) -> None:
        if self._latest_s >= 0.0:
            if self._changes < JITTER_GAIN:
                self._changes += 1
            self.value_s += (abs(rtt_s - self._latest_s) - self.value_s) / self._changes
        self._latest_s = rtt_s
