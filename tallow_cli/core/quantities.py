"""Sizes and rates as people write them: `256MiB`, `1.5GB`, `20Mbit`, `5MB/s`."""

from __future__ import annotations

import re

_BINARY = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kmgt]?)(?P<unit>ib|b)?", re.IGNORECASE)
_RATE = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kmgt]?)(?P<unit>bit|bps|ib|b)(?:/s|ps)?", re.IGNORECASE
)


def parse_size(text: str) -> int:
    """Return a size in bytes: `4096`, `16MiB` and `16M` are binary, `16MB` is decimal.

    Raises ValueError with a sentence fragment naming the accepted forms.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write it like 16MiB, 1.5GB or 4096")
    prefix, unit = match["prefix"].lower(), (match["unit"] or "").lower()
    scale = _DECIMAL[prefix] if unit == "b" else _BINARY[prefix]
    return int(float(match["number"]) * scale)


def parse_rate(text: str) -> float:
    """Return a rate in bytes per second: `20Mbit` (per second), `5MB`, `5MiB/s`.

    Raises ValueError for anything else; a bare number is refused, since nobody agrees on its unit.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match["number"]) <= 0:
        raise ValueError(f"{text!r} is not a rate; write it like 20Mbit, 5MB or 800KiB (each per second)")
    prefix, unit = match["prefix"].lower(), match["unit"].lower()
    scale = _BINARY[prefix] if unit == "ib" else _DECIMAL[prefix]
    bytes_per_unit = 1 / 8 if unit in ("bit", "bps") else 1
    return float(match["number"]) * scale * bytes_per_unit
