"""Rates of data: from bytes and seconds to Mbit/s, and to words."""

from __future__ import annotations

BITS_PER_BYTE = 8
BITS_PER_MEGABIT = 1_000_000  # networks count in powers of ten


def mbps(size_bytes: int, seconds: float) -> float:
    """Return the rate in Mbit/s; 0 where no time has passed."""
    return size_bytes * BITS_PER_BYTE / BITS_PER_MEGABIT / seconds if seconds > 0 else 0.0


def format_throughput(rate_mbps: float) -> str:
    """Return a rate in Mbit/s as people read it: `850 kbit/s`, `94.3 Mbit/s`, `1.06 Gbit/s`."""
    rate, unit = rate_mbps * 1000, "kbit/s"
    for larger in ("Mbit/s", "Gbit/s"):
        if rate < 999.5:  # anything above would print as 1000
            break
        rate, unit = rate / 1000, larger
    if unit == "kbit/s" or rate >= 99.95:
        return f"{rate:.0f} {unit}"
    return f"{rate:.{2 if rate < 9.995 else 1}f} {unit}"
