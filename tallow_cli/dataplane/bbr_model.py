"""What BBR believes about the path: bandwidth, round trip, and what the path did in the last round.

Split from `bbr.py` (what to do about it). Everything is fed once per `AckSample`. Terms are those of
draft-ietf-ccwg-bbr; where this differs from it, the comment says why.
"""

from __future__ import annotations

from tallow_cli.dataplane.congestion import AckSample, BytesPerSecond
from tallow_cli.dataplane.windowed_filter import TwoBucketMax

# draft-ietf-ccwg-bbr, MinRTTFilterLen. A flow alone on its path renews it each time it drains the queue.
MIN_RTT_WINDOW_S = 10.0
# A round trip within this much of the minimum proves that the queue was empty: renews it without ProbeRTT.
MIN_RTT_RENEWAL = 1.05
# Round trips below this say more about timers and schedulers than about queues.
QUEUE_FLOOR_S = 0.003
# The queue counts as standing when the smallest round trip of a round is this much above the minimum.
# Our own probing at 1.25 of the rate makes 0.25 for about a round.
QUEUE_FRACTION = 0.2
# Losses are judged over at least this many packets: one of eight lost is not 12 %.
LOSS_WINDOW_PACKETS = 100
# LossThresh of the draft is 2 %. Here it speaks only with a standing queue and on top of the loss that the path
# has anyway; without a queue only HARD_LOSS does. Otherwise Wi-Fi and mobile paths never reach their rate.
SOFT_LOSS = 0.02
HARD_LOSS = 0.10
BASELINE_LOSS_WEIGHT = 1 / 16
# Fewer holes than this are a fading radio's bursts, not an overflowing queue, which drops a bit of every batch.
# Chromium's BBR asks for two a round, v3's Startup for six.
CONGESTION_HOLES = 3
LO_SLACK = 1.02
# Acknowledgement aggregation is remembered for this many rounds, and no shorter than this.
EXTRA_ACKED_ROUNDS = 5
EXTRA_ACKED_WINDOW_S = 0.1


class PathModel:
    """Estimates for one path. Attributes are public for `Bbr`, which alone may write `inflight_hi_bytes`."""

    def __init__(self, mtu_bytes: int) -> None:
        self.mtu_bytes = mtu_bytes
        self.min_rtt_s = 0.0
        self.min_rtt_at = 0.0
        self.round_count = 0
        self.round_ended = False
        # Bounds, as in the draft: `hi` is what the path was seen to bear, `lo` what it bears just now.
        self.bandwidth_lo: BytesPerSecond = float("inf")
        self.inflight_hi_bytes = float("inf")
        self.inflight_lo_bytes = float("inf")
        # Of the round that just ended, or of this one until it does.
        self.round_min_rtt_s = float("inf")
        self.round_rate: BytesPerSecond = 0.0
        self.round_inflight_bytes = 0
        self.round_is_app_limited = False
        self.latest_rtt_s = 0.0
        self.loss_rate = 0.0
        self.loss_holes = 0
        self.baseline_loss = 0.0
        self.has_loss_verdict = False
        self._bandwidth = TwoBucketMax()
        self._round_ends_at_bytes = 0
        self._fresh_round = True
        self._judged_lost_bytes = 0
        self._judged_lost_ranges = 0
        self._judged_delivered_bytes = 0
        self._extra_acked = TwoBucketMax()
        self._extra_epoch_at = 0.0
        self._extra_epoch_bytes = 0.0
        self._extra_bucket_at = 0.0
        self._extra_bucket_round = 0

    @property
    def max_bandwidth(self) -> BytesPerSecond:
        """The best rate of this probing cycle and the last; 0.0 before the first sample."""
        return self._bandwidth.value

    @property
    def bandwidth(self) -> BytesPerSecond:
        """What to pace at: the best rate, or less while the path shows that it gives less now."""
        best = self._bandwidth.value
        return best if best < self.bandwidth_lo else self.bandwidth_lo

    @property
    def extra_acked_bytes(self) -> float:
        """How far acknowledgements ran ahead of the rate lately: what must be in flight on top of the BDP."""
        return self._extra_acked.value

    @property
    def bdp_bytes(self) -> float:
        return self.bandwidth * self.min_rtt_s

    @property
    def queue_s(self) -> float:
        """The standing queue, in time: how far the best round trip of the round is above the best known."""
        if self.round_min_rtt_s == float("inf"):
            return 0.0
        return self.round_min_rtt_s - self.min_rtt_s

    @property
    def latest_queue_s(self) -> float:
        """The queue the newest acknowledged packet met, in time."""
        return self.latest_rtt_s - self.min_rtt_s

    @property
    def has_standing_queue(self) -> bool:
        return self.queue_s > max(QUEUE_FRACTION * self.min_rtt_s, QUEUE_FLOOR_S)

    @property
    def has_excess_loss(self) -> bool:
        """More is lost than this path loses with an empty queue: somebody overfills it, perhaps we."""
        return self.has_loss_beyond(SOFT_LOSS)

    def has_loss_beyond(self, excess: float) -> bool:
        """The last round lost that much more than the path loses anyway, and in several places."""
        return (
            self.has_loss_verdict
            and self.loss_holes >= CONGESTION_HOLES
            and self.loss_rate > min(excess + self.baseline_loss, HARD_LOSS)
        )

    def has_excess_loss_in_flight(self, sample: AckSample) -> bool:
        """The same of the newest flight alone, before its round is over (draft, IsInflightTooHigh)."""
        allowed = (SOFT_LOSS + self.baseline_loss) * sample.sent_inflight_bytes
        return sample.lost_since_sent_bytes > allowed and self._judged_lost_ranges >= CONGESTION_HOLES

    @property
    def is_congested(self) -> bool:
        """Excess loss over a standing queue, or so much that its cause no longer matters."""
        return self.has_excess_loss and (self.has_standing_queue or self.loss_rate > HARD_LOSS)

    def start_probing_cycle(self) -> None:
        """Age the bandwidth filter by one cycle."""
        self._bandwidth.advance()

    def reset_lower_bounds(self) -> None:
        self.bandwidth_lo = float("inf")
        self.inflight_lo_bytes = float("inf")

    def forget_extra_acked(self) -> None:
        """What was seen while the rate was still unknown is not aggregation."""
        self._extra_acked.reset(0.0)
        self._extra_epoch_bytes = 0.0

    def forget_min_rtt(self, rtt_s: float, now: float) -> None:
        self.min_rtt_s = rtt_s
        self.min_rtt_at = now

    def update(self, sample: AckSample) -> None:
        """Take a sample in. Afterwards `round_ended` tells whether a packet-timed round trip ended with it."""
        if self._fresh_round:
            self._begin_round()
        self._judged_lost_bytes += sample.lost_bytes - sample.spurious_bytes
        self._judged_lost_ranges += sample.lost_ranges
        self.round_ended = False
        if not sample.acked_bytes:
            return
        self._judged_delivered_bytes += sample.acked_bytes
        self._update_round_trip(sample)
        rate = sample.delivery_rate
        if rate > 0.0:
            if rate > self.round_rate:
                self.round_rate = rate
            if not sample.is_app_limited or rate > self._bandwidth.value:
                self._bandwidth.update(rate)
        if sample.is_app_limited:
            self.round_is_app_limited = True
        if sample.sent_inflight_bytes > self.round_inflight_bytes:
            self.round_inflight_bytes = sample.sent_inflight_bytes
        if sample.prior_delivered_bytes >= self._round_ends_at_bytes:
            self._round_ends_at_bytes = sample.delivered_bytes
            self.round_count += 1
            self.round_ended = self._fresh_round = True
            self._judge_losses()
        self._update_extra_acked(sample)

    def learn_baseline_loss(self) -> None:
        """Take the last verdict as what the path loses anyway, if the queue was empty at some time of the round."""
        if (
            self.has_loss_verdict
            and self.round_min_rtt_s <= self.min_rtt_s * MIN_RTT_RENEWAL + QUEUE_FLOOR_S / 4
        ):
            self.baseline_loss += BASELINE_LOSS_WEIGHT * (min(self.loss_rate, HARD_LOSS) - self.baseline_loss)

    def lower_bounds(self, beta: float) -> None:
        """The path gives less than was thought: follow it down, by no more than `beta` a round."""
        if self.bandwidth_lo == float("inf"):
            self.bandwidth_lo = self._bandwidth.value
        # A little above what arrived: pacing below the estimate and losses would turn this into a ratchet.
        self.bandwidth_lo = max(min(self.round_rate * LO_SLACK, self.bandwidth_lo), self.bandwidth_lo * beta)

    def _begin_round(self) -> None:
        self._fresh_round = False
        self.round_min_rtt_s = float("inf")
        self.round_rate = 0.0
        self.round_inflight_bytes = 0
        self.round_is_app_limited = False

    def _update_round_trip(self, sample: AckSample) -> None:
        rtt_s = sample.rtt_s
        if rtt_s is None:
            return
        self.latest_rtt_s = rtt_s
        if rtt_s < self.round_min_rtt_s:
            self.round_min_rtt_s = rtt_s
        if rtt_s < self.min_rtt_s or self.min_rtt_s == 0.0:
            self.min_rtt_s = rtt_s
            self.min_rtt_at = sample.now
        elif rtt_s <= self.min_rtt_s * MIN_RTT_RENEWAL:
            self.min_rtt_at = sample.now

    def _judge_losses(self) -> None:
        lost, delivered = max(self._judged_lost_bytes, 0), self._judged_delivered_bytes
        self.has_loss_verdict = lost + delivered >= LOSS_WINDOW_PACKETS * self.mtu_bytes
        if not self.has_loss_verdict:
            return
        self.loss_rate = lost / (lost + delivered)
        self.loss_holes = self._judged_lost_ranges
        self._judged_lost_bytes = self._judged_lost_ranges = self._judged_delivered_bytes = 0

    def _update_extra_acked(self, sample: AckSample) -> None:
        now = sample.now
        # The newest rate counts too: while probing, more arrives because more was sent.
        expected = max(self.bandwidth, sample.delivery_rate) * (now - self._extra_epoch_at)
        if self._extra_epoch_bytes <= expected:
            self._extra_epoch_at = now
            self._extra_epoch_bytes = 0.0
            expected = 0.0
        self._extra_epoch_bytes += sample.acked_bytes
        self._extra_acked.update(self._extra_epoch_bytes - expected)
        if (
            self.round_count >= self._extra_bucket_round + EXTRA_ACKED_ROUNDS
            and now >= self._extra_bucket_at + EXTRA_ACKED_WINDOW_S
        ):
            self._extra_acked.advance()
            self._extra_bucket_at = now
            self._extra_bucket_round = self.round_count
