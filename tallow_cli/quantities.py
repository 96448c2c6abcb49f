"""Sizes, rates and times as people write them: `256MiB`, `1.5GB`, `20Mbit`, `5MB/s`, `10m`.

What two readers would read differently is refused with both readings, since one of them is eight times off.
Arithmetic is exact: a size that is written as a number of bytes is that number.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import Final

MAX_BYTES: Final = 2**63 - 1  # what file systems count with
MAX_BYTES_PER_S: Final = 10**15  # a thousand times the fastest network card there is
MAX_SECONDS: Final = 10**9  # 30 years; callers have limits of their own
MAX_TEXT_CHARS: Final = 64

_NUMBER = r"(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_PREFIXES = "kmgt"
_BINARY: Final[dict[str, int]] = {"": 1} | {prefix: 1024**power for power, prefix in enumerate(_PREFIXES, 1)}
_DECIMAL: Final[dict[str, int]] = {"": 1} | {prefix: 1000**power for power, prefix in enumerate(_PREFIXES, 1)}
_PREFIX = r"(?P<prefix>[kmgt]|kilo|mega|giga|tera)?(?P<binary>i(?=b))?"
_SIZE = re.compile(rf"{_NUMBER}\s*{_PREFIX}(?P<unit>bytes?|bits?|b)?", re.IGNORECASE)
_RATE = re.compile(
    rf"{_NUMBER}\s*{_PREFIX}(?P<unit>bytes?|bits?|b)?(?P<per>\s*/\s*s(?:ec(?:ond)?)?|\s*per second|ps)?",
    re.IGNORECASE,
)
_TIME = re.compile(
    rf"{_NUMBER}\s*(?:(?P<ms>ms)|(?P<s>s|secs?|seconds?)|(?P<m>m|mins?|minutes?)|(?P<h>h|hrs?|hours?)|(?P<d>d|days?))"
    r"(?![a-z])\s*"
)
_SECONDS: Final = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}


def parse_size(text: str) -> int:
    """Return a size in bytes: `4096`, `16MiB` and `16M` are binary, `16MB` is decimal.

    Raises ValueError with a sentence fragment naming the accepted forms.
    """
    match = _SIZE.fullmatch(_plain(text))
    if match is None:
        raise ValueError(f"{text!r} is not a size; write it like 16MiB, 1.5GB or 4096")
    unit, prefix = match["unit"] or "", match["prefix"] or ""
    if unit.lower().startswith("bit") or (unit == "b" and prefix.isupper()):
        raise ValueError(f"{text!r} counts bits, and a size is in bytes; write it like 16MB or 16MiB")
    size = Fraction(match["number"]) * _scale(match, binary_alone=True)
    if size > MAX_BYTES:
        raise ValueError(f"{text!r} is more than any file holds")
    if size.denominator != 1 and size < 1024:
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(size)


def parse_rate(text: str) -> float:
    """Return a rate in bytes per second: `20Mbit`, `20Mb/s` and `20Mbps` count bits, `5MB`, `5MiB/s` and `5MBps` bytes.

    Raises ValueError for anything else. A bare number is refused, and so is what leaves open whether bits or bytes are
    meant: `20M`, and a lone `b` whose case may be an accident (`20mb`, `20MBPS`).
    """
    plain = _plain(text)
    match = _RATE.fullmatch(plain)
    if match is None:
        raise ValueError(f"{text!r} is not a rate; write it like 20Mbit, 5MB or 800KiB (each per second)")
    unit, prefix, per = match["unit"] or "", match["prefix"] or "", match["per"] or ""
    if not Fraction(match["number"]):
        raise ValueError(
            f"{text!r} is no rate: it must be more than 0; write it like 20Mbit or 5MB (per second)"
        )
    if not unit or (unit == "b" and not prefix and not per) or _has_accidental_case(match):
        number = match["number"] + (prefix[:1].upper() or "M")
        raise ValueError(
            f"{text!r} may be bits or bytes; write it like {number}bit or {number}B (each per second)"
        )
    per_unit = 1 if unit == "B" or unit.lower().startswith("byte") else Fraction(1, 8)
    rate = Fraction(match["number"]) * _scale(match) * per_unit
    if rate > MAX_BYTES_PER_S:
        raise ValueError(f"{text!r} is faster than any network; write it like 20Mbit or 5MB (per second)")
    return float(rate)


def parse_seconds(text: str) -> float:
    """Return a time in seconds: `90`, `90s`, `10m`, `1h30m`, `1.5 h`, `2 days`, `500ms`.

    Raises ValueError with a sentence fragment naming the accepted forms.
    """
    plain = _plain(text).lower()
    if re.fullmatch(_NUMBER, plain):
        plain += "s"
    total, position = Fraction(0), 0
    while match := _TIME.match(plain, position):
        unit = match.lastgroup or "s"
        total += Fraction(match["number"]) * _SECONDS[unit]
        position = match.end()
    if not position or position != len(plain):
        raise ValueError(f"{text!r} is not a time; write it like 90, 90s, 10m or 1h30m")
    if total > MAX_SECONDS:
        raise ValueError(f"{text!r} is longer than anybody waits")
    return float(total)


def _plain(text: str) -> str:
    """Full-width forms and other spaces as their ASCII ones, trimmed; nothing of what is too long."""
    return unicodedata.normalize("NFKC", text).strip() if len(text) <= MAX_TEXT_CHARS else ""


def _scale(match: re.Match[str], *, binary_alone: bool = False) -> int:
    """What the prefix multiplies by. `binary_alone`: without a unit (`16M`) it is a power of two."""
    prefix = (match["prefix"] or "")[:1].lower()
    binary = match["binary"] or (binary_alone and not match["unit"])
    return (_BINARY if binary else _DECIMAL)[prefix]


def _has_accidental_case(match: re.Match[str]) -> bool:
    """Whether nothing but the case of one `b` says bits or bytes, and the text is all of one case.

    `mb` is what somebody types who does not care for case, `MBPS` somebody whose key for capitals is locked.
    `mbps` everybody reads as bits; in `MB` the capital is where it belongs.
    """
    unit, prefix, per = match["unit"] or "", match["prefix"] or "", match["per"] or ""
    if unit == "b":
        return prefix.islower() and per != "ps"
    return unit == "B" and not match["binary"] and ("S" in per or prefix in ("m", "g", "t"))
