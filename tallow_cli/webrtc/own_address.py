"""Whether the address that a path begins at is still this machine's: another network was joined, another lease given, a
card is gone. Sans-IO.

    own = OwnAddress(now, is_here, has_another)
    while not own.is_replaced: sleep until own.next_look_at; own.look(now)

Nothing can come to an address that is gone, so nobody need wait for silence to last. But an address that goes may come
back: with the link, or once nobody else was found to have it (duplicate address detection, RFC 4862 section 5.4 and RFC
5227, takes a second or two). So the path is given up only where this machine speaks to the peer from another address,
and goes on doing so.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

# A look is one bind: 10 microseconds. Ten times as rare as that would be noticed by whoever waits.
LOOK_S: Final = 0.5
AWAY_LOOK_S: Final = 0.2
# Two addresses of one interface come and go within a few milliseconds, in whatever order; a detection of duplicates
# begins for both at once.
SETTLED_S: Final = 0.8


class OwnAddress:
    """`is_here`: the system still has the address. `has_another`: it would speak to the peer from another one."""

    def __init__(self, now: float, is_here: Callable[[], bool], has_another: Callable[[], bool]) -> None:
        self._is_here = is_here
        self._has_another = has_another
        self._other_since: float | None = None
        self.next_look_at = now + LOOK_S
        self.is_away = False  # at the last look
        self.is_replaced = False  # and will not come back as far as anybody can tell

    def look(self, now: float) -> None:
        """Ask the system."""
        self.is_away = not self._is_here()
        self.next_look_at = now + (AWAY_LOOK_S if self.is_away else LOOK_S)
        if not (self.is_away and self._has_another()):
            self._other_since = None
            return
        if self._other_since is None:
            self._other_since = now
        self.is_replaced = now - self._other_since >= SETTLED_S


def is_ours(address: str) -> bool:
    """Whether this machine has the address; "" is any. One that is being checked for duplicates is not there yet."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
