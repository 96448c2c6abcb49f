"""An SDP moved to another address: how the plain script of `bench.bare` is led over the emulated link."""

from __future__ import annotations

from typing import Final

_CANDIDATE: Final = "a=candidate:"


def sdp_via(sdp: str, via: tuple[str, int]) -> str:
    """Return the SDP with one candidate, the address and port `via`, in place of all it has.

    Whoever is told it speaks to `via` only. An SDP without candidates stays as it is.
    """
    lines: list[str] = []
    moved = False
    for line in sdp.splitlines(keepends=True):
        if not line.startswith(_CANDIDATE):
            lines.append(line)
        elif not moved:
            moved = True
            # RFC 8839 section 5.1: foundation, component, transport, priority, address, port, "typ", type.
            ending = line[len(line.rstrip("\r\n")) :]
            lines.append(f"{_CANDIDATE}via 1 udp 1 {via[0]} {via[1]} typ host{ending}")
    return "".join(lines)
