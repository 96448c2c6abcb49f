"""Who may connect, open a room, or join: a pure state machine.

A client is counted in its own network and in the wider ones around it (`networks.Prefix`), whose limits are wider too.

Contract: pass `now` (seconds, monotonic, never going back) to every call that takes it. Ask before acting; a
method that returns a `Refusal` has changed nothing but the counters of attempts. Each `connect` that was not
refused is matched by one `disconnect`, each `open_room` by one `close_room`.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from signaling.limits import PrefixLimits, ServerLimits
from signaling.networks import Prefix
from signaling.protocol import ErrorCode

_WARY_WRONG_NAMEPLATES = (
    2  # while everybody guesses: the same number may be asked for again, a second one not
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not. `kind` names the limit, for the metrics."""

    kind: str
    code: ErrorCode
    message: str


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
        if len(self._times) < self._limit:
            return 0.0
        return self._times[0] + self._period_s - now if self._times else self._period_s

    def count(self, now: float) -> None:
        """Another event. What is beyond the limit pushes out the oldest."""
        if len(self._times) >= self._limit and self._times:
            self._times.popleft()
        self._times.append(now)


@dataclass(slots=True)
class _Usage:
    """What one network uses now, and did lately."""

    label: str
    limits: PrefixLimits
    connections: int = 0
    pending: int = 0
    rooms: int = 0
    blocked_until: float = -math.inf
    wrong: dict[str, float] = field(default_factory=dict)  # nameplate (or visit) -> when it was guessed
    allocations: SlidingWindow = field(init=False)
    joins_10_s: SlidingWindow = field(init=False)
    joins_minute: SlidingWindow = field(init=False)

    def __post_init__(self) -> None:
        self.allocations = SlidingWindow(self.limits.allocations_per_minute, 60.0)
        self.joins_10_s = SlidingWindow(self.limits.joins_per_10_s, 10.0)
        self.joins_minute = SlidingWindow(self.limits.joins_per_minute, 60.0)

    @property
    def is_idle(self) -> bool:
        return not (self.connections or self.rooms)

    def count_wrong(self, guess: str, most: int, now: float) -> None:
        horizon = now - self.limits.penalty_s
        self.wrong = {guess: when for guess, when in self.wrong.items() if when > horizon}
        self.wrong[guess] = now
        if len(self.wrong) >= most:
            self.blocked_until = now + self.limits.penalty_s
            self.wrong.clear()


class _Memory:
    """What is known of each network. Of those that use nothing only the `most` last seen are remembered."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._busy: dict[str, _Usage] = {}
        self._idle: OrderedDict[str, _Usage] = OrderedDict()  # the longest unseen first

    def of(self, prefix: Prefix) -> list[_Usage]:
        """Of a network and those around it, the narrowest first."""
        base = self._limits.loopback if prefix.is_loopback else self._limits.public
        return [self._one(label, base, factor) for label, factor in ((prefix.label, 1), *prefix.wider)]

    def settle(self, usages: Iterable[_Usage]) -> None:
        """Their counts have changed."""
        for usage in usages:
            old, new = (self._busy, self._idle) if usage.is_idle else (self._idle, self._busy)
            if old.pop(usage.label, None) is not None:
                new[usage.label] = usage
        while len(self._idle) > self._limits.prefixes:
            self._idle.popitem(last=False)

    def _one(self, label: str, base: PrefixLimits, factor: int) -> _Usage:
        usage = self._busy.get(label)
        if usage is not None:
            return usage
        usage = self._idle.get(label)
        if usage is None:
            usage = self._idle[label] = _Usage(label, base if factor == 1 else base.widened(factor))
        self._idle.move_to_end(label)
        return usage


class Admission:
    """See the module."""

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self._memory = _Memory(limits)
        self._connections = 0
        self._pending = 0
        self._rooms = 0
        self._wrong_joins = SlidingWindow(limits.wrong_joins_per_minute, 60.0)

    def connect(self, prefix: Prefix | None, now: float) -> Refusal | None:
        """Count a new connection, which is pending until `opened`. Of one that comes through a proxy the prefix is not
        known (None) until `identify`.
        """
        if self._connections >= self.limits.connections:
            return Refusal("connections", ErrorCode.SERVER_FULL, "the server is full")
        if self._pending >= self.limits.pending_handshakes:
            return Refusal("pending", ErrorCode.SERVER_FULL, "too many connections are being opened")
        if prefix is not None and (refusal := self.identify(prefix, now)) is not None:
            return refusal
        self._connections += 1
        self._pending += 1
        return None

    def identify(self, prefix: Prefix, now: float) -> Refusal | None:
        """Count a connection in its networks. After a refusal `disconnect` it with None."""
        usages = self._memory.of(prefix)
        for usage in usages:
            full = usage.connections >= usage.limits.connections
            if full or usage.pending >= usage.limits.pending_handshakes:
                self._memory.settle(usages)
                return Refusal(
                    "prefix-connections", ErrorCode.RATE_LIMITED, "too many connections from your network"
                )
        for usage in usages:
            usage.connections += 1
            usage.pending += 1
        self._memory.settle(usages)
        return None

    def opened(self, prefix: Prefix) -> None:
        """The connection is a WebSocket now."""
        for usage in self._memory.of(prefix):
            usage.pending -= 1
        self._pending -= 1

    def disconnect(self, prefix: Prefix | None, *, was_opened: bool) -> None:
        usages = [] if prefix is None else self._memory.of(prefix)
        for usage in usages:
            usage.connections -= 1
            usage.pending -= not was_opened
        self._memory.settle(usages)
        self._connections -= 1
        self._pending -= not was_opened

    def open_room(self, prefix: Prefix, now: float) -> Refusal | None:
        """Count a new room."""
        if self._rooms >= self.limits.rooms:
            return Refusal("rooms", ErrorCode.SERVER_FULL, "the server has no room left")
        usages = self._memory.of(prefix)
        if any(usage.rooms >= usage.limits.rooms for usage in usages):
            return Refusal(
                "prefix-rooms", ErrorCode.RATE_LIMITED, "too many rooms are open from your network"
            )
        if wait_s := max(usage.allocations.wait_s(now) for usage in usages):
            return Refusal(
                "allocations", ErrorCode.RATE_LIMITED, _try_again("too many rooms were opened", wait_s)
            )
        for usage in usages:
            usage.allocations.count(now)
            usage.rooms += 1
        self._memory.settle(usages)
        self._rooms += 1
        return None

    def close_room(self, prefix: Prefix) -> None:
        usages = self._memory.of(prefix)
        for usage in usages:
            usage.rooms -= 1
        self._memory.settle(usages)
        self._rooms -= 1

    def join(self, prefix: Prefix, now: float) -> Refusal | None:
        """Count an attempt to join."""
        usages = self._memory.of(prefix)
        if (wait_s := max(usage.blocked_until for usage in usages) - now) > 0:
            return Refusal(
                "penalty", ErrorCode.RATE_LIMITED, _try_again("too many wrong numbers were tried", wait_s)
            )
        windows = [window for usage in usages for window in (usage.joins_10_s, usage.joins_minute)]
        if wait_s := max(window.wait_s(now) for window in windows):
            return Refusal("joins", ErrorCode.RATE_LIMITED, _try_again("too many attempts to join", wait_s))
        for window in windows:
            window.count(now)
        return None

    def wrong_nameplate(self, prefix: Prefix, nameplate: str, now: float) -> None:
        """The join named no room, or led to nothing: then `nameplate` is a name of this visit alone.

        Only different ones count: a receiver that started before its sender asks for the same one again. While more
        are wrong in all than a minute allows, the numbers are being searched from many networks at once, and each of
        them may be wrong only once.
        """
        is_wary = not prefix.is_loopback and self._wrong_joins.wait_s(now) > 0
        if not prefix.is_loopback:
            self._wrong_joins.count(now)
        usages = self._memory.of(prefix)
        for usage in usages:
            usage.count_wrong(nameplate, usage.limits.wrong_nameplates, now)
        if is_wary and len(usages[0].wrong) >= _WARY_WRONG_NAMEPLATES:
            usages[0].blocked_until = max(usages[0].blocked_until, now + usages[0].limits.penalty_s)


def _try_again(what: str, wait_s: float) -> str:
    return f"{what}; try again in {math.ceil(wait_s)} s"
