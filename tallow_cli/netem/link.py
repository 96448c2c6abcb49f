"""One direction of a network path, in virtual time: seeded, sans-IO, exact.

    packets in ─▶ outage, random and burst loss ─▶ drop-tail queue ─▶ serialization at `rate_bps`
               ─▶ propagation delay, jitter, reordering, duplication ─▶ packets out

Driver: `send(now, packet, size_bytes)` as often as you like; then advance the clock to the earliest of
`next_timeout()` of all links and timers, and take what `receive(now)` returns. Packets are opaque objects.
`now` never goes backwards. Two senders share a bottleneck by sending into the same `Link`.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from tallow_cli.netem.loss import GilbertElliott

# IPv4 without options 20 (RFC 791), UDP 8 (RFC 768); Ethernet's own framing is not counted, as iperf3 does not count
# it either.
IP_UDP_OVERHEAD_BYTES: Final = 28
_NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """What one direction does to packets.

    `rate_bps`: bits per second, None for infinitely fast. `delay_s`: one-way propagation.
    `mtu_bytes`: what is larger dies, so that path MTU discovery finds it; None for any size.
    `queue_bytes`: room in the drop-tail queue, the packet in transmission included; None for endless.
    `loss`: the share of packets that die at random; with `burst_packets` > 1 they die in bursts of about that
    mean length, the share staying the same.
    `reorder`: the share of packets held back by `reorder_delay_s`. `duplicate`: the share delivered twice.
    `jitter_s`: extra delay, uniform from 0, that keeps the order.
    `outages`: (start, end) times in which all that is sent dies.
    `rate_changes`: (time, rate_bps), ascending. `delay_changes`: (time, delay_s), ascending: a shorter way lets later
    packets overtake those that still travel the longer one.
    """

    rate_bps: float | None = None
    delay_s: float = 0.0
    mtu_bytes: int | None = None
    queue_bytes: int | None = None
    loss: float = 0.0
    burst_packets: float = 1.0
    reorder: float = 0.0
    reorder_delay_s: float = 0.005
    duplicate: float = 0.0
    jitter_s: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()
    rate_changes: tuple[tuple[float, float], ...] = ()
    delay_changes: tuple[tuple[float, float], ...] = ()

    def bdp_bytes(self, rtt_s: float) -> int:
        """The bandwidth-delay product over `rtt_s`. Raises `ValueError` on a link without a rate."""
        if self.rate_bps is None:
            raise ValueError("a link without a rate has no bandwidth-delay product")
        return int(self.rate_bps * rtt_s / 8)


@dataclass(slots=True)
class LinkStats:
    """Counts since the start. `queue_delays_s`: how long each packet waited before its own transmission, if asked.

    `late_s`: by how much `receive` was called after packets had arrived, all together.
    """

    sent_packets: int = 0
    sent_bytes: int = 0
    delivered_packets: int = 0
    delivered_bytes: int = 0
    dropped_by_queue: int = 0
    dropped_at_random: int = 0
    dropped_by_outage: int = 0
    too_large: int = 0
    duplicated: int = 0
    reordered: int = 0
    late_s: float = 0.0
    queue_delays_s: list[float] = field(default_factory=list)

    @property
    def mean_queue_delay_s(self) -> float:
        return sum(self.queue_delays_s) / len(self.queue_delays_s) if self.queue_delays_s else 0.0

    @property
    def p99_queue_delay_s(self) -> float:
        if not self.queue_delays_s:
            return 0.0
        ordered = sorted(self.queue_delays_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


class Link:
    """One direction of a path. Everything random comes from `rng`, drawn in the order packets are sent.

    `keeps_delays`: whether `stats.queue_delays_s` is filled, which takes memory for as long as the link is used.
    """

    def __init__(
        self,
        config: LinkConfig,
        rng: random.Random,  # noqa: TID251  # the type of what is handed in
        *,
        keeps_delays: bool = True,
    ) -> None:
        """Raises ValueError for a loss that no link has."""
        self.config = config
        self.stats = LinkStats()
        self._rng = rng
        self._keeps_delays = keeps_delays
        self._rate_bps = config.rate_bps
        self._delay_s = config.delay_s
        self._delay_changes = deque(config.delay_changes)
        self._changes = deque(config.rate_changes)
        # Waiting and in transmission: (packet, size, enqueued_at). The head is being transmitted.
        self._queue: deque[tuple[Any, int, float]] = deque()
        self._queued_bytes = 0
        self._head_started_at = 0.0
        self._head_bits_left = 0.0
        self._head_since = 0.0
        self._head_done_at = _NEVER
        # On the wire, where order may be lost: (arrives_at, order, packet, size).
        self._wire: list[tuple[float, int, Any, int]] = []
        self._order = 0
        self._last_arrival_at = 0.0
        loss = GilbertElliott.of_share(rng, config.loss, config.burst_packets)
        self._is_lost = loss.is_lost if loss.is_possible else None
        # Most links keep the order and draw nothing per packet beyond loss: (arrives_at, packet, size).
        is_plain = not (config.jitter_s or config.reorder or config.duplicate or config.delay_changes)
        self._in_order: deque[tuple[float, Any, int]] | None = deque() if is_plain else None

    @property
    def queued_bytes(self) -> int:
        """Waiting or in transmission, as of the last call."""
        return self._queued_bytes

    @property
    def rate_bps(self) -> float | None:
        return self._rate_bps

    def set_rate(self, now: float, rate_bps: float) -> None:
        """From `now` on the link serializes at `rate_bps`; what is queued stays queued."""
        self._transmit_until(now)
        self._change_rate(now, rate_bps)

    def send(self, now: float, packet: Any, size_bytes: int) -> bool:
        """Offer a packet; False if it dies at the entrance. `size_bytes` is what the wire carries."""
        if self._changes or self._head_done_at <= now:
            self._transmit_until(now)
        stats, config = self.stats, self.config
        stats.sent_packets += 1
        stats.sent_bytes += size_bytes
        if config.mtu_bytes is not None and size_bytes > config.mtu_bytes:
            stats.too_large += 1
            return False
        if config.outages and any(start <= now < end for start, end in config.outages):
            stats.dropped_by_outage += 1
            return False
        if self._is_lost is not None and self._is_lost():
            stats.dropped_at_random += 1
            return False
        limit = config.queue_bytes
        if limit is not None and self._queue and self._queued_bytes + size_bytes > limit:
            stats.dropped_by_queue += 1
            return False
        if self._rate_bps is None:
            self._put_on_wire(now, packet, size_bytes)
            return True
        self._queue.append((packet, size_bytes, now))
        self._queued_bytes += size_bytes
        if len(self._queue) == 1:
            self._start_head(now)
        return True

    def receive(self, now: float) -> list[Any]:
        """Everything that has arrived by `now`, in order of arrival."""
        if self._changes or self._head_done_at <= now:
            self._transmit_until(now)
        arrived, late_s, arrived_bytes = [], 0.0, 0
        if (in_order := self._in_order) is not None:
            while in_order and in_order[0][0] <= now:
                arrived_at, packet, size_bytes = in_order.popleft()
                late_s += now - arrived_at
                arrived_bytes += size_bytes
                arrived.append(packet)
        else:
            while self._wire and self._wire[0][0] <= now:
                arrived_at, _, packet, size_bytes = heapq.heappop(self._wire)
                late_s += now - arrived_at
                arrived_bytes += size_bytes
                arrived.append(packet)
        self.stats.delivered_packets += len(arrived)
        self.stats.delivered_bytes += arrived_bytes
        self.stats.late_s += late_s
        return arrived

    def next_timeout(self) -> float | None:
        """When the next packet may arrive, if nothing changes; None when the link is empty."""
        head = self._head_done_at
        if self._changes and self._changes[0][0] < head < _NEVER:
            head = self._changes[0][
                0
            ]  # no earlier than the change; the true time is found once it has happened
        arrival = head + self._delay_s
        wire = self._wire if self._in_order is None else self._in_order
        if wire and wire[0][0] < arrival:
            return wire[0][0]
        return None if arrival == _NEVER else arrival

    def _start_head(self, now: float) -> None:
        self._head_started_at = self._head_since = now
        self._head_bits_left = self._queue[0][1] * 8.0
        self._expect_head()

    def _expect_head(self) -> None:
        """When the packet in transmission will have left, at the rate of now."""
        if self._queue and self._rate_bps:
            self._head_done_at = self._head_since + self._head_bits_left / self._rate_bps
        else:
            self._head_done_at = _NEVER

    def _change_rate(self, now: float, rate_bps: float) -> None:
        if self._queue and self._rate_bps:
            self._head_bits_left -= (now - self._head_since) * self._rate_bps
        self._head_since = now
        self._rate_bps = rate_bps
        self._expect_head()

    def _transmit_until(self, now: float) -> None:
        while self._changes and self._changes[0][0] <= now:
            at, rate_bps = self._changes.popleft()
            self._finish_heads_until(at)
            self._change_rate(at, rate_bps)
        self._finish_heads_until(now)

    def _finish_heads_until(self, now: float) -> None:
        """Move to the wire what has been transmitted by `now`. The rate is the same until then."""
        queue, rate_bps, done_at = self._queue, self._rate_bps, self._head_done_at
        if not rate_bps:
            return
        while done_at <= now:
            packet, size_bytes, enqueued_at = queue.popleft()
            self._queued_bytes -= size_bytes
            if self._keeps_delays:
                self.stats.queue_delays_s.append(self._head_started_at - enqueued_at)
            if self._in_order is not None:
                self._in_order.append((done_at + self._delay_s, packet, size_bytes))
            else:
                self._put_on_wire(done_at, packet, size_bytes)
            if not queue:
                done_at = _NEVER
                break
            self._head_started_at = self._head_since = done_at
            self._head_bits_left = queue[0][1] * 8.0
            done_at += self._head_bits_left / rate_bps
        self._head_done_at = done_at

    def _put_on_wire(self, now: float, packet: Any, size_bytes: int) -> None:
        while self._delay_changes and self._delay_changes[0][0] <= now:
            self._delay_s = self._delay_changes.popleft()[1]
        arrives_at = now + self._delay_s
        if self._in_order is not None:
            self._in_order.append((arrives_at, packet, size_bytes))
            return
        self._order += 1
        config, rng = self.config, self._rng
        if config.jitter_s:
            arrives_at = max(arrives_at + rng.random() * config.jitter_s, self._last_arrival_at)
            self._last_arrival_at = arrives_at
        if config.reorder and rng.random() < config.reorder:
            self.stats.reordered += 1
            arrives_at += config.reorder_delay_s
        heapq.heappush(self._wire, (arrives_at, self._order, packet, size_bytes))
        if config.duplicate and rng.random() < config.duplicate:
            self.stats.duplicated += 1
            self._order += 1
            heapq.heappush(self._wire, (arrives_at, self._order, packet, size_bytes))
