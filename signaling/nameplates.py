"""The numbers rooms wait under: random, sparse, and not handed out again soon after use. Sans-IO.

A guess at a random number should find nothing: the numbers are drawn from a space at least 100 times as large
as the count in use. The smallest space is 1000-10999 (10^4 numbers); it grows tenfold at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container

FIRST = 1_000
SMALLEST_SPACE = 10_000
LARGEST_SPACE = 100_000_000  # FIRST + this - 1 still has nine digits
SPARSENESS = 100
MAX_QUARANTINED = 100_000  # bounds the memory; the oldest are released early


class Nameplates:
    """Draws nameplates, and keeps used ones back for `quarantine_s`."""

    def __init__(self, entropy: Callable[[int], bytes], quarantine_s: float) -> None:
        self._entropy = entropy
        self._quarantine_s = quarantine_s
        # nameplate -> when it may be drawn again, and the label of the network that had it
        self._released: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def draw(self, in_use: Container[str], count_in_use: int, now: float) -> str:
        """A nameplate that is neither in use nor quarantined."""
        self._release(now)
        space = SMALLEST_SPACE
        while space < (count_in_use + len(self._released)) * SPARSENESS and space < LARGEST_SPACE:
            space *= 10
        while True:
            # 64 bits over at most 10^8 numbers: the bias is below 10^-11.
            nameplate = str(FIRST + int.from_bytes(self._entropy(8), "big") % space)
            if nameplate not in in_use and nameplate not in self._released:
                return nameplate

    def is_kept_from(self, network: str, nameplate: str | None, now: float) -> bool:
        """Whether it was used lately, by somebody of another network. A late receiver who types it must not meet a
        stranger, not even one who burned the number to choose it for himself; its own host may come back.
        """
        self._release(now)
        released = self._released.get(nameplate) if nameplate is not None else None
        return released is not None and released[1] != network

    def retire(self, nameplate: str, network: str, now: float) -> None:
        """It is out of use from now on; the sender who had it is of `network`."""
        self._released[nameplate] = (now + self._quarantine_s, network)
        self._released.move_to_end(nameplate)
        if len(self._released) > MAX_QUARANTINED:
            self._released.popitem(last=False)

    def _release(self, now: float) -> None:
        while self._released and next(iter(self._released.values()))[0] <= now:
            self._released.popitem(last=False)
