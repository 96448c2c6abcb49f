"""Datagram packetization layer path MTU discovery (RFC 8899) for SCTP packets, sans-IO.

A probe is a HEARTBEAT padded to the size under test; its HEARTBEAT ACK confirms the size. No data rides in probes, so
a lost one costs nothing, and a size is used only once confirmed. Sizes are those of SCTP packets, multiples of 4.

The search opens with two probes at once, Ethernet's size and the largest allowed, so that a LAN and loopback are
done after one round trip; then it bisects the sizes that real links have. Driver: `next_probe(now)` gives a size to
send or None; `on_probe_ack`, `on_black_hole` as they happen; `next_timeout()` says when to ask again.
"""

from __future__ import annotations

from typing import Final

# RFC 8899 section 5.1.2: how often a size is tried before it is called too large.
MAX_PROBES: Final = 3
# RFC 8899 section 5.1.1 (PMTU_RAISE_TIMER): after so long, ask again whether the path has grown.
RAISE_INTERVAL_S: Final = 600.0
# RFC 8899's PROBE_TIMER is 15 s or more; a DTLS peer answers at once, so a few round trips tell.
PROBE_TIMEOUT_MIN_S: Final = 0.25
PROBE_TIMEOUT_RTTS: Final = 3.0
# Confirmed sizes of common links, as SCTP packets after IP, UDP (8) and a DTLS 1.2 GCM record (37):
# WireGuard 1420 over IPv6 and IPv4, PPPoE 1492, Ethernet 1500, jumbo 9000 (IPv6, IPv4 each), loopback's one TLS record.
LADDER: Final = (1332, 1352, 1404, 1424, 1412, 1432, 8912, 8932, 16_320)
# What nearly every path carries, by the largest of the rungs above that it covers.
COMMON_BYTES: Final = 1432


def usable(size_bytes: int) -> int:
    """The largest SCTP packet within `size_bytes`: chunks are padded to 4 bytes."""
    return size_bytes & ~3


class PathMtu:
    """The search over one path."""

    def __init__(self, base_bytes: int, max_bytes: int) -> None:
        self.base_bytes = usable(base_bytes)
        self._max_bytes = max(usable(max_bytes), self.base_bytes)
        self.current_bytes = self.base_bytes
        rungs = {size for size in LADDER if self.base_bytes < size < self._max_bytes}
        self._rungs = sorted({*rungs, self.base_bytes, self._max_bytes})
        self._low = 0
        self._high = len(self._rungs)  # the lowest rung that failed
        self._probing: int | None = None  # the rung under test
        self._attempts = 0
        self._asked: set[int] = set()
        common = [rung for rung, size in enumerate(self._rungs) if size <= COMMON_BYTES]
        self._opening = common[-1] if 0 < common[-1] < len(self._rungs) - 1 else 0
        self._due_at = 0.0
        self._is_resting = False  # searched to the end, waiting for the raise timer

    @property
    def is_searching(self) -> bool:
        return self._low + 1 < self._high

    @property
    def probed_bytes(self) -> int:
        """The size under test, 0 if none."""
        return 0 if self._probing is None else self._rungs[self._probing]

    def next_timeout(self) -> float | None:
        """When `next_probe` will have something to say; None if never."""
        return self._due_at if len(self._rungs) > 1 else None

    def next_probe(self, now: float, srtt_s: float) -> int | None:
        """The size to probe now, or None. What is returned counts as sent."""
        if len(self._rungs) == 1 or now < self._due_at:
            return None
        if self._opening:
            rung, self._opening = self._opening, 0
            self._asked.add(rung)
            return self._rungs[rung]
        if self._probing is not None and self._attempts >= MAX_PROBES:
            self._high, self._probing = self._probing, None
        if self._probing is None:
            if self._is_resting:
                self._is_resting, self._high = False, len(self._rungs)
            if not self.is_searching:
                self._rest(now)
                return None
            self._probing = self._choose()
            self._asked.add(self._probing)
            self._attempts = 0
        self._attempts += 1
        self._due_at = now + max(PROBE_TIMEOUT_MIN_S, PROBE_TIMEOUT_RTTS * srtt_s)
        return self._rungs[self._probing]

    def on_probe_ack(self, now: float, size_bytes: int) -> bool:
        """A probe of that size came back. True if packets may now be larger than before."""
        if size_bytes not in self._rungs:
            return False
        rung = self._rungs.index(size_bytes)
        if rung <= self._low or rung not in self._asked:
            return False  # late, or not ours
        self._low, self._high = rung, max(self._high, rung + 1)
        if self._probing is not None and self._probing <= rung:
            self._probing, self._due_at = None, now
        if not self.is_searching:
            self._rest(now)
        self.current_bytes = self._rungs[self._low]
        return True

    def on_black_hole(self, now: float) -> bool:
        """Packets above the base size do not arrive any more. True if the size fell.

        The size that failed and all above count as too large until the raise timer.
        """
        if self._low == 0:
            return False
        self._high, self._low = self._low, 0
        self._probing = None
        self._asked.clear()
        self._is_resting = False
        self.current_bytes = self.base_bytes
        self._due_at = now + PROBE_TIMEOUT_MIN_S
        if not self.is_searching:
            self._rest(now)
        return True

    def _choose(self) -> int:
        top = len(self._rungs)
        if self._high == top:
            return top - 1  # the largest first
        return (self._low + self._high) // 2

    def _rest(self, now: float) -> None:
        self._is_resting = True
        self._due_at = now + RAISE_INTERVAL_S
