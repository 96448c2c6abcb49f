"""NewReno: the textbook window (RFC 9260 section 7.2, RFC 5681, RFC 9002 section 7), paced.

Kept as the baseline that every other stack behaves like. It halves on every loss event, so at 1 % loss and
50 ms it cannot pass 3 Mbit/s (Mathis); use it to compare, not to transfer.
"""

from __future__ import annotations

from tallow_cli.dataplane.congestion.controller import (
    INITIAL_WINDOW_PACKETS,
    AckSample,
    BytesPerSecond,
    CongestionController,
    ControllerConfig,
)
from tallow_cli.dataplane.congestion.pacing import quantum_bytes

# RFC 9260 section 7.2.3: ssthresh = max(cwnd / 2, 4 * PMDCS).
LOSS_REDUCTION = 0.5
MIN_SSTHRESH_PACKETS = 4
# Linux tcp_update_pacing_rate: twice the window per RTT while it doubles, 1.2 times when it grows slowly.
SLOW_START_PACING_GAIN = 2.0
AVOIDANCE_PACING_GAIN = 1.2
# RFC 9002 section 5.3.
RTT_SMOOTHING = 0.125
# With no RTT known yet, as Linux does: let the initial window leave within a millisecond.
NOMINAL_RTT_S = 0.001


class WindowController(CongestionController):
    """What NewReno and CUBIC share: slow start, one reduction per loss event, restart after RTO, pacing.

    A subclass says how the window grows in congestion avoidance and how far it falls.
    """

    def __init__(self, config: ControllerConfig) -> None:
        super().__init__(config)
        self._config = config
        self._cwnd = float(INITIAL_WINDOW_PACKETS * config.mtu_bytes)
        self._ssthresh = float("inf")
        self._srtt_s = config.initial_rtt_s
        self._recovery_started_at = -1.0

    @property
    def cwnd_bytes(self) -> int:
        return int(self._cwnd)

    @property
    def pacing_rate(self) -> BytesPerSecond:
        gain = SLOW_START_PACING_GAIN if self._in_slow_start else AVOIDANCE_PACING_GAIN
        return gain * self._cwnd / (self._srtt_s or NOMINAL_RTT_S)

    @property
    def send_quantum_bytes(self) -> int:
        return quantum_bytes(self.pacing_rate, self.mtu_bytes, self._config.max_quantum_bytes)

    @property
    def state(self) -> str:
        return "slow-start" if self._in_slow_start else "congestion-avoidance"

    @property
    def is_growing(self) -> bool:
        return self._in_slow_start

    @property
    def ssthresh_bytes(self) -> float:
        return self._ssthresh

    @property
    def _in_slow_start(self) -> bool:
        return self._cwnd < self._ssthresh

    def on_sent(self, now: float, size_bytes: int, inflight_bytes: int) -> None:
        del now, size_bytes, inflight_bytes  # the window alone decides

    def on_ack(self, sample: AckSample) -> None:
        if sample.lost_bytes and sample.lost_sent_at > self._recovery_started_at:
            # RFC 9002 section 7.3.2: what was sent before the reduction belongs to the same loss event.
            self.shrink(sample.now)
        self.grow(sample)

    def on_rto(self, now: float) -> None:
        # RFC 9260 section 7.2.3: one packet, and slow start again up to half of what was.
        self.shrink(now)
        self._cwnd = float(self.mtu_bytes)

    def grow(self, sample: AckSample) -> None:
        """Answer what was acknowledged, unless it was sent before the last reduction."""
        if sample.rtt_s is not None:
            self._smooth_rtt(sample.rtt_s)
        if not sample.acked_bytes or sample.is_app_limited or self._in_recovery(sample):
            return
        if self._in_slow_start:
            self._grow_slow_start(sample)
        else:
            self._grow_avoidance(sample)

    def shrink(self, now: float) -> None:
        """Answer one loss event."""
        self._recovery_started_at = now
        self._reduce(now)

    def _in_recovery(self, sample: AckSample) -> bool:
        if sample.rtt_s is None:
            return False
        return sample.now - sample.rtt_s <= self._recovery_started_at

    def _smooth_rtt(self, rtt_s: float) -> None:
        if self._srtt_s is None:
            self._srtt_s = rtt_s
        else:
            self._srtt_s += RTT_SMOOTHING * (rtt_s - self._srtt_s)

    def _floor_bytes(self) -> float:
        return float(MIN_SSTHRESH_PACKETS * self.mtu_bytes)

    def _grow_slow_start(self, sample: AckSample) -> None:
        # Byte counting without a cap per ACK (RFC 9002 section 7.3.1): pacing takes the burst out of it.
        self._cwnd += sample.acked_bytes

    def _grow_avoidance(self, sample: AckSample) -> None:
        self._cwnd += self.mtu_bytes * sample.acked_bytes / self._cwnd

    def _reduce(self, now: float) -> None:
        del now  # NewReno falls by half whenever it was
        self._ssthresh = max(self._cwnd * LOSS_REDUCTION, self._floor_bytes())
        self._cwnd = self._ssthresh


class NewReno(WindowController):
    """Grows one packet per round trip, falls by half."""

    name = "newreno"
