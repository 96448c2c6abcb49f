"""CUBIC (RFC 9438) with HyStart++ (RFC 9406): the window most of the Internet uses, paced.

Right for clean paths and for comparing. On a long path with loss it starves like every window of its kind.
"""

from __future__ import annotations

from tallow_cli.dataplane.congestion.controller import AckSample, ControllerConfig
from tallow_cli.dataplane.congestion.newreno import WindowController

# RFC 9438 section 4.6 and 5.
CUBIC_C = 0.4
CUBIC_BETA = 0.7
# RFC 9438 section 4.3: the growth that matches Reno's with CUBIC's smaller reduction.
RENO_FRIENDLY_ALPHA = 3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA)
# RFC 9406 section 4.3.
HYSTART_MIN_RTT_THRESH_S = 0.004
HYSTART_MAX_RTT_THRESH_S = 0.016
HYSTART_RTT_DIVISOR = 8
HYSTART_MIN_SAMPLES = 8
HYSTART_CSS_GROWTH_DIVISOR = 4
HYSTART_CSS_ROUNDS = 5


class HyStart:
    """Notices in slow start that the round trip has begun to grow, and leaves before the queue overflows."""

    def __init__(self) -> None:
        self._round_ends_at_bytes = 0
        self._last_round_min_s = float("inf")
        self._round_min_s = float("inf")
        self._samples = 0
        self._css_baseline_s = float("inf")
        self._css_rounds = 0
        self.in_conservative_slow_start = False

    def on_ack(self, sample: AckSample, sent_bytes: int) -> bool:
        """Take one sample; True when slow start is to end. `sent_bytes`: all that was ever sent."""
        if sample.delivered_bytes >= self._round_ends_at_bytes:
            self._round_ends_at_bytes = sent_bytes
            self._last_round_min_s, self._round_min_s, self._samples = self._round_min_s, float("inf"), 0
            if self.in_conservative_slow_start:
                self._css_rounds += 1
        if sample.rtt_s is not None:
            self._round_min_s = min(self._round_min_s, sample.rtt_s)
            # One SACK stands for several packets here; RFC 9406 counts samples to be robust against one
            # outlier.
            self._samples += max(1, sample.acked_bytes // 2400)
        if self._samples >= HYSTART_MIN_SAMPLES:
            self._judge()
        return self.in_conservative_slow_start and self._css_rounds >= HYSTART_CSS_ROUNDS

    def _judge(self) -> None:
        if self.in_conservative_slow_start:
            if self._round_min_s < self._css_baseline_s:
                # It was jitter: RFC 9406 section 4.2 resumes slow start.
                self.in_conservative_slow_start = False
                self._css_rounds = 0
            return
        if self._last_round_min_s == float("inf"):
            return
        threshold_s = min(
            max(self._last_round_min_s / HYSTART_RTT_DIVISOR, HYSTART_MIN_RTT_THRESH_S),
            HYSTART_MAX_RTT_THRESH_S,
        )
        if self._round_min_s >= self._last_round_min_s + threshold_s:
            self._css_baseline_s = self._round_min_s
            self.in_conservative_slow_start = True
            self._css_rounds = 0


class Cubic(WindowController):
    """Grows along a cubic curve around the window of the last loss, falls to 0.7 of it."""

    name = "cubic"

    def __init__(self, config: ControllerConfig) -> None:
        super().__init__(config)
        self._hystart = HyStart()
        self._sent_bytes = 0
        self._w_max = 0.0
        self._w_est = 0.0
        self._epoch_started_at: float | None = None
        self._k_s = 0.0

    def start_from(self, cwnd_bytes: float, w_max_bytes: float) -> None:
        """Skip slow start: so much is known to fit, and `w_max_bytes` to be about what is to be had."""
        self._cwnd = self._ssthresh = max(cwnd_bytes, self._floor_bytes())
        self._w_max = w_max_bytes

    def on_sent(self, now: float, size_bytes: int, inflight_bytes: int) -> None:
        self._sent_bytes += size_bytes
        if inflight_bytes == 0 and self._epoch_started_at is not None:
            # RFC 9438 section 5.8: time without sending must not count as growth.
            self._epoch_started_at = None

    def _grow_slow_start(self, sample: AckSample) -> None:
        if self._hystart.on_ack(sample, self._sent_bytes):
            self._ssthresh = self._cwnd
            return
        divisor = HYSTART_CSS_GROWTH_DIVISOR if self._hystart.in_conservative_slow_start else 1
        self._cwnd += sample.acked_bytes / divisor

    def _grow_avoidance(self, sample: AckSample) -> None:
        mtu = self.mtu_bytes
        if self._epoch_started_at is None:
            self._start_epoch(sample.now)
        elapsed_s = sample.now - (self._epoch_started_at or 0.0)
        target = self._w_cubic(elapsed_s + (self._srtt_s or 0.0))
        target = min(max(target, self._cwnd), 1.5 * self._cwnd)
        # RFC 9438 section 4.3: never slower than Reno would be.
        alpha = 1.0 if self._w_est >= self._w_max else RENO_FRIENDLY_ALPHA
        self._w_est += alpha * mtu * sample.acked_bytes / self._cwnd
        if self._w_cubic(elapsed_s) < self._w_est:
            self._cwnd = max(self._cwnd, self._w_est)
        else:
            self._cwnd += (target - self._cwnd) * sample.acked_bytes / self._cwnd

    def _start_epoch(self, now: float) -> None:
        self._epoch_started_at = now
        self._w_est = self._cwnd
        self._w_max = max(self._w_max, self._cwnd)
        self._k_s = ((self._w_max - self._cwnd) / self.mtu_bytes / CUBIC_C) ** (1.0 / 3.0)

    def _w_cubic(self, elapsed_s: float) -> float:
        return CUBIC_C * (elapsed_s - self._k_s) ** 3 * self.mtu_bytes + self._w_max

    def _reduce(self, now: float) -> None:
        del now  # the next acknowledgement after recovery starts the epoch
        # Fast convergence (RFC 9438 section 4.7): a second loss below the last maximum means someone else
        # wants in.
        shrinking = self._cwnd < self._w_max
        self._w_max = self._cwnd * (1.0 + CUBIC_BETA) / 2.0 if shrinking else self._cwnd
        self._ssthresh = max(self._cwnd * CUBIC_BETA, self._floor_bytes())
        self._cwnd = self._ssthresh
        self._epoch_started_at = None
