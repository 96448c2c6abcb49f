"""A token bucket that spreads packets over time in user space.

Sans-IO. The driver asks `budget(now)`, sends no more than that, says `on_sent`, and sets a timer for
`next_send_at(now)`. Kernel pacing needs the fq or etf qdisc, which desktops lack; a user-space bucket with
bursts of 1-2 ms paces nearly as well (CoNEXT 2025, "QUIC Steps", arXiv 2505.09222).
"""

from __future__ import annotations

from tallow_cli.dataplane.congestion.controller import BytesPerSecond

# A timer that fires late must not cost rate: the bucket keeps what accrued while we slept, up to this long.
# asyncio and uvloop round timers up to whole milliseconds, and a busy machine adds several more: with 2 ms kept, a
# 100 Mbit/s path between two loaded cores ran at 84 although it was paced at 99.
MAX_LATENESS_S = 0.010
# … but no more bytes than this: with a gulp on top it must fit a receiver with Linux' default socket buffer, which
# holds 184-300 packets …
MAX_SAVED_BYTES = 128 * 1024
# … or one that has said that it holds 2 MiB. 128 KiB are 0.7 ms at 1.5 Gbit/s, less than any timer is late.
LARGE_SAVED_BYTES = 512 * 1024
# One gulp is what the rate yields in this time: long enough for a batch that GSO rewards, short enough for
# queues.
QUANTUM_S = 0.001
MIN_QUANTUM_PACKETS = 2


def quantum_bytes(rate: BytesPerSecond, mtu_bytes: int, max_bytes: int) -> int:
    """How much to send at one go: 1 ms at `rate` in whole packets, at least two, at most `max_bytes`."""
    packets = int(rate * QUANTUM_S / mtu_bytes)
    at_most = max(max_bytes // mtu_bytes, 1)
    return min(max(packets, MIN_QUANTUM_PACKETS), at_most) * mtu_bytes


class Pacer:
    """Tokens are bytes. They accrue at the rate and are capped, so that silence never turns into a large
    burst: at `max_saved_bytes` beside the gulp."""

    __slots__ = ("_burst", "_max_saved", "_quantum", "_rate", "_tokens", "_updated_at")

    def __init__(
        self, rate: BytesPerSecond, quantum_bytes: int, max_saved_bytes: int = MAX_SAVED_BYTES
    ) -> None:
        self._rate = rate
        self._max_saved = max_saved_bytes
        self._quantum = quantum_bytes
        self._burst = float(quantum_bytes)
        self._tokens = float(quantum_bytes)
        self._updated_at = -1.0

    @property
    def rate(self) -> BytesPerSecond:
        return self._rate

    def set_rate(self, rate: BytesPerSecond, quantum_bytes: int) -> None:
        """Pace at `rate` in gulps of `quantum_bytes`. Tokens earned stay earned, up to the new cap."""
        self._rate = rate
        self._quantum = quantum_bytes
        self._burst = quantum_bytes + min(rate * MAX_LATENESS_S, self._max_saved)
        if self._tokens > self._burst:
            self._tokens = self._burst

    def budget(self, now: float) -> int:
        """Bytes that may leave now: 0 until a quantum has accrued, so that packets leave in batches."""
        self._refill(now)
        # Half a byte forgives the rounding of `next_send_at`; without it a driver could spin on its own
        # timer.
        return int(self._tokens + 0.5) if self._tokens + 0.5 >= self._quantum else 0

    def on_sent(self, now: float, size_bytes: int) -> None:
        """`size_bytes` left. A probe or the last packet of a run may put the bucket into debt."""
        self._refill(now)
        self._tokens -= size_bytes

    def on_idle(self, now: float) -> None:
        """There was nothing to send until now: what accrued meanwhile was not owed to a late timer."""
        self._refill(now)
        self._tokens = min(self._tokens, float(self._quantum))

    def next_send_at(self, now: float) -> float:
        """When `budget` will next be above zero; `now` or earlier means at once."""
        self._refill(now)
        missing = self._quantum - self._tokens
        return now if missing <= 0.5 else now + missing / self._rate

    def _refill(self, now: float) -> None:
        if self._updated_at < 0.0:
            self._updated_at = now
            return
        elapsed = now - self._updated_at
        if elapsed <= 0.0:
            return
        self._updated_at = now
        tokens = self._tokens + elapsed * self._rate
        self._tokens = tokens if tokens < self._burst else self._burst
