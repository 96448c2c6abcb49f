"""How much one client, and all of them, may take from the server: a pure state machine.

Clients are counted by *prefix*: an IPv4 address, or an IPv6 /64 (what one subscriber is given). Addresses are
kept only as keyed hashes whose key changes daily, so neither memory nor log says who was here.

Contract: pass `now` (seconds, monotonic, never going back) to every call that takes it. Ask before acting; a
method that returns a `Refusal` has changed nothing but the counters of attempts. Each `connect` that was not
refused is matched by one `disconnect`, each `open_room` by one `close_room`.

Loopback has limits of its own, wide enough that a CI job which runs hundreds of transfers one after another
never meets them, and still finite, so that a local program in a loop cannot take the memory. A reverse proxy
on the same machine makes every client look local: name it in `trusted_proxies`, and the address it
forwards is counted.
"""

from __future__ import annotations

import ipaddress
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from signaling.protocol import ErrorCode


@dataclass(frozen=True, slots=True)
class PrefixLimits:
    """What one prefix may do."""

    connections: int
    pending_handshakes: int  # connections that are not WebSockets yet
    rooms: int  # open at once
    allocations_per_minute: int
    joins_per_10_s: int
    joins_per_minute: int
    wrong_nameplates: int  # different ones within `penalty_s`; the next join is then refused for `penalty_s`
    penalty_s: float = 60.0


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
    prefixes: int = 50_000  # remembered at once, a few hundred bytes each
    room_messages: int = 64  # a handshake takes 3 to 5
    room_bytes: int = 128 * 1024
    stray_messages: int = 32  # sent outside a room, on one connection
    hello_s: float = 5.0  # from connecting to the first message
    idle_s: float = 60.0  # connected, greeted, and in no room
    unjoined_s: float = (
        3_600.0  # longer than `tallow send` waits by default (10 min); the host stays connected meanwhile
    )
    joined_s: float = 120.0  # from the join to the end of the handshake, on bad networks
    quarantine_s: float = 600.0  # a burned nameplate is not handed out again


# Inside `tallow send`, the sender's own --timeout decides how long to wait.
EMBEDDED_LIMITS = ServerLimits(unjoined_s=math.inf, joined_s=math.inf, idle_s=math.inf)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not. `kind` names the limit, for the metrics."""

    kind: str
    code: ErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class Prefix:
    """One client's network as the server remembers it."""

    label: str  # keyed hash: stable within a day, meaningless outside this process
    is_loopback: bool


class PrefixHasher:
    """Turns socket addresses into prefixes. `entropy(n)` gives n random bytes."""

    KEY_LIFETIME_S = 86_400.0

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._key = entropy(32)
        self._key_since: float | None = None

    def prefix(self, address: str, now: float) -> Prefix:
        """The prefix of a numeric address. All unreadable ones are one stranger."""
        if self._key_since is None:
            self._key_since = now
        if now - self._key_since >= self.KEY_LIFETIME_S:
            self._key, self._key_since = self._entropy(32), now
        network, is_loopback = _network_of(address)
        return Prefix(blake2b(network, key=self._key, digest_size=8).hexdigest(), is_loopback)


def _network_of(address: str) -> tuple[bytes, bool]:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return b"unreadable", False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return b"/64" + parsed.packed[:8], parsed.is_loopback
        parsed = parsed.ipv4_mapped
    return b"/32" + parsed.packed, parsed.is_loopback


class SlidingWindow:
    """At most `limit` events in any `period_s`."""

    __slots__ = ("_limit", "_period_s", "_times")

    def __init__(self, limit: int, period_s: float) -> None:
        self._limit = limit
        self._period_s = period_s
        self._times: deque[float] = deque()

    def wait_s(self, now: float) -> float:
        """How long until another event fits: 0.0 when it does now."""
        while self._times and self._times[0] <= now - self._period_s:
            self._times.popleft()
        return 0.0 if len(self._times) < self._limit else self._times[0] + self._period_s - now

    def count(self, now: float) -> None:
        self._times.append(now)


@dataclass(slots=True)
class _Usage:
    """What one prefix uses now, and did lately."""

    limits: PrefixLimits
    connections: int = 0
    pending: int = 0
    rooms: int = 0
    last_seen: float = 0.0
    blocked_until: float = -math.inf
    wrong: dict[str, float] = field(default_factory=dict)  # nameplate -> when it was guessed
    allocations: SlidingWindow = field(init=False)
    joins_10_s: SlidingWindow = field(init=False)
    joins_minute: SlidingWindow = field(init=False)

    def __post_init__(self) -> None:
        self.allocations = SlidingWindow(self.limits.allocations_per_minute, 60.0)
        self.joins_10_s = SlidingWindow(self.limits.joins_per_10_s, 10.0)
        self.joins_minute = SlidingWindow(self.limits.joins_per_minute, 60.0)

    def forgettable(self, now: float) -> bool:
        return (
            self.connections == 0
            and self.rooms == 0
            and now - self.last_seen > max(60.0, self.limits.penalty_s)
        )


class Admission:
    """Who may connect, open a room, or join, given what they did before."""

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self._usage: dict[str, _Usage] = {}
        self._connections = 0
        self._pending = 0
        self._rooms = 0

    def connect(self, prefix: Prefix, now: float) -> Refusal | None:
        """Count a new connection, which is pending until `opened`."""
        if self._connections >= self.limits.connections:
            return Refusal("connections", ErrorCode.SERVER_FULL, "the server is full")
        if self._pending >= self.limits.pending_handshakes:
            return Refusal("pending", ErrorCode.SERVER_FULL, "too many connections are being opened")
        usage = self._usage_of(prefix, now)
        if usage is None:
            return Refusal("prefixes", ErrorCode.SERVER_FULL, "the server is full")
        if usage.connections >= usage.limits.connections or usage.pending >= usage.limits.pending_handshakes:
            return Refusal(
                "prefix-connections", ErrorCode.RATE_LIMITED, "too many connections from your network"
            )
        usage.connections += 1
        usage.pending += 1
        self._connections += 1
        self._pending += 1
        return None

    def opened(self, prefix: Prefix) -> None:
        """The connection is a WebSocket now."""
        self._usage[prefix.label].pending -= 1
        self._pending -= 1

    def disconnect(self, prefix: Prefix, now: float, *, was_opened: bool) -> None:
        usage = self._usage[prefix.label]
        usage.connections -= 1
        usage.last_seen = now
        self._connections -= 1
        if not was_opened:
            usage.pending -= 1
            self._pending -= 1

    def open_room(self, prefix: Prefix, now: float) -> Refusal | None:
        """Count a new room."""
        usage = self._usage[prefix.label]
        if self._rooms >= self.limits.rooms:
            return Refusal("rooms", ErrorCode.SERVER_FULL, "the server has no room left")
        if usage.rooms >= usage.limits.rooms:
            return Refusal(
                "prefix-rooms", ErrorCode.RATE_LIMITED, "too many rooms are open from your network"
            )
        if wait_s := usage.allocations.wait_s(now):
            return Refusal(
                "allocations", ErrorCode.RATE_LIMITED, _try_again("too many rooms were opened", wait_s)
            )
        usage.allocations.count(now)
        usage.rooms += 1
        self._rooms += 1
        return None

    def close_room(self, prefix: Prefix, now: float) -> None:
        usage = self._usage[prefix.label]
        usage.rooms -= 1
        usage.last_seen = now
        self._rooms -= 1

    def join(self, prefix: Prefix, now: float) -> Refusal | None:
        """Count an attempt to join."""
        usage = self._usage[prefix.label]
        usage.last_seen = now
        if now < usage.blocked_until:
            wait_s = usage.blocked_until - now
            return Refusal(
                "penalty", ErrorCode.RATE_LIMITED, _try_again("too many wrong numbers were tried", wait_s)
            )
        if wait_s := max(usage.joins_10_s.wait_s(now), usage.joins_minute.wait_s(now)):
            return Refusal("joins", ErrorCode.RATE_LIMITED, _try_again("too many attempts to join", wait_s))
        usage.joins_10_s.count(now)
        usage.joins_minute.count(now)
        return None

    def wrong_nameplate(self, prefix: Prefix, nameplate: str, now: float) -> None:
        """The join named no room.

        Only different ones count: a receiver that started before its sender asks for the same one again.
        """
        usage = self._usage[prefix.label]
        horizon = now - usage.limits.penalty_s
        usage.wrong = {guess: when for guess, when in usage.wrong.items() if when > horizon}
        usage.wrong[nameplate] = now
        if len(usage.wrong) >= usage.limits.wrong_nameplates:
            usage.blocked_until = now + usage.limits.penalty_s
            usage.wrong.clear()

    def _usage_of(self, prefix: Prefix, now: float) -> _Usage | None:
        usage = self._usage.get(prefix.label)
        if usage is None:
            if len(self._usage) >= self.limits.prefixes:
                self._forget_idle(now)
            if len(self._usage) >= self.limits.prefixes:
                return None
            limits = self.limits.loopback if prefix.is_loopback else self.limits.public
            usage = self._usage[prefix.label] = _Usage(limits)
        usage.last_seen = now
        return usage

    def _forget_idle(self, now: float) -> None:
        for label in [label for label, usage in self._usage.items() if usage.forgettable(now)]:
            del self._usage[label]


def _try_again(what: str, wait_s: float) -> str:
    return f"{what}; try again in {math.ceil(wait_s)} s"
