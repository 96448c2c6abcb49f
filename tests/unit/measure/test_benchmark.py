from __future__ import annotations

from dataclasses import replace

import pytest

from tallow_cli.measure.account import Verdict
from tallow_cli.measure.benchmark import Bottleneck, TransferBenchmark, format_throughput
from tallow_cli.measure.causes import Cause
from tallow_cli.measure.path_summary import PathSummary

MEGABIT_BYTES = 125_000


def steady(benchmark: TransferBenchmark, mbps: float, seconds: float, **facts: float) -> TransferBenchmark:
    """Feed `seconds` of an even rate in steps of 1/16 s (exact in binary) and finish."""
    steps = int(seconds * 16)
    for step in range(steps + 1):
        benchmark.observe(step / 16, int(step / 16 * mbps * MEGABIT_BYTES), **facts)
    benchmark.finish(steps / 16, int(seconds * mbps * MEGABIT_BYTES))
    return benchmark


def test_before_anything_happened_every_figure_is_zero_or_unknown() -> None:
    snapshot = TransferBenchmark().snapshot()
    assert (snapshot.avg_mbps, snapshot.seconds, snapshot.sample_count, snapshot.quality_score) == (
        0,
        0,
        0,
        0,
    )
    assert (snapshot.avg_rtt_ms, snapshot.jitter_ms, snapshot.avg_loss, snapshot.max_loss) == (None,) * 4
    assert snapshot.bottleneck is Bottleneck.NONE


def test_the_example_of_the_specification_from_samples() -> None:
    benchmark = TransferBenchmark(rtt_interval=1 / 16)
    for step in range(16 * 10):
        # Round trips of 7.35 and 9.65 ms in turn: 8.5 ms on average, a jitter of 2.3 ms.
        rtt_s = 0.0085 + (0.00115 if step % 2 else -0.00115)
        benchmark.observe(step / 16, int(step / 16 * 200 * MEGABIT_BYTES), rtt_s, 0.002, jitter_s=0.0023)
    snapshot = benchmark.snapshot()
    assert snapshot.avg_mbps == pytest.approx(200, rel=0.01)
    assert snapshot.avg_rtt_ms == pytest.approx(8.5)
    assert snapshot.jitter_ms == pytest.approx(2.3)
    assert snapshot.avg_loss == pytest.approx(0.002)
    assert snapshot.quality_score == 95
    assert snapshot.bottleneck is Bottleneck.NONE


def test_average_peak_minimum_and_current_come_from_the_samples() -> None:
    benchmark = TransferBenchmark(sample_interval=1.0)
    for now, megabits in enumerate([0, 100, 300, 350, 450]):
        benchmark.observe(float(now), megabits * MEGABIT_BYTES)
    snapshot = benchmark.snapshot()
    assert snapshot.sample_count == 4
    assert snapshot.avg_mbps == pytest.approx(112.5)
    assert snapshot.peak_mbps == pytest.approx(200)
    assert snapshot.min_mbps == pytest.approx(50)
    assert snapshot.current_mbps == pytest.approx(100)
    assert snapshot.total_bytes == 450 * MEGABIT_BYTES
    assert snapshot.seconds == pytest.approx(4)


def test_observations_within_one_interval_make_one_sample() -> None:
    benchmark = TransferBenchmark(sample_interval=0.5)
    for step in range(17):
        benchmark.observe(step / 16, step * MEGABIT_BYTES)
    assert benchmark.snapshot().sample_count == 2


def test_a_transfer_shorter_than_a_sample_still_has_its_rate() -> None:
    benchmark = TransferBenchmark(sample_interval=0.5)
    benchmark.start(10.0)
    benchmark.finish(10.125, MEGABIT_BYTES)
    snapshot = benchmark.snapshot()
    assert snapshot.sample_count == 1
    assert snapshot.avg_mbps == snapshot.peak_mbps == snapshot.min_mbps == pytest.approx(8)


def test_a_stub_of_a_last_sample_does_not_become_the_peak_or_the_minimum() -> None:
    benchmark = TransferBenchmark(sample_interval=1.0)
    benchmark.observe(0.0, 0)
    benchmark.observe(1.0, 100 * MEGABIT_BYTES)
    benchmark.finish(1.01, 150 * MEGABIT_BYTES)
    snapshot = benchmark.snapshot()
    assert snapshot.sample_count == 1
    assert snapshot.total_bytes == 150 * MEGABIT_BYTES
    assert snapshot.peak_mbps == pytest.approx(150 / 1.01)  # never below the average


def test_what_was_there_before_the_beginning_counts_for_nothing() -> None:
    benchmark = TransferBenchmark(sample_interval=1.0)
    benchmark.start(5.0, 1000 * MEGABIT_BYTES)
    benchmark.observe(6.0, 1010 * MEGABIT_BYTES)
    snapshot = benchmark.snapshot()
    assert snapshot.avg_mbps == snapshot.peak_mbps == pytest.approx(10)
    assert snapshot.total_bytes == 10 * MEGABIT_BYTES


def test_round_trips_closer_than_their_interval_count_once() -> None:
    benchmark = TransferBenchmark(rtt_interval=1.0)
    for now, rtt_s in [(0.0, 0.010), (0.1, 0.900), (1.0, 0.020), (1.5, 0.800)]:
        benchmark.observe(now, 0, rtt_s, 0.0)
    snapshot = benchmark.snapshot()
    assert snapshot.avg_rtt_ms == pytest.approx(15)
    assert (snapshot.min_rtt_ms, snapshot.max_rtt_ms) == (pytest.approx(10), pytest.approx(20))
    assert snapshot.current_rtt_ms == pytest.approx(20)


def test_what_the_other_side_measured_is_shown_as_it_said() -> None:
    theirs = PathSummary(0.011, 0.0021, 0.012, 0.010, 0.090, 0.003, 0.2)
    measured = TransferBenchmark(sample_interval=1.0)
    benchmark = TransferBenchmark(sample_interval=1.0)
    for now in range(20):
        benchmark.observe(float(now), now * MEGABIT_BYTES, path=replace(theirs, jitter_s=1.0))
    benchmark.finish(20.0, 20 * MEGABIT_BYTES, theirs)
    shown = benchmark.snapshot()
    assert (shown.current_rtt_ms, shown.jitter_ms) == (pytest.approx(11), pytest.approx(2.1))
    assert [shown.avg_rtt_ms, shown.min_rtt_ms, shown.max_rtt_ms] == pytest.approx([12, 10, 90])
    assert (shown.avg_loss, shown.max_loss) == (0.003, 0.2)
    assert benchmark.path == theirs
    assert measured.path is None


def test_loss_is_averaged_over_samples_and_its_worst_is_kept() -> None:
    benchmark = TransferBenchmark(sample_interval=1.0)
    for now, loss in enumerate([0.0, 0.01, 0.20, 0.03]):
        benchmark.observe(float(now), now * MEGABIT_BYTES, 0.01, loss)
    snapshot = benchmark.snapshot()
    assert snapshot.avg_loss == pytest.approx(0.08)
    assert snapshot.max_loss == 0.20
    assert snapshot.bottleneck is Bottleneck.NETWORK_BANDWIDTH


def test_a_rate_that_swings_is_backpressure_and_its_ramp_at_the_start_is_not() -> None:
    ramp = TransferBenchmark(sample_interval=1.0)
    total = 0
    for now, megabits in enumerate([0, 1, 10, 100, 400, 390, 400, 390]):
        total += megabits
        ramp.observe(float(now), total * MEGABIT_BYTES, 0.001)
    assert ramp.snapshot().bottleneck is Bottleneck.NONE

    swings = TransferBenchmark(sample_interval=1.0)
    total = 0
    for now, megabits in enumerate([0, 400, 10, 400, 10, 400, 10, 400]):
        total += megabits
        swings.observe(float(now), total * MEGABIT_BYTES, 0.001)
    assert swings.snapshot().bottleneck is Bottleneck.BACKPRESSURE


def test_the_variation_looks_at_the_window_only() -> None:
    benchmark = TransferBenchmark(sample_interval=1.0, window_size=4)
    total = 0
    for now, megabits in enumerate([0, 900, 10, 900, 10, 200, 200, 200, 200]):
        total += megabits
        benchmark.observe(float(now), total * MEGABIT_BYTES, 0.001)
    assert benchmark.snapshot().bottleneck is Bottleneck.NONE


def test_where_the_time_went_decides_the_bottleneck_and_the_words_of_this_end() -> None:
    disk = Verdict(Cause.RECEIVER_DISK, 0.75, 8.0, ((Cause.RECEIVER_DISK, 0.75),))
    for sending, whose in ((True, "the receiver's disk"), (False, "this machine's disk")):
        benchmark = TransferBenchmark(sample_interval=1.0, sending=sending)
        for now in range(8):
            benchmark.observe(float(now), now * 200 * MEGABIT_BYTES, 0.001, verdict=disk)
        snapshot = benchmark.snapshot()
        assert snapshot.bottleneck is Bottleneck.BACKPRESSURE
        assert whose in snapshot.recommendation


def test_a_slow_transfer_on_a_good_network_is_put_down_to_the_processor() -> None:
    snapshot = steady(TransferBenchmark(), mbps=40, seconds=5, rtt_s=0.001, loss=0.0).snapshot()
    assert snapshot.bottleneck is Bottleneck.CPU
    assert "40.0 Mbit/s" in snapshot.recommendation


def test_what_the_link_should_carry_makes_a_shortfall_the_networks() -> None:
    benchmark = TransferBenchmark(link_mbps=100)
    snapshot = steady(benchmark, mbps=55, seconds=5, rtt_s=0.040, loss=0.01).snapshot()
    assert snapshot.bottleneck is Bottleneck.NETWORK_BANDWIDTH
    assert 85 <= snapshot.quality_score <= 90


@pytest.mark.parametrize(
    ("interval", "window", "rtt_interval"), [(0.0, 10, 1.0), (1.0, 0, 1.0), (1.0, 10, -1.0)]
)
def test_settings_that_make_no_sense_are_refused(interval: float, window: int, rtt_interval: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        TransferBenchmark(interval, window, rtt_interval)


def test_the_formatter_of_rates_is_offered_here_too() -> None:
    assert format_throughput(94.3) == "94.3 Mbit/s"


def test_time_without_a_connection_counts_for_nothing() -> None:
    benchmark = TransferBenchmark(sample_interval=1.0)
    benchmark.start(0.0)
    benchmark.observe(1.0, 1_000_000)
    benchmark.pass_over(50.0)
    benchmark.observe(52.0, 2_000_000)
    snapshot = benchmark.snapshot()
    assert snapshot.seconds == 2.0
    assert snapshot.min_mbps == snapshot.avg_mbps == 8.0
