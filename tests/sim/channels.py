"""DataChannels at the level of messages, in virtual time: what one SCTP association does to them.

Sans-IO and seeded. One direction is a `Wire`: messages of all channels share one first-in first-out queue
served at `rate`. A message of an unreliable channel is lost if any of its network packets is (`netem.loss` says which);
the control channel is reliable and ordered, so a loss there only delays. `whole_stack.py` has packets and a real
association in this place; this model costs a hundredth of that.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field, replace
from random import Random

from tallow_cli.netem.loss import GilbertElliott

PACKET_BYTES = 1160
CONTROL = 0


@dataclass(frozen=True)
class Profile:
    """One direction of the network. Rates in bytes per second, times in seconds, the rest as fractions."""

    rate: float = 12_500_000.0
    delay: float = 0.01
    loss: float = 0.0  # of network packets
    burst: float = 0.0  # probability that a packet begins a burst in which half of everything is lost
    burst_packets: int = 10  # mean length of a burst
    reorder: float = 0.0  # of messages: they arrive later, by up to `reorder_by`
    reorder_by: float = 0.05
    duplicate: float = 0.0  # of messages
    outages: tuple[tuple[float, float], ...] = ()  # (from, until): everything is lost
    jitter: float = 0.0


PROFILES = {
    "loopback": Profile(rate=60e6, delay=0.0002),
    "lan": Profile(rate=125e6, delay=0.0002),
    "wifi": Profile(rate=25e6, delay=0.002, loss=0.001, jitter=0.002),
    "internet": Profile(rate=12.5e6, delay=0.02, loss=0.001),
    "far": Profile(rate=2.5e6, delay=0.075, loss=0.03, jitter=0.01),
}


@dataclass(order=True)
class _Arrival:
    at: float
    order: int
    channel: int = field(compare=False)
    message: bytes = field(compare=False)


class Wire:
    """One direction of an association."""

    def __init__(self, profile: Profile, rng: Random) -> None:
        self.profile = profile
        self.rng = rng
        self.messages_lost = 0
        self.bytes_offered = 0
        self.largest_queue = 0
        self._queue: deque[tuple[int, bytes]] = deque()
        self._buffered: dict[int, int] = {}
        self._sending: tuple[float, int, bytes] | None = None  # finished at, channel, message
        self._arrivals: list[_Arrival] = []
        self._order = 0
        self._loss = self._lossy()
        self._last_control_at = 0.0
        self._dead: set[int] = set()
        self._held: set[int] = set()

    def change(self, **changes: float) -> None:
        """A new rate, delay or loss from now on."""
        self.profile = replace(self.profile, **changes)  # type: ignore[arg-type]  # all fields are floats
        self._loss = self._lossy()

    def buffered(self, channel: int) -> int:
        """What of this channel still waits in the local stack."""
        return self._buffered.get(channel, 0)

    def kill(self, channel: int) -> None:
        """The channel closes: what it had queued or in the air is gone."""
        self._dead.add(channel)
        self._buffered[channel] = 0
        self._queue = deque(entry for entry in self._queue if entry[0] != channel)
        self._arrivals = [arrival for arrival in self._arrivals if arrival.channel != channel]
        heapq.heapify(self._arrivals)

    def hold(self, now: float, channel: int) -> None:
        """What this channel has waits in the local stack, and lets others pass."""
        self._held.add(channel)

    def let_go(self, now: float, channel: int) -> None:
        self._held.discard(channel)
        self.advance(now)
        self._serve(now)

    def send(self, now: float, channel: int, message: bytes) -> None:
        if channel in self._dead:
            return
        self.advance(now)
        self._queue.append((channel, message))
        self._buffered[channel] = self._buffered.get(channel, 0) + len(message)
        self.bytes_offered += len(message)
        self.largest_queue = max(self.largest_queue, sum(self._buffered.values()))
        self._serve(now)

    def next_timeout(self) -> float | None:
        """When something next leaves or arrives."""
        times = [self._sending[0]] if self._sending else []
        if self._arrivals:
            times.append(self._arrivals[0].at)
        return min(times, default=None)

    def next_arrival(self) -> float | None:
        return self._arrivals[0].at if self._arrivals else None

    def advance(self, now: float) -> None:
        while self._sending is not None and self._sending[0] <= now:
            finished, channel, message = self._sending
            self._sending = None
            self._fate(finished, channel, message)
            self._serve(finished)

    def receive(self, now: float) -> list[tuple[int, bytes]]:
        """(channel, message) that have arrived by now."""
        self.advance(now)
        arrived = []
        while self._arrivals and self._arrivals[0].at <= now:
            arrival = heapq.heappop(self._arrivals)
            arrived.append((arrival.channel, arrival.message))
        return arrived

    def _serve(self, now: float) -> None:
        if self._sending is not None:
            return
        turn = next(
            (turn for turn, (channel, _) in enumerate(self._queue) if channel not in self._held), None
        )
        if turn is not None:
            channel, message = self._queue[turn]
            del self._queue[turn]
            self._buffered[channel] -= len(message)
            self._sending = (now + len(message) / self.profile.rate, channel, message)

    def _fate(self, finished: float, channel: int, message: bytes) -> None:
        if channel in self._dead:
            return
        profile, rng = self.profile, self.rng
        at = finished + profile.delay + rng.uniform(0, profile.jitter)
        if channel == CONTROL:
            while self._is_lost(at, message):
                at += max(0.2, 3 * profile.delay)  # a retransmission timeout of the reliable channel
            at = self._last_control_at = max(at, self._last_control_at)
        elif self._is_lost(finished, message):
            self.messages_lost += 1
            return
        elif rng.random() < profile.reorder:
            at += rng.uniform(0, profile.reorder_by)
        self._arrive(at, channel, message)
        if channel != CONTROL and rng.random() < profile.duplicate:
            self._arrive(at + rng.uniform(0, 2 * profile.delay), channel, message)

    def _arrive(self, at: float, channel: int, message: bytes) -> None:
        self._order += 1
        heapq.heappush(self._arrivals, _Arrival(at, self._order, channel, message))

    def _is_lost(self, at: float, message: bytes) -> bool:
        if any(start <= at < end for start, end in self.profile.outages):
            return True
        return self._loss.is_any_lost(-(-len(message) // PACKET_BYTES))

    def _lossy(self) -> GilbertElliott:
        profile = self.profile
        return GilbertElliott(
            self.rng,
            enter=profile.burst,
            leave=1 / profile.burst_packets,
            loss_outside=profile.loss,
            loss_inside=0.5,
        )
