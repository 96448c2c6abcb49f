"""Delivery-rate samples: what the path delivered, not what acknowledgements look like."""

from __future__ import annotations

import pytest

from tallow_cli.dataplane.congestion.delivery_rate import DeliveryRateEstimator, SendStamp

RTT = 0.05


def send_steadily(estimator: DeliveryRateEstimator, runs: int, size: int, gap_s: float) -> list[SendStamp]:
    stamps, inflight = [], 0
    for number in range(runs):
        stamps.append(estimator.on_sent(number * gap_s, size, inflight))
        inflight += size
    return stamps


def test_a_hole_that_fills_late_does_not_look_like_a_fast_path() -> None:
    estimator = DeliveryRateEstimator()
    stamps = send_steadily(estimator, 11, 1_000, 0.01)  # 100 kB/s
    estimator.on_acked(stamps[0], 1_000)
    estimator.finish(RTT, 10_000, RTT)
    # Everything after the first waited for one retransmission; then 10 runs are acknowledged within a millisecond.
    for stamp in stamps[1:]:
        estimator.on_acked(stamp, 1_000)
    sample = estimator.finish(RTT + 0.101, 0, None)
    assert sample.delivery_rate <= 110_000


def test_steady_sending_and_acknowledging_measures_the_rate() -> None:
    estimator = DeliveryRateEstimator()
    stamps: list[SendStamp] = []
    for number in range(30):
        now = number * 0.01
        if number >= 5:
            estimator.on_acked(stamps[number - 5], 1_000)
            sample = estimator.finish(now, 4_000, RTT)
        stamps.append(estimator.on_sent(now, 1_000, 4_000 if number else 0))
    assert sample.delivery_rate == pytest.approx(100_000, rel=0.01)
    assert sample.interval_s == pytest.approx(RTT)
    assert sample.delivered_bytes == 25_000
    assert sample.rtt_s == RTT


def test_acknowledging_in_batches_measures_the_same_rate() -> None:
    estimator = DeliveryRateEstimator()
    stamps: list[SendStamp] = []
    rates = []
    for number in range(100):
        stamps.append(estimator.on_sent(number * 0.01, 1_000, 5_000))
        if number % 10 == 9:
            for stamp in stamps[-10:]:
                estimator.on_acked(stamp, 1_000)
            rates.append(estimator.finish(number * 0.01 + 0.001, 5_000, 0.001).delivery_rate)
    assert max(rates[2:]) <= 112_000
    assert min(rates[2:]) >= 88_000


def test_a_burst_of_sends_is_limited_by_how_long_it_took_to_send() -> None:
    estimator = DeliveryRateEstimator()
    first = estimator.on_sent(0.0, 1_000, 0)
    last = estimator.on_sent(0.1, 1_000, 1_000)
    estimator.on_acked(first, 1_000)
    estimator.on_acked(last, 1_000)
    sample = estimator.finish(0.101, 0, 0.001)  # both acknowledged at once: ack compression
    assert sample.interval_s == pytest.approx(0.101)
    assert sample.delivery_rate == pytest.approx(2_000 / 0.101)


def test_idle_time_is_not_counted_against_the_path() -> None:
    estimator = DeliveryRateEstimator()
    stamp = estimator.on_sent(0.0, 1_000, 0)
    estimator.on_acked(stamp, 1_000)
    estimator.finish(RTT, 0, RTT)
    stamp = estimator.on_sent(60.0, 1_000, 0)
    estimator.on_acked(stamp, 1_000)
    sample = estimator.finish(60.0 + RTT, 0, RTT)
    assert sample.delivery_rate == pytest.approx(1_000 / RTT)


def test_samples_stay_application_limited_until_what_was_in_flight_is_delivered() -> None:
    estimator = DeliveryRateEstimator()
    before = estimator.on_sent(0.0, 1_000, 0)
    estimator.mark_app_limited(1_000)
    assert estimator.is_app_limited
    during = estimator.on_sent(0.01, 1_000, 1_000)
    estimator.on_acked(before, 1_000)
    assert not estimator.finish(RTT, 1_000, RTT).is_app_limited
    estimator.on_acked(during, 1_000)
    assert estimator.finish(RTT + 0.01, 0, RTT).is_app_limited
    after = estimator.on_sent(0.1, 1_000, 0)
    estimator.on_acked(after, 1_000)
    assert not estimator.finish(0.1 + RTT, 0, RTT).is_app_limited


def test_being_limited_before_anything_was_sent_marks_the_first_sample() -> None:
    estimator = DeliveryRateEstimator()
    estimator.mark_app_limited(0)
    assert estimator.on_sent(0.0, 1_000, 0).is_app_limited


def test_losses_are_counted_with_their_holes_and_the_time_of_the_latest() -> None:
    estimator = DeliveryRateEstimator()
    stamps = send_steadily(estimator, 4, 1_000, 0.01)
    estimator.on_acked(stamps[3], 1_000)
    estimator.on_lost(stamps[1], 500)
    estimator.on_lost(stamps[0], 300, ranges=2)
    sample = estimator.finish(RTT, 2_200, RTT)
    assert (sample.lost_bytes, sample.lost_ranges, sample.lost_sent_at) == (800, 3, 0.01)
    assert sample.lost_since_sent_bytes == 800
    assert sample.prior_inflight_bytes == 4_000
    assert sample.sent_inflight_bytes == 4_000
    # The next sample begins from nothing.
    again = estimator.finish(RTT, 2_200, None)
    assert (again.acked_bytes, again.lost_bytes, again.lost_ranges, again.lost_sent_at) == (0, 0, 0, -1.0)


def test_what_was_called_lost_and_arrives_after_all_is_taken_back() -> None:
    estimator = DeliveryRateEstimator()
    stamp = estimator.on_sent(0.0, 1_000, 0)
    estimator.on_lost(stamp, 1_000)
    estimator.finish(0.02, 0, None)
    assert estimator.lost_bytes == 1_000
    estimator.on_acked(stamp, 1_000, spurious=True)
    sample = estimator.finish(0.03, 0, None)
    assert sample.spurious_bytes == sample.acked_bytes == 1_000
    assert sample.prior_inflight_bytes == 0
    assert estimator.lost_bytes == 0


def test_a_sample_of_losses_alone_has_no_rate_and_no_round_trip() -> None:
    estimator = DeliveryRateEstimator()
    stamp = estimator.on_sent(0.0, 1_000, 0)
    estimator.on_lost(stamp, 1_000)
    sample = estimator.finish(0.2, 0, 0.2)
    assert (sample.delivery_rate, sample.interval_s, sample.rtt_s) == (0.0, 0.0, None)


def test_an_interval_shorter_than_the_least_round_trip_is_not_believed() -> None:
    estimator = DeliveryRateEstimator()
    estimator.on_acked(estimator.on_sent(0.0, 1_000, 0), 1_000)
    sample = estimator.finish(0.001, 0, 0.001, min_rtt_s=0.02)
    assert (sample.delivery_rate, sample.interval_s) == (0.0, 0.0)
    assert sample.delivered_bytes == 1_000


def test_acknowledging_in_the_same_instant_gives_no_infinite_rate() -> None:
    estimator = DeliveryRateEstimator()
    estimator.on_acked(estimator.on_sent(1.0, 1_000, 0), 1_000)
    assert estimator.finish(1.0, 0, 0.0).delivery_rate == 0.0


def test_what_a_peer_had_for_long_gives_no_rate_until_all_was_sent_after_it() -> None:
    estimator = DeliveryRateEstimator()
    old = estimator.on_sent(0.0, 100_000, 0)
    recent = estimator.on_sent(1.0, 1_000, 100_000)
    estimator.on_acked(old, 100_000, hidden=True)
    estimator.on_acked(recent, 1_000)
    sample = estimator.finish(1.1, 0, 0.1)
    assert sample.is_unsure
    assert (sample.delivery_rate, sample.interval_s) == (0.0, 0.0), (
        "101 kB in 0.1 s would be ten times the truth"
    )
    after = estimator.on_sent(1.2, 1_000, 0)
    estimator.on_acked(after, 1_000)
    sample = estimator.finish(1.3, 0, 0.1)
    assert not sample.is_unsure
    assert sample.delivery_rate == pytest.approx(10_000.0)


def test_losses_found_late_are_no_loss_of_the_newest_flight() -> None:
    estimator = DeliveryRateEstimator()
    old = estimator.on_sent(0.0, 1_000, 0)
    recent = estimator.on_sent(1.0, 1_000, 1_000)
    estimator.on_lost(old, 1_000, late=True)
    estimator.on_acked(recent, 1_000)
    sample = estimator.finish(1.1, 0, 0.1)
    assert (sample.lost_bytes, sample.late_lost_bytes, sample.lost_since_sent_bytes) == (1_000, 1_000, 0)
