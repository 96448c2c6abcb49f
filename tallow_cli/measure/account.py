"""Where the time of a transfer went. Every moment belongs to exactly one cause, so the shares add up to the time.

    clock = Stopwatch(now, Stop.DATA)        # at whoever knows at every moment what goes on
    clock.spend(now, Stop.CREDIT)            # … at each change
    account = Account()
    account.book(now, {Cause.RECEIVER_DISK: 0.15, Cause.NETWORK_CAPACITY: 0.05})  # what came of clock.take(now)
    account.verdict(now)                     # of the last ten seconds
    account.whole()                          # of all of it

Sans-IO: `now` is seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from tallow_cli.measure.causes import Cause

K = TypeVar("K")

WINDOW_S: Final = 10.0  # what is said of "now": long enough not to flicker, short enough to show a change
SLOT_S: Final = 0.25  # the window rolls in steps of this
LEAST_SHARE: Final = 0.01  # what had less is not listed


@dataclass(frozen=True, slots=True)
class Verdict:
    """What most of the time went to. `shares` (0-1) fall, and leave out what had less than a hundredth.

    `since_s`: for how long this has been the first cause without a break.
    """

    cause: Cause
    share: float
    window_s: float
    shares: tuple[tuple[Cause, float], ...]
    since_s: float = 0.0


class Stopwatch(Generic[K]):
    """Says how long each of several states lasted; one of them always does. Cheap to tell the same one again."""

    __slots__ = ("_key", "_seconds", "_since")

    def __init__(self, now: float, key: K) -> None:
        self._key = key
        self._since = now
        self._seconds: dict[K, float] = {}

    @property
    def key(self) -> K:
        return self._key

    def spend(self, now: float, key: K) -> None:
        """From now on the time belongs to `key`."""
        if key == self._key:
            return
        self._settle(now)
        self._key = key

    def take(self, now: float) -> dict[K, float]:
        """The seconds of each since the last call; their sum is the time since then."""
        self._settle(now)
        taken, self._seconds = self._seconds, {}
        return taken

    def _settle(self, now: float) -> None:
        if now > self._since:
            self._seconds[self._key] = self._seconds.get(self._key, 0.0) + now - self._since
            self._since = now


class Account:
    """The seconds of each cause: in a window that rolls, and in all."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._slots: deque[tuple[float, dict[Cause, float]]] = deque()  # (booked from then on, seconds)
        self._all: dict[Cause, float] = {}
        self._first: Cause | None = None
        self._first_since = 0.0

    def book(self, now: float, seconds: Mapping[Cause, float]) -> None:
        """So much of the time until `now`, since the last call, went to these."""
        if not any(seconds.values()):
            return
        if not self._slots or now - self._slots[-1][0] >= SLOT_S:
            self._slots.append((now, {}))
        slot = self._slots[-1][1]
        for cause, spent_s in seconds.items():
            slot[cause] = slot.get(cause, 0.0) + spent_s
            self._all[cause] = self._all.get(cause, 0.0) + spent_s
        while self._slots[0][0] <= now - self._window_s:
            self._slots.popleft()
        first = self.verdict(now)
        if first is not None and first.cause is not self._first:
            self._first, self._first_since = first.cause, now

    def verdict(self, now: float) -> Verdict | None:
        """Of the time booked in the window that ends now; None where there is none."""
        recent: dict[Cause, float] = {}
        for booked_at, slot in self._slots:
            if booked_at > now - self._window_s:
                for cause, spent_s in slot.items():
                    recent[cause] = recent.get(cause, 0.0) + spent_s
        return _verdict(recent, now - self._first_since)

    def whole(self) -> Verdict | None:
        """Of all the time booked."""
        return _verdict(self._all, sum(self._all.values()))


def _verdict(seconds: Mapping[Cause, float], since_s: float) -> Verdict | None:
    total_s = sum(seconds.values())
    if total_s <= 0.0:
        return None
    # The order of the causes decides between equals, so that both ends say the same.
    falling = sorted(seconds.items(), key=lambda item: (-item[1], item[0].number))
    shares = tuple((cause, spent_s / total_s) for cause, spent_s in falling)
    listed = tuple(item for item in shares if item[1] >= LEAST_SHARE)
    cause, share = shares[0]
    return Verdict(cause, share, total_s, listed, since_s)
