"""The high and the low mark of a data channel's local buffer: at the one it is paused, at the other it goes on."""

from __future__ import annotations

from typing import Final

from tallow_cli.errors import BadOption

MIB: Final = 1024 * 1024
# Per channel. The high mark is a ceiling against running out of memory: the transfer's own bounds keep far less queued,
# so that RTT, progress and Ctrl-C stay honest.
DEFAULT_BUFFER_HIGH: Final = 16 * MIB
DEFAULT_BUFFER_LOW: Final = 4 * MIB
MAX_BUFFER_HIGH: Final = 4096 * MIB  # the mark below it is W3C WebRTC's `bufferedAmountLowThreshold`, 32 bits


def buffer_marks(high: int | None, low: int | None) -> tuple[int, int]:
    """The high and the low mark where only some are given: they keep the defaults' ratio. Nothing is checked."""
    ratio = DEFAULT_BUFFER_HIGH // DEFAULT_BUFFER_LOW
    if high is None:
        high = max(DEFAULT_BUFFER_HIGH, min(ratio * (low or 0), MAX_BUFFER_HIGH))
    return high, max(1, high // ratio) if low is None else low


def check_buffer_marks(high: int, low: int) -> None:
    """Raises BadOption unless 0 < low < high <= `MAX_BUFFER_HIGH`."""
    if not 2 <= high <= MAX_BUFFER_HIGH:
        raise BadOption("--buffer-high", f"{high} bytes is not between 2 bytes and 4 GiB")
    if low <= 0:
        raise BadOption("--buffer-low", "it must be more than zero")
    if high <= low:
        raise BadOption("--buffer-high", f"{high} bytes is not above --buffer-low ({low} bytes)")
