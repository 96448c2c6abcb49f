"""How much one network, and all of them together, may take from the server. `admission` enforces it.

Loopback has limits of its own, wide enough that a CI job which runs hundreds of transfers one after another never
meets them, and still finite, so that a local program in a loop cannot take the memory. A reverse proxy on the same
machine makes every client look local: name it in `trusted_proxies`, and the address it forwards is counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class PrefixLimits:
    """What one network may do."""

    connections: int
    pending_handshakes: int  # connections that are not WebSockets yet
    rooms: int  # open at once
    allocations_per_minute: int
    joins_per_10_s: int
    joins_per_minute: int
    # Different ones, and visits of rooms in which nothing was said, within `penalty_s`; after that no join for as long.
    wrong_nameplates: int
    penalty_s: float = 60.0

    def widened(self, factor: int) -> PrefixLimits:
        """For a network that holds many of this size."""
        return PrefixLimits(
            **{
                each.name: getattr(self, each.name) * (1 if each.name == "penalty_s" else factor)
                for each in fields(self)
            }
        )


# One household or office behind NAT, or one machine that serves ten receivers at once.
# At 5 wrong nameplates a minute a scan of the smallest nameplate space takes 33 hours.
PUBLIC_LIMITS = PrefixLimits(
    connections=64,
    pending_handshakes=16,
    rooms=16,
    allocations_per_minute=60,
    joins_per_10_s=10,
    joins_per_minute=30,
    wrong_nameplates=5,
)
LOOPBACK_LIMITS = PrefixLimits(
    connections=4_096,
    pending_handshakes=256,
    rooms=1_024,
    allocations_per_minute=6_000,
    joins_per_10_s=1_000,
    joins_per_minute=6_000,
    wrong_nameplates=1_000,
)


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """All the limits of a server. Times in seconds; infinity switches a lifetime off."""

    public: PrefixLimits = PUBLIC_LIMITS
    loopback: PrefixLimits = LOOPBACK_LIMITS
    connections: int = 20_000  # at about 20 KiB each; needs as many file descriptors
    pending_handshakes: int = 1_024
    rooms: int = 10_000
    prefixes: int = 50_000  # remembered while they use nothing, a few hundred bytes each
    told: int = 16  # connections that are refused and still open, to be told why; any more are dropped
    wrong_joins_per_minute: int = 600  # of all networks: above it each may be wrong about one number only
    room_messages: int = 64  # a handshake takes 3 to 5
    room_bytes: int = 128 * 1024
    stray_messages: int = 32  # sent outside a room, on one connection
    open_s: float = 10.0  # for TLS, and again for HTTP, on bad networks; also ends a slowloris
    breather_s: float = 0.5  # before a server that is out of descriptors looks whether there are some again
    hello_s: float = (
        10.0  # from connecting to the first message, on networks that lose a third of the packets too
    )
    idle_s: float = 60.0  # connected, greeted, and in no room
    unjoined_s: float = (
        3_600.0  # longer than `tallow send` waits by default (10 min); the host stays connected meanwhile
    )
    joined_s: float = 120.0  # from the join to the end of the handshake, on bad networks
    quarantine_s: float = 600.0  # a burned nameplate is not handed out again


# Inside `tallow send` there is one room, and its descriptors are those of the transfer. The sender's own --timeout
# decides how long to wait. Nobody but this machine may open rooms.
EMBEDDED_LIMITS = ServerLimits(
    public=replace(PUBLIC_LIMITS, connections=4, pending_handshakes=4, rooms=0, allocations_per_minute=0),
    loopback=replace(LOOPBACK_LIMITS, connections=16, pending_handshakes=8, rooms=4),
    connections=32,
    pending_handshakes=16,
    rooms=4,
    prefixes=1_000,
    told=4,
    unjoined_s=math.inf,
    joined_s=math.inf,
    idle_s=math.inf,
)
