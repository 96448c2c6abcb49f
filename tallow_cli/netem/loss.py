"""Losses that come in bursts: Gilbert's and Elliott's model of a channel with a good and a bad state.

Gilbert, "Capacity of a burst-noise channel", 1960; Elliott, "Estimates of error rates for codes on burst-noise
channels", 1963.
"""

from __future__ import annotations

import random


class GilbertElliott:
    """Decides, packet by packet, which are lost. Everything random comes from `rng`.

    `enter`, `leave`: the chance that the next packet begins a burst, or ends the one that lasts; a new one may begin
    at once. `loss_outside`, `loss_inside`: the chance to be lost outside a burst and in one.
    """

    __slots__ = ("_enter", "_in_burst", "_leave", "_loss_inside", "_loss_outside", "_rng")

    def __init__(
        self,
        rng: random.Random,  # noqa: TID251  # the type of what is handed in
        *,
        enter: float,
        leave: float,
        loss_outside: float = 0.0,
        loss_inside: float = 1.0,
    ) -> None:
        self._rng = rng
        self._enter = enter
        self._leave = leave
        self._loss_outside = loss_outside
        self._loss_inside = loss_inside
        self._in_burst = False

    @classmethod
    def of_share(
        cls,
        rng: random.Random,  # noqa: TID251  # the type of what is handed in
        loss: float,
        burst_packets: float = 1.0,
    ) -> GilbertElliott:
        """The share `loss` of all packets dies, in bursts of about that mean length in which nothing survives.

        Raises ValueError for a share or a length that no path has.
        """
        if not 0.0 <= loss < 1.0 or burst_packets < 1.0:
            raise ValueError(f"impossible loss {loss} in bursts of {burst_packets}")
        leave = 1.0 / burst_packets
        # Enter so often that bursts of the mean length make up the wanted share.
        starts = loss * leave
        return cls(rng, enter=starts / (1.0 - loss + starts), leave=leave)

    @property
    def is_possible(self) -> bool:
        """Whether anything is ever lost."""
        return bool(self._enter or self._loss_outside)

    def is_lost(self) -> bool:
        """Whether the next packet is."""
        rng = self._rng
        if self._in_burst:
            self._in_burst = rng.random() >= self._leave
        if not self._in_burst:
            self._in_burst = rng.random() < self._enter
        share = self._loss_inside if self._in_burst else self._loss_outside
        if share <= 0.0:
            return False
        return share >= 1.0 or rng.random() < share

    def is_any_lost(self, packets: int) -> bool:
        """Whether of the next `packets` at least one is: what becomes of a message that needs them all."""
        if not self._enter and not self._in_burst:
            return bool(self._loss_outside) and self._rng.random() >= (1 - self._loss_outside) ** packets
        lost = [self.is_lost() for _ in range(packets)]
        return any(lost)
