"""Maximum over a sliding window, in constant time and space."""

from __future__ import annotations


class TwoBucketMax:
    """The largest value of this bucket and the one before it; the caller says when a bucket ends.

    The window is thus between one and two buckets long: what BBR v3 does with its two probing cycles.
    """

    __slots__ = ("_current", "_previous")

    def __init__(self) -> None:
        self._current = 0.0
        self._previous = 0.0

    @property
    def value(self) -> float:
        return self._current if self._current > self._previous else self._previous

    def update(self, value: float) -> None:
        if value > self._current:
            self._current = value

    def advance(self) -> None:
        """Begin a new bucket. An empty bucket is kept open: no news does not age what is known."""
        if self._current > 0.0:
            self._previous, self._current = self._current, 0.0

    def reset(self, value: float) -> None:
        """Forget everything but `value`."""
        self._previous, self._current = 0.0, value
