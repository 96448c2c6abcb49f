"""Serial number arithmetic (RFC 1982): from the 32-bit TSNs and 16-bit SSNs of the wire to plain integers and back.

Inside the data plane a TSN is an `int` that grows for ever, so it compares and subtracts like a number. Only the
codec's edge sees the wrapped form: `unwrap` on the way in, `& TSN_MASK` on the way out.
"""

from __future__ import annotations

from typing import Final

TSN_MASK: Final = 0xFFFFFFFF
SSN_MASK: Final = 0xFFFF
_TSN_HALF: Final = 0x80000000
_SSN_HALF: Final = 0x8000


def unwrap_tsn(wire: int, near: int) -> int:
    """The integer nearest to `near` that reads `wire` in its low 32 bits. May be negative for hostile input."""
    return near + ((wire - near + _TSN_HALF) & TSN_MASK) - _TSN_HALF


def unwrap_ssn(wire: int, near: int) -> int:
    """The integer nearest to `near` that reads `wire` in its low 16 bits."""
    return near + ((wire - near + _SSN_HALF) & SSN_MASK) - _SSN_HALF
