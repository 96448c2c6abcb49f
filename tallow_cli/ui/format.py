"""Sizes, durations and measurements as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tallow_cli.measure.throughput import format_throughput

__all__ = [
    "format_bytes",
    "format_count",
    "format_duration",
    "format_fraction",
    "format_milliseconds",
    "format_part",
    "format_remaining",
    "format_throughput",
    "sparkline",
]

UNKNOWN: Final = "–"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400

SPARKS: Final = "▁▂▃▄▅▆▇█"
ASCII_SPARKS: Final = "_.-=+*#@"  # for terminals that are not UTF-8


def format_bytes(size: int) -> str:
    """Return a size in binary units to three figures, round ones bare: `17 B`, `1.21 KiB`, `64 KiB`."""
    if size < 1024:
        return f"{size} B"
    value, unit = float(size), _UNITS[0]
    for larger in _UNITS[1:]:
        if value < 999.5:  # would print as 1000
            break
        value, unit = value / 1024, larger
    if value.is_integer():
        return f"{value:.0f} {unit}"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def format_part(size: int, of_size: int) -> str:
    """Return `3.1 of 4 GiB`, `512 KiB of 4 GiB`: the unit once if both have the same."""
    part, whole = format_bytes(size), format_bytes(of_size)
    number, unit = part.split(" ")
    return f"{number if whole.endswith(f' {unit}') else part} of {whole}"


def format_count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 file`, `1,200 files`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_duration(seconds: float) -> str:
    """Return `0.83 s`, `12.4 s`, `3 min 05 s`, `2 h 07 min`, `4 d 03 h`."""
    if seconds < 9.995:
        return f"{max(seconds, 0.0):.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02d} h"


def format_remaining(seconds: float) -> str:
    """Return a time still to come: whole seconds, for a guess has no hundredths."""
    return f"{max(1, round(seconds))} s" if seconds < _MINUTE else format_duration(seconds)


def format_milliseconds(value: float | None) -> str:
    """Return `0.42 ms`, `8.5 ms`, `214 ms`; a dash where nothing was measured."""
    if value is None:
        return UNKNOWN
    return f"{value:.{2 if value < 0.995 else 1 if value < 99.95 else 0}f} ms"


def format_fraction(fraction: float | None) -> str:
    """Return a lost fraction as `0 %`, `0.2 %`, `12 %`; what is small is never shown as nothing."""
    if fraction is None:
        return UNKNOWN
    percent = 100 * fraction
    if percent == 0:
        return "0 %"
    if percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %" if percent < 9.95 else f"{percent:.0f} %"


def sparkline(values: Iterable[float], width: int, *, ascii_only: bool = False) -> str:
    """Return the last `width` values as bars between zero and their largest."""
    shown = list(values)[-width:] if width > 0 else []
    sparks = ASCII_SPARKS if ascii_only else SPARKS
    top = max(shown, default=0.0)
    if top <= 0:
        return sparks[0] * len(shown)
    return "".join(sparks[min(len(sparks) - 1, int(value / top * len(sparks)))] for value in shown)
