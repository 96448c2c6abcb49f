"""One direction of a network path, in virtual time: seeded, sans-IO, exact.

    packets in ─▶ outage, random and burst loss ─▶ drop-tail queue ─▶ serialization at `rate_bps`
               ─▶ propagation delay, jitter, reordering, duplication ─▶ packets out

Driver: `send(now, packet, size_bytes)` as often as you like; then advance the clock to the earliest of
`next_event_at()` of all links and timers, and take what `receive(now)` returns. Packets are opaque objects.
`now` never goes backwards. Two senders share a bottleneck by sending into the same `Link`.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

# IPv4 20, UDP 8; Ethernet's own framing is not counted, as iperf3 does not count it either.
IP_UDP_OVERHEAD_BYTES = 28


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """What one direction does to packets.

    `rate_bps`: bits per second, None for infinitely fast. `delay_s`: one-way propagation.
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
    """Counts since the start. `queue_delays_s`: how long each packet waited before its own transmission."""

    sent_packets: int = 0
    sent_bytes: int = 0
    delivered_packets: int = 0
    delivered_bytes: int = 0
    dropped_by_queue: int = 0
    dropped_at_random: int = 0
    dropped_by_outage: int = 0
    duplicated: int = 0
    reordered: int = 0
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
    """One direction of a path. Everything random comes from `rng`, drawn in the order packets are sent."""

    def __init__(self, config: LinkConfig, rng: random.Random) -> None:
        if not 0.0 <= config.loss < 1.0 or config.burst_packets < 1.0:
            raise ValueError(f"impossible loss {config.loss} in bursts of {config.burst_packets}")
        self.config = config
        self.stats = LinkStats()
        self._rng = rng
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
        # On the wire: (arrives_at, order, packet, size).
        self._wire: list[tuple[float, int, Any, int]] = []
        self._order = 0
        self._last_arrival_at = 0.0
        self._in_burst = False
        # Gilbert: enter a burst so often that bursts of the mean length make up the wanted share.
        self._burst_end = 1.0 / config.burst_packets
        starts = config.loss * self._burst_end
        self._burst_start = starts / (1.0 - config.loss + starts)
        # Most links draw nothing per packet beyond loss.
        self._plain_wire = not (config.jitter_s or config.reorder or config.duplicate)

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
        self._transmit_until(now)
        stats = self.stats
        stats.sent_packets += 1
        stats.sent_bytes += size_bytes
        if self.config.outages and any(start <= now < end for start, end in self.config.outages):
            stats.dropped_by_outage += 1
            return False
        if self._burst_start and self._is_lost():
            stats.dropped_at_random += 1
            return False
        limit = self.config.queue_bytes
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
        self._transmit_until(now)
        wire, stats = self._wire, self.stats
        arrived = []
        while wire and wire[0][0] <= now:
            _, _, packet, size_bytes = heapq.heappop(wire)
            stats.delivered_packets += 1
            stats.delivered_bytes += size_bytes
            arrived.append(packet)
        return arrived

    def next_event_at(self) -> float | None:
        """When the next packet may arrive, if nothing changes; None when the link is empty."""
        head = self._head_done_at()
        if head is not None:
            head += self._delay_s
        if self._wire and (head is None or self._wire[0][0] < head):
            return self._wire[0][0]
        return head

    def _is_lost(self) -> bool:
        if self._in_burst:
            self._in_burst = self._rng.random() >= self._burst_end
        if not self._in_burst:
            self._in_burst = self._rng.random() < self._burst_start
        return self._in_burst

    def _start_head(self, now: float) -> None:
        self._head_started_at = self._head_since = now
        self._head_bits_left = self._queue[0][1] * 8.0

    def _head_done_at(self) -> float | None:
        if not self._queue or not self._rate_bps:
            return None
        done_at = self._head_since + self._head_bits_left / self._rate_bps
        if self._changes and self._changes[0][0] < done_at:
            # Wake no earlier than the change; the true time is found once it has happened.
            return self._changes[0][0]
        return done_at

    def _change_rate(self, now: float, rate_bps: float) -> None:
        if self._queue and self._rate_bps:
            self._head_bits_left -= (now - self._head_since) * self._rate_bps
        self._head_since = now
        self._rate_bps = rate_bps

    def _transmit_until(self, now: float) -> None:
        while self._changes and self._changes[0][0] <= now:
            at, rate_bps = self._changes.popleft()
            self._finish_heads_until(at)
            self._change_rate(at, rate_bps)
        self._finish_heads_until(now)

    def _finish_heads_until(self, now: float) -> None:
        queue, rate_bps = self._queue, self._rate_bps
        while queue and rate_bps:
            done_at = self._head_since + self._head_bits_left / rate_bps
            if done_at > now:
                return
            packet, size_bytes, enqueued_at = queue.popleft()
            self._queued_bytes -= size_bytes
            self.stats.queue_delays_s.append(self._head_started_at - enqueued_at)
            self._put_on_wire(done_at, packet, size_bytes)
            if queue:
                self._start_head(done_at)

    def _put_on_wire(self, now: float, packet: Any, size_bytes: int) -> None:
        while self._delay_changes and self._delay_changes[0][0] <= now:
            self._delay_s = self._delay_changes.popleft()[1]
        arrives_at = now + self._delay_s
        self._order += 1
        if self._plain_wire:
            heapq.heappush(self._wire, (arrives_at, self._order, packet, size_bytes))
            return
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


@dataclass(frozen=True, slots=True)
class PathPreset:
    """Both directions of a path: data go `forward`, acknowledgements come `back`."""

    name: str
    forward: LinkConfig
    back: LinkConfig

    @property
    def rtt_s(self) -> float:
        return self.forward.delay_s + self.back.delay_s


def path(
    name: str,
    rate_mbps: float,
    rtt_ms: float,
    loss: float = 0.0,
    *,
    queue_bdp: float = 1.0,
    ack_rate_share: float = 1.0,
    back_loss: float = 0.0,
    **forward: Any,
) -> PathPreset:
    """A symmetric path with a queue of `queue_bdp` bandwidth-delay products, at least 64 KiB.

    `ack_rate_share`: the return path's rate as a share of the data path's. `forward`: more of `LinkConfig`.
    """
    rate_bps = rate_mbps * 1e6
    delay_s = rtt_ms / 2000
    base = LinkConfig(rate_bps=rate_bps, delay_s=delay_s)
    queue_bytes = max(int(queue_bdp * base.bdp_bytes(rtt_ms / 1000)), 64 * 1024)
    back_rate = rate_bps * ack_rate_share
    back = LinkConfig(rate_bps=back_rate, delay_s=delay_s, queue_bytes=queue_bytes, loss=back_loss)
    return PathPreset(name, replace(base, queue_bytes=queue_bytes, loss=loss, **forward), back)


# The paths the data plane is measured on. Rates in Mbit/s, round trips in milliseconds.
PRESETS: dict[str, PathPreset] = {
    preset.name: preset
    for preset in (
        path("lan1g", 1000, 0.4, queue_bdp=20),
        path("wifi", 300, 4, 0.001, queue_bdp=4),
        path("inet", 100, 40, 0.001),
        path("inet1", 100, 50, 0.01),
        path("inet1-bursts", 100, 50, 0.01, burst_packets=10),
        path("far3", 20, 150, 0.03),
        path("shallow", 100, 40, queue_bdp=0.25),
        path("deep", 100, 40, queue_bdp=4),
        path("halving", 100, 40, queue_bdp=4, rate_changes=((5.0, 50e6),)),
        path("doubling", 50, 40, queue_bdp=2, rate_changes=((5.0, 100e6),)),
        path("outage", 100, 40, outages=((4.0, 6.0),)),
        path("reorder5", 100, 40, reorder=0.05, reorder_delay_s=0.005),
        path("thin-acks", 100, 40, ack_rate_share=0.01),
    )
}
