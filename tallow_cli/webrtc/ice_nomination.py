"""Which of the pairs that answer is used: the best, and not the first (RFC 8445 section 8.1.1). Sans-IO.

    nomination = Nomination()
    nomination.answered(now, pair, rank, rtt_s)      # a check of this pair was answered
    best = nomination.choice(now, undecided)         # with the ranks of the pairs that may still answer
    … None: ask again when something changed, or at nomination.next_timeout()

Who waits for the best waits in vain where it does not answer. So the patience is short, and it is measured: what is
better gets as long as it would take over a path like the one that has answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, NamedTuple, TypeVar

Pair = TypeVar("Pair")

# A direct way across two NATs may take a repeated check: the first only opened the own one. A relayed way is hundreds
# of Mbit/s and somebody's bill poorer for hours, so that much is waited.
REPEAT_S: Final = 0.5
MOST_FOR_DIRECT_S: Final = 1.5
# Between two of a kind: checks leave 20 ms apart, in the order of preference, so the better one is only a little late.
PACE_S: Final = 0.02
MOST_FOR_BETTER_S: Final = 0.2
# Between ways over relays: one is better than two, and needs a channel bound and then a check of the other side that
# may have to be repeated.
FOR_BETTER_RELAY_S: Final = 0.4
MOST_FOR_BETTER_RELAY_S: Final = 1.0


class Relays(IntEnum):
    """Which are on the way; the larger, the better. Data goes from the controlling side to the other, so first to its
    own relay: there all clients share a socket that holds a thousand datagrams (coturn: 4 MiB), where the one that
    stands for an allocation holds fifty, and drops of every burst.
    """

    BOTH = 0
    THEIRS = 1
    OURS = 2
    NONE = 3


class Rank(NamedTuple):
    """How good a pair is; the larger, the better."""

    is_direct: bool
    relays: Relays
    is_straight: bool  # it takes the way that the system would
    priority: int  # RFC 8445 section 6.1.2.3


@dataclass(frozen=True, slots=True)
class Answered(Generic[Pair]):
    """A pair whose check was answered `at` that time, `rtt_s` after it was sent."""

    pair: Pair
    rank: Rank
    at: float
    rtt_s: float

    def waits_until(self, better: Iterable[Rank]) -> float:
        """Until when those that are better may still answer."""
        if not self.rank.is_direct and any(each.is_direct for each in better):
            return self.at + min(REPEAT_S + 2 * self.rtt_s, MOST_FOR_DIRECT_S)
        if any(each.relays > self.rank.relays for each in better):
            return self.at + min(FOR_BETTER_RELAY_S + 3 * self.rtt_s, MOST_FOR_BETTER_RELAY_S)
        return self.at + min(2 * PACE_S + self.rtt_s, MOST_FOR_BETTER_S)


class Nomination(Generic[Pair]):
    """See the module. For the controlling side: the other one takes what it is told."""

    def __init__(self) -> None:
        self._answers: list[Answered[Pair]] = []
        self._due: float | None = None

    def answered(self, now: float, pair: Pair, rank: Rank, rtt_s: float) -> None:
        """The pair works, at least for now."""
        self._answers.append(Answered(pair, rank, now, rtt_s))

    def failed(self, pair: Pair) -> None:
        """It does not work any more."""
        self._answers = [each for each in self._answers if each.pair is not pair]

    def choice(self, now: float, undecided: Iterable[Rank]) -> Answered[Pair] | None:
        """The pair to nominate, once nothing better is to be expected."""
        self._due = None
        if not self._answers:
            return None
        best = max(self._answers, key=lambda each: each.rank)
        better = [rank for rank in undecided if rank > best.rank]
        due = min(each.waits_until(better) for each in self._answers)
        if not better or now >= due:
            return best
        self._due = due
        return None

    def next_timeout(self) -> float | None:
        """When the patience of the last `choice` is over; None: it has no end, or is over."""
        return self._due
