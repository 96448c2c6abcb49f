"""TCP for a few small messages over networks that lose many.

TCP doubles its patience with every loss. Where 30 % of the packets is lost each way, one exchange of two small messages
in a hundred took 12 to 21 s, and 3 to 4 s once the longest pause was a second. Nobody queues behind what is sent here,
so there is no reason to wait for longer.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import Final

_TCP_RTO_MAX_MS: Final = 44  # linux/tcp.h, since 6.15: the longest pause there is, otherwise two minutes
_LONGEST_PAUSE_MS: Final = 1_000  # the least that Linux takes


def stay_impatient(sock: socket.socket) -> None:
    """Have `sock`, and what it accepts if it listens, repeat what was lost at least once a second. Where the system
    cannot do that, nothing changes.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, _LONGEST_PAUSE_MS)
