"""What BBR believes about the path: bandwidth, round trip, losses, and what the path did in the last round.

Split from `bbr.py` (what to do about it). Fed once per `AckSample`. Terms are those of draft-ietf-ccwg-bbr; where
this differs from it, the comment says why.
"""

from __future__ import annotations

from math import sqrt

from tallow_cli.dataplane.congestion.controller import AckSample, BytesPerSecond
from tallow_cli.dataplane.congestion.windowed_filter import TwoBucketMax

# Draft, MinRTTFilterLen. A flow alone on its path renews the minimum each time it drains the queue.
MIN_RTT_WINDOW_S = 10.0
# A round trip within this much of the minimum proves that the queue was empty: renews it without ProbeRTT.
MIN_RTT_RENEWAL = 1.05
# After silence, how long the first round trips have to renew the minimum before ProbeRTT does.
RESTART_GRACE_S = 1.0
# Samples carry the jitter of acknowledgements, timers and schedulers, and a maximum of hundreds of them is always too
# high. Once the pipe is full, rounds are measured whole, and those of short paths are stretched to this.
LEAST_ROUND_S = 0.02
# Queues shorter than this say more about timers and schedulers than about the path.
QUEUE_FLOOR_S = 0.005
# A queue stands when the least round trip of a round is this much above the minimum: alone, CRUISE has none.
QUEUE_FRACTION = 0.2
# How recent the least round trip is that tells the present queue: a share of the round trip, at least some ms.
RECENT_SHARE = 1 / 8
RECENT_S = 0.004
# Losses are judged over at least this many packets: one of eight lost is not 12 %.
LOSS_WINDOW_PACKETS = 100
# Draft, LossThresh. Here it counts on top of what the path loses anyway, and needs several holes: otherwise Wi-Fi
# and mobile paths never reach their rate.
SOFT_LOSS = 0.02
# Above this, the cause no longer matters. A tenth is what bad radio and satellite links lose by themselves: with that
# as the limit each second round of such a path was an alarm, and it got a tenth of its rate.
HARD_LOSS = 0.25
BASELINE_LOSS_WEIGHT = 1 / 16
# Fewer holes than this are a fading radio's bursts, not an overflowing queue, which drops a bit of every batch.
# Chromium's BBR asks for two a round, v3's Startup for six.
CONGESTION_HOLES = 3
# … unless it is lost again and again: a buffer that holds less than one of our bursts loses its tail in one piece. Two
# points for each verdict above this share, one less for each other: more than these, and it counts.
TAIL_LOSS = 0.10
TAIL_LOSS_SCORE = 2
# How far a round may exceed the path's own loss by chance: in 400 packets at 1 % by another percent, often.
CHANCE_SIGMAS = 2.0
# The lower bound stays a little above what arrived: pacing below the estimate would turn it into a ratchet.
LOWER_BOUND_SLACK = 1.02
# Acknowledgement aggregation is remembered for so many rounds, and no shorter than this.
EXTRA_ACKED_ROUNDS = 5
EXTRA_ACKED_WINDOW_S = 0.1


class PathModel:
    """Estimates for one path; `Bbr` reads the attributes and alone writes `inflight_hi_bytes`."""

    def __init__(self, mtu_bytes: int) -> None:
        self.mtu_bytes = mtu_bytes
        # The best rate of this probing cycle and the last; 0.0 before the first sample.
        self.max_bandwidth: BytesPerSecond = 0.0
        # What to pace at: that, or less while the path shows that it gives less now.
        self.bandwidth: BytesPerSecond = 0.0
        self.bdp_bytes = 0.0
        self.min_rtt_s = 0.0
        self.min_rtt_at = 0.0
        self.latest_rtt_s = 0.0
        # As in the draft: `hi` is what the path was seen to bear.
        self.inflight_hi_bytes = float("inf")
        # How far acknowledgements ran ahead of the rate lately: what must be in flight on top of the BDP.
        self.extra_acked_bytes = 0.0
        # Packet-timed round trips, and rounds: one or more trips, at least `least_round_s` long.
        self.trip_count = 0
        self.round_count = 0
        self.round_ended = False
        self.least_round_s = 0.0
        # Of the round that just ended, or of this one until it does.
        self.round_min_rtt_s = float("inf")
        self.round_rate: BytesPerSecond = 0.0
        self.previous_round_rate: BytesPerSecond = 0.0
        self.round_inflight_bytes = 0
        self.round_is_app_limited = False
        # The last verdict on losses, and what the path loses with an empty queue.
        self.has_loss_verdict = False
        self.loss_rate = 0.0
        self.loss_holes = 0
        self.judged_packets = 1.0
        # When loss was last answered by sending less: what was sent before and is found lost late has been answered.
        self.answered_at = -1.0
        self._tail_losses = 0  # points; see TAIL_LOSS_SCORE
        self.baseline_loss = 0.0
        self._baseline_rounds = 0
        self._bandwidth_lo: BytesPerSecond = float("inf")
        self._bandwidth_filter = TwoBucketMax()
        self._trip_ends_at_bytes = 0
        self._recent_rtt_s = self._recent_rtt_before_s = float("inf")
        self._recent_until = 0.0
        self._round_began_at = 0.0
        self._round_began_bytes = 0
        self._best_sample: BytesPerSecond = 0.0
        self._is_fresh_round = True
        self._round_is_unsure = False
        self._lost_bytes = 0
        self._lost_holes = 0
        self._delivered_bytes = 0
        self._extra_filter = TwoBucketMax()
        self._extra_epoch_at = 0.0
        self._extra_epoch_bytes = 0.0
        self._extra_bucket_at = 0.0
        self._extra_bucket_round = 0

    # -- what it says ----------------------------------------------------------------------------------------------

    @property
    def queue_s(self) -> float:
        """The queue that stood all through the round, in time."""
        if self.round_min_rtt_s == float("inf"):
            return 0.0
        return self.round_min_rtt_s - self.min_rtt_s

    @property
    def latest_queue_s(self) -> float:
        """The queue the newest packets met, in time. The least of a few milliseconds, since acknowledgements and
        schedulers are late by that much; never early."""
        return min(self._recent_rtt_s, self._recent_rtt_before_s) - self.min_rtt_s

    @property
    def has_standing_queue(self) -> bool:
        return self.queue_s > max(QUEUE_FRACTION * self.min_rtt_s, QUEUE_FLOOR_S)

    @property
    def had_empty_queue(self) -> bool:
        """At some time of the round the queue was empty."""
        return self.round_min_rtt_s <= self.min_rtt_s * MIN_RTT_RENEWAL + QUEUE_FLOOR_S / 4

    @property
    def has_excess_loss(self) -> bool:
        """More is lost than this path loses with an empty queue: somebody overfills it, perhaps we."""
        return self.has_loss_beyond(SOFT_LOSS)

    @property
    def is_congested(self) -> bool:
        """Excess loss over a standing queue, or so much that its cause no longer matters."""
        much = TAIL_LOSS if self.loses_tails else HARD_LOSS
        return self.has_excess_loss and (self.has_standing_queue or self.loss_rate > much)

    @property
    def loses_tails(self) -> bool:
        """Again and again much is lost in one or two pieces: chance scatters its losses, a buffer that holds less than
        our bursts does not."""
        return self._tail_losses > TAIL_LOSS_SCORE and self.loss_holes < CONGESTION_HOLES

    def has_loss_beyond(self, excess: float) -> bool:
        """The last round lost that much more than the path loses anyway, beyond chance, and in several places."""
        if not self.has_loss_verdict:
            return False
        if self.loss_holes < CONGESTION_HOLES and not self.loses_tails:
            return False
        chance = CHANCE_SIGMAS * sqrt(self.baseline_loss / self.judged_packets)
        return self.loss_rate > min(self.baseline_loss + excess + chance, HARD_LOSS)

    def has_excess_loss_in_flight(self, sample: AckSample) -> bool:
        """The same of the newest flight alone, before its round is over (draft, IsInflightTooHigh)."""
        allowed = (SOFT_LOSS + self.baseline_loss) * sample.sent_inflight_bytes
        return sample.lost_since_sent_bytes > allowed and self._lost_holes >= CONGESTION_HOLES

    # -- what it is told -------------------------------------------------------------------------------------------

    def start_probing_cycle(self) -> None:
        """Age the bandwidth filter by one cycle."""
        self._bandwidth_filter.advance()
        self._refresh()

    def lower_bandwidth(self, beta: float) -> None:
        """The path gives less than was thought: follow it down, to `beta` of the present at most."""
        now = self.bandwidth
        rate = max(self.round_rate, self.previous_round_rate)
        self._bandwidth_lo = max(min(rate * LOWER_BOUND_SLACK, now), now * beta)
        self._refresh()

    def forget_bandwidth(self, beta: float) -> None:
        """The same, for good: what the filter holds is out of date."""
        self.lower_bandwidth(beta)
        self._bandwidth_filter.reset(self.bandwidth)
        self.forget_lower_bound()

    def forget_lower_bound(self) -> None:
        self._bandwidth_lo = float("inf")
        self._refresh()

    def forget_min_rtt(self, rtt_s: float, now: float) -> None:
        self.min_rtt_s = rtt_s
        self.min_rtt_at = now
        self._refresh()

    def forget_extra_acked(self) -> None:
        """What was seen while the rate was still unknown is not aggregation."""
        self._extra_filter.reset(0.0)
        self.extra_acked_bytes = self._extra_epoch_bytes = 0.0

    def on_restart(self, now: float) -> None:
        """Sending begins after silence: its first round trips are as good as ProbeRTT's."""
        self.min_rtt_at = max(self.min_rtt_at, now - MIN_RTT_WINDOW_S + RESTART_GRACE_S)

    def learn_baseline_loss(self) -> None:
        """Take the last verdict as what the path loses anyway, if the queue was empty at some time of the round."""
        if self.has_loss_verdict and self.had_empty_queue:
            self._baseline_rounds += 1
            weight = max(BASELINE_LOSS_WEIGHT, 1.0 / self._baseline_rounds)
            self.baseline_loss += weight * (min(self.loss_rate, HARD_LOSS) - self.baseline_loss)

    def set_baseline_loss(self, loss_rate: float) -> None:
        """Sending less did not help: this is what the path loses."""
        self.baseline_loss = min(max(loss_rate, self.baseline_loss), HARD_LOSS)

    def update(self, sample: AckSample) -> None:
        """Take a sample in. Afterwards `round_ended` tells whether a round ended with it."""
        if not sample.late_lost_bytes or sample.lost_sent_at > self.answered_at:
            self._lost_bytes += sample.lost_bytes - sample.spurious_bytes
            self._lost_holes += sample.lost_ranges
        self.round_ended = False
        if not sample.acked_bytes:
            return
        if self._is_fresh_round:
            self._begin_round()
        self._delivered_bytes += sample.acked_bytes
        self._update_round_trip(sample)
        if sample.is_app_limited:
            self.round_is_app_limited = True
        if sample.is_unsure:
            self._round_is_unsure = True
        if sample.delivery_rate > self._best_sample:
            self._best_sample = sample.delivery_rate
        if not self.least_round_s:
            self._take_rate(sample.delivery_rate, is_app_limited=sample.is_app_limited)
        if sample.sent_inflight_bytes > self.round_inflight_bytes:
            self.round_inflight_bytes = sample.sent_inflight_bytes
        if sample.prior_delivered_bytes >= self._trip_ends_at_bytes:
            self._trip_ends_at_bytes = sample.delivered_bytes
            self.trip_count += 1
            if sample.now >= self._round_began_at + self.least_round_s:
                self._end_round(sample)
        self._refresh()
        self._update_extra_acked(sample)

    def _end_round(self, sample: AckSample) -> None:
        elapsed_s = sample.now - self._round_began_at
        if self.least_round_s and elapsed_s > 0.0 and not self._round_is_unsure:
            mean = (sample.delivered_bytes - self._round_began_bytes) / elapsed_s
            # What a hole had hidden arrives at once when it fills; no sample exceeds the rate it was sent at.
            rate = min(mean, self._best_sample)
            self._take_rate(rate, is_app_limited=self.round_is_app_limited)
        self._round_began_at = sample.now
        self._round_began_bytes = sample.delivered_bytes
        self.round_count += 1
        self.round_ended = self._is_fresh_round = True
        self._judge_losses()

    def _take_rate(self, rate: BytesPerSecond, *, is_app_limited: bool) -> None:
        if rate > self.round_rate:
            self.round_rate = rate
        if rate > self.max_bandwidth or not is_app_limited:
            self._bandwidth_filter.update(rate)

    def _refresh(self) -> None:
        best = self._bandwidth_filter.value
        self.max_bandwidth = best
        self.bandwidth = bandwidth = best if best < self._bandwidth_lo else self._bandwidth_lo
        self.bdp_bytes = bandwidth * self.min_rtt_s

    def _begin_round(self) -> None:
        self._is_fresh_round = False
        self.round_min_rtt_s = float("inf")
        self.previous_round_rate, self.round_rate = self.round_rate, 0.0
        self._best_sample = 0.0
        self.round_inflight_bytes = 0
        self.round_is_app_limited = self._round_is_unsure = False

    def _update_round_trip(self, sample: AckSample) -> None:
        rtt_s = sample.rtt_s
        if rtt_s is None:
            return
        self.latest_rtt_s = rtt_s
        if sample.now >= self._recent_until:
            self._recent_rtt_before_s, self._recent_rtt_s = self._recent_rtt_s, rtt_s
            self._recent_until = sample.now + max(RECENT_SHARE * self.min_rtt_s, RECENT_S)
        elif rtt_s < self._recent_rtt_s:
            self._recent_rtt_s = rtt_s
        if rtt_s < self.round_min_rtt_s:
            self.round_min_rtt_s = rtt_s
        if rtt_s < self.min_rtt_s or self.min_rtt_s == 0.0:
            self.min_rtt_s = rtt_s
            self.min_rtt_at = sample.now
        elif rtt_s <= self.min_rtt_s * MIN_RTT_RENEWAL:
            self.min_rtt_at = sample.now

    def _judge_losses(self) -> None:
        lost, delivered = max(self._lost_bytes, 0), self._delivered_bytes
        self.has_loss_verdict = lost + delivered >= LOSS_WINDOW_PACKETS * self.mtu_bytes
        if not self.has_loss_verdict:
            return
        self.loss_rate = lost / (lost + delivered)
        self.loss_holes = self._lost_holes
        self._tail_losses = max(
            0, self._tail_losses + (TAIL_LOSS_SCORE if self.loss_rate > TAIL_LOSS else -1)
        )
        self.judged_packets = (lost + delivered) / self.mtu_bytes
        self._lost_bytes = self._lost_holes = self._delivered_bytes = 0

    def _update_extra_acked(self, sample: AckSample) -> None:
        """Draft, BBRUpdateACKAggregation, with a window that is not shorter than what schedulers do."""
        now = sample.now
        if sample.is_unsure:
            self._extra_epoch_at, self._extra_epoch_bytes = now, 0.0
            return
        # The newest rate counts too: while probing, more arrives because more was sent.
        rate = self.round_rate if self.round_rate > self.bandwidth else self.bandwidth
        expected = rate * (now - self._extra_epoch_at)
        if self._extra_epoch_bytes <= expected:
            self._extra_epoch_at = now
            self._extra_epoch_bytes = expected = 0.0
        self._extra_epoch_bytes += sample.acked_bytes
        extra = self._extra_filter
        extra.update(self._extra_epoch_bytes - expected)
        if (
            self.round_count >= self._extra_bucket_round + EXTRA_ACKED_ROUNDS
            and now >= self._extra_bucket_at + EXTRA_ACKED_WINDOW_S
        ):
            extra.advance()
            self._extra_bucket_at = now
            self._extra_bucket_round = self.round_count
        self.extra_acked_bytes = extra.value
