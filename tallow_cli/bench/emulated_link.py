"""A network link in software: what `tallow bench --link RATE,RTT,LOSS` puts between its two processes.

    datagrams in ─▶ random loss ─▶ drop-tail queue ─▶ one after the other at the link's rate ─▶ delay ─▶ out

Sans-IO. Driver: `offer(now, datagram)` for each that arrives, `take_due(now)` no later than `next_due_at`, with
one clock that never goes backwards. `bench.link_process` drives one `Direction` each way.
"""

from __future__ import annotations

import random
import re
from collections import deque
from dataclasses import dataclass
from typing import Final

from tallow_cli.errors import BadOption
from tallow_cli.quantities import parse_rate

IP_UDP_HEADER_BYTES: Final = 28  # IPv4 without options (RFC 791) and UDP (RFC 768)
# Ethernet's. Loopback carries 64 KiB in one piece, which no link does that somebody would want emulated.
MTU_BYTES: Final = 1500

# A queue shorter than either would lose bursts that real links' buffers take in.
SHORTEST_QUEUE_S: Final = 0.02
SMALLEST_QUEUE_BYTES: Final = 10 * MTU_BYTES

# One process in Python carries no more; for faster paths there are network namespaces (`make bench-lab`).
MAX_RATE_BPS: Final = 1e9
MIN_RATE_BPS: Final = 1e5
MAX_RTT_S: Final = 2.0  # a satellite takes 0.6 s; a queue of 2 s at the highest rate is 250 MB
MAX_LOSS: Final = 0.5

_OPTION: Final = "--link"
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_TIME: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s)?", re.IGNORECASE)
_SHARE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*%?")
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """The link, alike in both directions. `loss` is the share of datagrams that die at random."""

    rate_bps: float  # IP and UDP headers included, Ethernet's framing not, as iperf3 and tc count
    rtt_s: float  # without queueing
    loss: float

    @property
    def queue_bytes(self) -> float:
        """One bandwidth-delay product, as routers have long been given."""
        return max(self.rate_bps * max(self.rtt_s, SHORTEST_QUEUE_S) / 8, SMALLEST_QUEUE_BYTES)

    def __str__(self) -> str:
        return f"{self.rate_bps / 1e6:g} Mbit/s, {self.rtt_s * 1e3:g} ms, {self.loss * 100:g} %"


@dataclass(slots=True)
class LinkCounters:
    """What one direction did with its datagrams."""

    received: int = 0
    lost: int = 0  # by the link's random loss
    dropped_by_queue: int = 0
    too_large: int = 0  # for the MTU
    delivered: int = 0
    mean_late_s: float = 0.0  # after their time, since the emulator had no CPU or no fine enough timer
    overrun: int = 0  # not emulated: they died in the emulator's own socket, which it was too slow to read


class Direction:
    """One direction of the link. Losses come from `rng`, one draw per datagram."""

    def __init__(self, spec: LinkSpec, rng: random.Random) -> None:
        self.counters = LinkCounters()
        self._rng = rng
        self._loss = spec.loss
        self._seconds_per_byte = 8 / spec.rate_bps
        self._delay_s = spec.rtt_s / 2
        self._queue_s = spec.queue_bytes * self._seconds_per_byte
        self._idle_from = 0.0  # when the last byte queued so far has left
        self._under_way: deque[tuple[float, bytes]] = (
            deque()
        )  # (arrives at, datagram); the delay keeps the order
        self._late_s = 0.0

    @property
    def next_due_at(self) -> float | None:
        """When the next datagram arrives at the other end; None: nothing is under way."""
        return self._under_way[0][0] if self._under_way else None

    def offer(self, now: float, datagram: bytes) -> None:
        """Take a datagram in, or let it die."""
        counters = self.counters
        counters.received += 1
        size_bytes = len(datagram) + IP_UDP_HEADER_BYTES
        if size_bytes > MTU_BYTES:
            counters.too_large += 1
            return
        if self._rng.random() < self._loss:
            counters.lost += 1
            return
        ends_at = max(now, self._idle_from) + size_bytes * self._seconds_per_byte
        if ends_at - now > self._queue_s:
            counters.dropped_by_queue += 1
            return
        self._idle_from = ends_at
        self._under_way.append((ends_at + self._delay_s, datagram))

    def take_due(self, now: float) -> list[bytes]:
        """Return what has arrived by `now`, in order."""
        under_way, counters = self._under_way, self.counters
        due = []
        while under_way and under_way[0][0] <= now:
            arrived_at, datagram = under_way.popleft()
            self._late_s += now - arrived_at
            due.append(datagram)
        if due:
            counters.delivered += len(due)
            counters.mean_late_s = self._late_s / counters.delivered
        return due


def parse_link(text: str) -> LinkSpec:
    """Return the link that `100Mbit,50ms,1%` describes; plain numbers (`100,50,1`) have these units.

    Raises BadOption.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3:
        raise BadOption(_OPTION, f"{text!r} is not RATE,RTT,LOSS; write it like 100Mbit,50ms,1%")
    rate, rtt, loss = parts
    spec = LinkSpec(_rate_bps(rate), _seconds(rtt), _share(loss))
    if not MIN_RATE_BPS <= spec.rate_bps <= MAX_RATE_BPS:
        raise BadOption(_OPTION, f"the rate {rate!r} is not between 100 kbit/s and 1 Gbit/s")
    if spec.rtt_s > MAX_RTT_S:
        raise BadOption(_OPTION, f"the round-trip time {rtt!r} is over {MAX_RTT_S:g} s")
    if spec.loss > MAX_LOSS:
        raise BadOption(_OPTION, f"the loss {loss!r} is over {MAX_LOSS:.0%}")
    return spec


def _rate_bps(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text) * 1e6
    try:
        return parse_rate(text) * 8
    except ValueError as error:
        raise BadOption(_OPTION, str(error)) from error


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise BadOption(_OPTION, f"{text!r} is not a round-trip time; write it like 50ms or 0.4ms")
    return float(match["number"]) * _SECONDS[(match["unit"] or "ms").lower()]


def _share(text: str) -> float:
    match = _SHARE.fullmatch(text)
    if match is None:
        raise BadOption(_OPTION, f"{text!r} is not a loss; write it like 1% or 0.1%")
    return float(match["number"]) / 100
