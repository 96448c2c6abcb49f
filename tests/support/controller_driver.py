"""Drives a congestion controller over a path that delivers exactly one rate: no queue limit, no chance."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tallow_cli.dataplane.congestion.controller import AckSample, CongestionController
from tallow_cli.dataplane.congestion.delivery_rate import DeliveryRateEstimator, SendStamp

MTU = 1_000


@dataclass
class PerfectPath:
    """`rate` bytes per second, `rtt_s` without a queue. The sender sends as window and pace allow, in steps of 1 ms."""

    controller: CongestionController
    rate: float = 1_000_000.0
    rtt_s: float = 0.05
    now: float = 0.0
    inflight: int = 0
    loss: float = 0.0
    estimator: DeliveryRateEstimator = field(default_factory=DeliveryRateEstimator)
    _under_way: deque[tuple[float, SendStamp]] = field(default_factory=deque)
    _free_at: float = 0.0
    _tokens: float = 0.0
    _lost_share: float = 0.0
    states: list[str] = field(default_factory=list)

    @property
    def queue_s(self) -> float:
        return max(0.0, self._free_at - self.now)

    def run(self, seconds: float) -> None:
        """Send and acknowledge for so long."""
        ends = self.now + seconds
        while self.now < ends:
            self.now += 0.001
            self._deliver()
            self._send()
            if not self.states or self.states[-1] != self.controller.state:
                self.states.append(self.controller.state)

    def _send(self) -> None:
        self._tokens = min(
            self._tokens + self.controller.pacing_rate * 0.001, 0.01 * self.controller.pacing_rate + MTU
        )
        while self._tokens >= MTU and self.inflight + MTU <= self.controller.cwnd_bytes:
            stamp = self.estimator.on_sent(self.now, MTU, self.inflight)
            self.controller.on_sent(self.now, MTU, self.inflight)
            self.inflight += MTU
            self._tokens -= MTU
            self._free_at = max(self._free_at, self.now) + MTU / self.rate
            self._under_way.append((self._free_at + self.rtt_s, stamp))

    def _deliver(self) -> None:
        rtt_s = None
        while self._under_way and self._under_way[0][0] <= self.now:
            _, stamp = self._under_way.popleft()
            self.inflight -= MTU
            self._lost_share += self.loss
            if self._lost_share >= 1.0:
                self._lost_share -= 1.0
                self.estimator.on_lost(stamp, MTU)
                continue
            self.estimator.on_acked(stamp, MTU)
            rtt_s = self.now - stamp.sent_at
        sample = self.estimator.finish(self.now, self.inflight, rtt_s)
        if sample.acked_bytes or sample.lost_bytes:
            self.controller.on_ack(sample)

    def lose_everything(self) -> None:
        """What a retransmission timeout finds."""
        self._under_way.clear()
        self._free_at = self.now
        self.inflight = 0
        self.controller.on_rto(self.now)


def ack(
    now: float, size: int, *, rtt_s: float = 0.05, lost: int = 0, lost_sent_at: float = -1.0
) -> AckSample:
    """A sample by hand."""
    return AckSample(
        now,
        acked_bytes=size,
        lost_bytes=lost,
        lost_ranges=1 if lost else 0,
        lost_sent_at=lost_sent_at,
        rtt_s=rtt_s,
    )
