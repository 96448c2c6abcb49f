"""A minimal transport around a congestion controller, to develop and test controllers without an association.

`ModelFlow` sends numbered packets for ever (or at `app_rate_bps`), acknowledges them in batches, declares losses by
time as RACK does (RFC 8985) and never retransmits: like a channel with `maxRetransmits=0`, whose goodput is what
arrives. `run_flows` drives any number of flows through one shared bottleneck in ticks of virtual time; a tick is how
coarse timers and wake-ups are.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from tallow_cli.dataplane.congestion.controller import ControllerConfig
from tallow_cli.dataplane.congestion.delivery_rate import DeliveryRateEstimator, SendStamp
from tallow_cli.dataplane.congestion.pacing import Pacer
from tallow_cli.dataplane.congestion.registry import create_controller
from tallow_cli.netem.link import Link
from tallow_cli.netem.presets import PathPreset

MTU_BYTES = 1200
WIRE_BYTES = 1240
# IP, UDP, DTLS record, SCTP header, SACK and its gap blocks.
ACK_WIRE_BYTES = 160
# Each acknowledgement repeats what the few before it said, so that losing one costs nothing.
ACK_REPEATS = 6
REPORT_INTERVAL_S = 0.0999  # a tenth, less the rounding of ticks
MIN_RTO_S = 0.2
MAX_RTO_S = 1.0

IN_FLIGHT, ACKED, LOST = 0, 1, 2


@dataclass(slots=True)
class FlowResult:
    """What came of one flow. `delivered_at`: (time, total packets) once per 100 ms."""

    delivered_packets: int = 0
    lost_packets: int = 0
    spurious_packets: int = 0
    rtos: int = 0
    delivered_at: list[tuple[float, int]] = field(default_factory=list)

    def rate_mbps(self, start_s: float, end_s: float) -> float:
        """Wire rate of what arrived between two times, to the nearest report."""
        first = next((report for report in self.delivered_at if report[0] >= start_s), (start_s, 0))
        last = next((report for report in reversed(self.delivered_at) if report[0] <= end_s), first)
        if last[0] <= first[0]:
            return 0.0
        return (last[1] - first[1]) * WIRE_BYTES * 8 / (last[0] - first[0]) / 1e6


class ModelFlow:
    """Sender and receiver of one flow; the links between them belong to the caller."""

    def __init__(
        self,
        name: str,
        *,
        start_s: float = 0.0,
        ack_interval_s: float = 0.001,
        stop_s: float = float("inf"),
        app_rate_bps: float | None = None,
        unlimited_from_s: float = float("inf"),
        rng: random.Random | None = None,
    ) -> None:
        uniform = rng.random if rng else (lambda: 0.5)
        self.controller = create_controller(name, ControllerConfig(mtu_bytes=MTU_BYTES, uniform=uniform))
        self.result = FlowResult()
        self.start_s = start_s
        self._ack_interval_s = ack_interval_s
        self._stop_s = stop_s
        self._app_rate = app_rate_bps / 8 if app_rate_bps else None
        self._unlimited_from_s = unlimited_from_s
        self._estimator = DeliveryRateEstimator()
        self._pacer = Pacer(self.controller.pacing_rate, self.controller.send_quantum_bytes)
        self._inflight_bytes = 0
        self._packets: list[int] = []
        self._stamps: list[SendStamp] = []
        self._first_open = 0
        self._newest_acked_at = -1.0
        self._srtt_s = 0.0
        self._min_rtt_s = float("inf")
        self._progress_at = 0.0
        self._backoff = 1.0
        self._received: set[int] = set()
        self._fresh: list[int] = []
        self._recent: deque[list[int]] = deque(maxlen=ACK_REPEATS)
        self._ack_due_at = float("inf")

    # -- sender --------------------------------------------------------------------------------------------------

    def send(self, now: float, link: Link) -> None:
        """Let go what window and pacer allow."""
        if now >= self._unlimited_from_s:
            self._app_rate = None
        while self.start_s <= now < self._stop_s:
            room = self.controller.cwnd_bytes - self._inflight_bytes
            budget = self._pacer.budget(now)
            if room < MTU_BYTES or budget < MTU_BYTES:
                return
            if self._app_rate is not None:
                offered = int(self._app_rate * (now - self.start_s)) - len(self._packets) * MTU_BYTES
                if offered < MTU_BYTES:
                    self._estimator.mark_app_limited(self._inflight_bytes)
                    return
                budget = min(budget, offered)
            self._send_run(now, link, max(1, min(room, budget) // MTU_BYTES))

    def _send_run(self, now: float, link: Link, count: int) -> None:
        size = count * MTU_BYTES
        if not self._inflight_bytes:
            self._progress_at = now
        stamp = self._estimator.on_sent(now, size, self._inflight_bytes)
        self.controller.on_sent(now, size, self._inflight_bytes)
        self._pacer.on_sent(now, size)
        self._inflight_bytes += size
        for number in range(len(self._packets), len(self._packets) + count):
            link.send(now, (self, number), WIRE_BYTES)
        self._packets.extend([IN_FLIGHT] * count)
        self._stamps.extend([stamp] * count)

    def on_acks(self, now: float, acks: list[list[list[int]]]) -> None:
        """Take in everything that came back since the last tick, as one sample."""
        packets, stamps, estimator = self._packets, self._stamps, self._estimator
        newest: SendStamp | None = None
        for batch in (batch for ack in acks for batch in ack):
            for number in batch:
                status = packets[number]
                if status == ACKED:
                    continue
                packets[number] = ACKED
                stamp = stamps[number]
                estimator.on_acked(stamp, MTU_BYTES, spurious=status == LOST)
                if status == LOST:
                    self.result.spurious_packets += 1
                else:
                    self._inflight_bytes -= MTU_BYTES
                if newest is None or stamp.sent_at > newest.sent_at:
                    newest = stamp
        rtt_s = None
        if newest is not None:
            rtt_s = now - newest.sent_at
            self._srtt_s = self._srtt_s + (rtt_s - self._srtt_s) / 8 if self._srtt_s else rtt_s
            self._min_rtt_s = min(self._min_rtt_s, rtt_s)
            self._newest_acked_at = max(self._newest_acked_at, newest.sent_at)
            self._progress_at, self._backoff = now, 1.0
        lost = self._declare_losses(now)
        if newest is not None or lost:
            self.controller.on_ack(estimator.finish(now, self._inflight_bytes, rtt_s))
        elif self._inflight_bytes and now - self._progress_at > self._rto_s():
            self._time_out(now)
        self._pacer.set_rate(self.controller.pacing_rate, self.controller.send_quantum_bytes)

    def _rto_s(self) -> float:
        return min(max(MIN_RTO_S, 2 * self._srtt_s) * self._backoff, max(MAX_RTO_S, 2 * self._srtt_s))

    def _declare_losses(self, now: float) -> int:
        packets, stamps = self._packets, self._stamps
        first = self._first_open
        while first < len(packets) and packets[first] != IN_FLIGHT:
            first += 1
        self._first_open = first
        window_s = self._min_rtt_s / 4
        lost, previous = 0, -2
        for number in range(first, len(packets)):
            sent_at = stamps[number].sent_at
            if sent_at >= self._newest_acked_at or now - sent_at < self._srtt_s + window_s:
                break
            if packets[number] == IN_FLIGHT and sent_at + window_s <= self._newest_acked_at:
                packets[number] = LOST
                self._estimator.on_lost(stamps[number], MTU_BYTES, 0 if number == previous + 1 else 1)
                self._inflight_bytes -= MTU_BYTES
                previous = number
                lost += 1
        self.result.lost_packets += lost
        return lost

    def _time_out(self, now: float) -> None:
        for number in range(self._first_open, len(self._packets)):
            if self._packets[number] == IN_FLIGHT:
                self._packets[number] = LOST
                self.result.lost_packets += 1
        self._inflight_bytes = 0
        self.result.rtos += 1
        self._progress_at = now
        self._backoff *= 2
        self.controller.on_rto(now)

    def report(self, now: float) -> None:
        """Note what has arrived by now, ten times a second."""
        reports = self.result.delivered_at
        if not reports or now >= reports[-1][0] + REPORT_INTERVAL_S:
            reports.append((now, self.result.delivered_packets))

    # -- receiver ------------------------------------------------------------------------------------------------

    def on_packet(self, now: float, number: int) -> None:
        if number in self._received:
            return
        self._received.add(number)
        self.result.delivered_packets += 1
        self._fresh.append(number)
        if self._ack_due_at == float("inf"):
            self._ack_due_at = now + self._ack_interval_s

    def acknowledge(self, now: float, link: Link) -> None:
        """Send one acknowledgement if it is due."""
        if now < self._ack_due_at:
            return
        self._ack_due_at = float("inf")
        self._recent.append(self._fresh)
        self._fresh = []
        link.send(now, (self, list(self._recent)), ACK_WIRE_BYTES)


def run_flows(
    preset: PathPreset, flows: list[ModelFlow], duration_s: float, seed: int = 1, tick_s: float | None = None
) -> Link:
    """Drive the flows over one path from 0 to `duration_s`; results are in the flows. Returns the bottleneck."""
    rng = random.Random(seed)
    forward, back = Link(preset.forward, rng), Link(preset.back, rng)
    tick_s = tick_s or min(0.0005, preset.rtt_s / 4)
    for tick in range(int(duration_s / tick_s) + 1):
        now = tick * tick_s
        acks: dict[ModelFlow, list[list[list[int]]]] = {}
        for flow, ack in back.receive(now):
            acks.setdefault(flow, []).append(ack)
        for flow in flows:
            flow.on_acks(now, acks.get(flow, []))
            flow.send(now, forward)
        for flow, number in forward.receive(now):
            flow.on_packet(now, number)
        for flow in flows:
            flow.acknowledge(now, back)
        for flow in flows:
            flow.report(now)
    return forward
