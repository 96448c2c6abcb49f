"""BBR: the state machine, the model behind it, and what sets ours apart. Whole paths are in tests/sim."""

from __future__ import annotations

import pytest

from tallow_cli.dataplane.congestion.bbr import PROBE_RTT_S, STARTUP_GAIN, Bbr
from tallow_cli.dataplane.congestion.bbr_model import MIN_RTT_WINDOW_S, PathModel
from tallow_cli.dataplane.congestion.controller import AckSample, ControllerConfig
from tests.support.controller_driver import MTU, PerfectPath


def make(**options: float) -> Bbr:
    return Bbr(ControllerConfig(mtu_bytes=MTU, **options))  # type: ignore[arg-type]


def test_a_transfer_goes_through_the_phases_in_order() -> None:
    path = PerfectPath(make())
    path.run(4.0)
    assert path.states[:2] == ["startup", "drain"]
    cycle = path.states[2:]
    expected = ["probe-bw-cruise", "probe-bw-refill", "probe-bw-up", "probe-bw-down"]
    assert len(cycle) >= 8
    assert [state for state, _ in zip(cycle, expected * 9, strict=False)] == (expected * 9)[: len(cycle)]


def test_startup_doubles_the_rate_each_round_trip() -> None:
    path = PerfectPath(make(), rate=10_000_000.0)
    path.run(0.06)
    rates = []
    for _ in range(4):
        path.run(0.05)
        rates.append(path.controller.pacing_rate)
    assert path.states == ["startup"]
    assert rates[3] >= 1.6 * rates[2] >= 1.6 * 1.6 * rates[1]


def test_startup_overshoots_the_queue_by_little_more_than_one_bdp() -> None:
    path = PerfectPath(make())
    longest = 0.0
    for _ in range(60):
        path.run(0.02)
        longest = max(longest, path.queue_s)
    assert 0.0 < longest <= 1.7 * path.rtt_s


def test_alone_it_cruises_at_the_rate_with_next_to_no_queue() -> None:
    path = PerfectPath(make())
    path.run(2.0)
    queues = []
    for _ in range(300):
        path.run(0.01)
        queues.append(path.queue_s)
    assert sum(queues) / len(queues) <= 0.15 * path.rtt_s
    assert path.controller.model.bandwidth == pytest.approx(path.rate, rel=0.05)


def test_the_window_has_room_for_acknowledgements_in_batches_on_a_path_of_no_length() -> None:
    path = PerfectPath(make(), rate=100_000_000.0, rtt_s=0.0001)
    path.run(0.5)
    # The BDP is 10 kB; in the millisecond that a timer is late 100 kB pass.
    assert path.controller.cwnd_bytes >= 200_000
    delivered = path.estimator.delivered_bytes
    path.run(0.5)
    assert path.estimator.delivered_bytes - delivered >= 0.95 * 0.5 * path.rate


@pytest.mark.parametrize("loss", [0.01, 0.03, 0.08])
def test_loss_alone_does_not_slow_it(loss: float) -> None:
    path = PerfectPath(make(), loss=loss, rate=10_000_000.0)
    path.run(4.0)
    delivered = path.estimator.delivered_bytes
    path.run(4.0)
    assert path.estimator.delivered_bytes - delivered >= 0.9 * (1 - loss) * 4.0 * path.rate
    assert path.controller.model.baseline_loss == pytest.approx(loss, abs=0.02)


def test_it_follows_a_path_that_becomes_slower_and_drains_the_queue() -> None:
    path = PerfectPath(make())
    path.run(3.0)
    path.rate /= 2
    path.run(1.5)
    assert path.controller.model.bandwidth <= 0.6 * 1_000_000
    path.run(1.0)
    assert path.queue_s <= path.rtt_s


def test_it_finds_a_path_that_becomes_faster() -> None:
    path = PerfectPath(make())
    path.run(3.0)
    path.rate *= 2
    path.run(3.0)
    assert path.controller.model.bandwidth >= 0.9 * 2_000_000


def test_after_a_timeout_the_first_acknowledgement_brings_the_window_back() -> None:
    path = PerfectPath(make())
    path.run(2.0)
    before = path.controller.cwnd_bytes
    path.lose_everything()
    path.lose_everything()
    assert path.controller.cwnd_bytes == 4 * MTU
    path.run(0.06)
    assert path.controller.cwnd_bytes >= 0.5 * before


def test_the_round_trip_is_probed_only_if_nothing_else_renewed_it() -> None:
    path = PerfectPath(make())
    path.run(MIN_RTT_WINDOW_S + 2.0)
    assert "probe-rtt" not in path.states
    path.rtt_s *= 1.3  # a longer route: the old minimum is never seen again
    path.run(MIN_RTT_WINDOW_S + 1.0)
    assert "probe-rtt" in path.states
    path.run(PROBE_RTT_S + 0.5)
    assert path.controller.model.min_rtt_s == pytest.approx(path.rtt_s, rel=0.1)
    assert path.controller.state != "probe-rtt"


def test_silence_is_followed_by_sending_at_the_known_rate_and_not_by_probing_the_round_trip() -> None:
    path = PerfectPath(make())
    path.run(2.0)
    path._under_way.clear()
    path.inflight = 0
    path.now += 60.0
    path.states.clear()
    path.run(0.9)
    assert "probe-rtt" not in path.states
    assert "startup" not in path.states
    assert path.controller.model.bandwidth == pytest.approx(path.rate, rel=0.05)


def test_an_application_limited_rate_does_not_lower_the_estimate() -> None:
    model = PathModel(MTU)
    model.update(
        AckSample(1.0, acked_bytes=MTU, delivered_bytes=MTU, rtt_s=0.05, delivery_rate=1e6, interval_s=0.05)
    )
    for step in range(50):
        model.start_probing_cycle()
        model.update(
            AckSample(
                2.0 + step,
                acked_bytes=MTU,
                delivered_bytes=MTU * (2 + step),
                prior_delivered_bytes=MTU * (1 + step),
                rtt_s=0.05,
                delivery_rate=1e4,
                interval_s=0.05,
                is_app_limited=True,
            )
        )
    assert model.bandwidth == 1e6
    assert model.round_count == 51


def lossy_round(model: PathModel, lost_packets: int, holes: int, rtt_s: float, *, packets: int = 200) -> None:
    """One packet-timed round of `packets`, some of them lost."""
    before = model._trip_ends_at_bytes
    model.update(
        AckSample(
            model.min_rtt_at + 0.05,
            acked_bytes=(packets - lost_packets) * MTU,
            lost_bytes=lost_packets * MTU,
            lost_ranges=holes,
            delivered_bytes=before + packets * MTU,
            prior_delivered_bytes=before,
            rtt_s=rtt_s,
            delivery_rate=1e6,
            interval_s=0.05,
        )
    )


def test_much_loss_in_one_piece_counts_when_it_comes_again() -> None:
    model = PathModel(MTU)
    lossy_round(model, 0, 0, 0.05)
    lossy_round(model, 60, 1, 0.05)
    assert not model.has_excess_loss, "a fade of the radio"
    lossy_round(model, 0, 0, 0.05)
    lossy_round(model, 60, 1, 0.05)
    assert model.has_excess_loss, "each burst is longer than somebody's buffer"
    for _ in range(4):
        lossy_round(model, 0, 0, 0.05)
    lossy_round(model, 60, 1, 0.05)
    assert not model.has_excess_loss, "long ago"


def test_excess_loss_is_what_exceeds_the_baseline_by_two_percent_in_several_places() -> None:
    model = PathModel(MTU)
    lossy_round(model, 0, 0, 0.05)
    lossy_round(model, 10, 10, 0.05)
    assert model.has_excess_loss
    lossy_round(model, 10, 1, 0.05)
    assert not model.has_excess_loss, "one burst"
    lossy_round(model, 2, 2, 0.05)
    assert not model.has_excess_loss, "one percent"
    model.set_baseline_loss(0.05)
    lossy_round(model, 10, 10, 0.05)
    assert not model.has_excess_loss, "the path's own"


def test_congestion_is_excess_loss_over_a_standing_queue_or_a_quarter_lost() -> None:
    model = PathModel(MTU)
    lossy_round(model, 0, 0, 0.05)
    lossy_round(model, 10, 10, 0.05)
    assert not model.is_congested
    lossy_round(model, 10, 10, 0.07)
    assert model.has_standing_queue
    assert model.is_congested
    lossy_round(model, 30, 20, 0.05)
    assert not model.is_congested, "a bad radio"
    lossy_round(model, 60, 40, 0.05)
    assert model.is_congested


def test_a_path_that_loses_a_tenth_by_itself_raises_no_alarm_by_chance() -> None:
    model = PathModel(MTU)
    lossy_round(model, 0, 0, 0.05)
    model.set_baseline_loss(0.10)
    for lost_packets in (20, 22, 24, 18):
        lossy_round(model, lost_packets, lost_packets, 0.05)
        assert not model.has_excess_loss


def test_a_few_packets_are_no_verdict() -> None:
    model = PathModel(MTU)
    lossy_round(model, 5, 5, 0.05, packets=20)
    assert not model.has_loss_verdict
    assert not model.has_excess_loss


def test_losses_that_were_none_are_taken_back() -> None:
    model = PathModel(MTU)
    lossy_round(model, 0, 0, 0.05)
    model.update(AckSample(1.0, lost_bytes=20 * MTU, lost_ranges=20))
    model.update(AckSample(1.0, acked_bytes=20 * MTU, spurious_bytes=20 * MTU, rtt_s=0.05))
    lossy_round(model, 0, 0, 0.05)
    assert model.loss_rate == 0.0


def test_following_down_is_bounded_and_forgotten_when_the_path_is_probed_again() -> None:
    model = PathModel(MTU)
    lossy_round(model, 0, 0, 0.05)
    model.round_rate = 0.0
    model.lower_bandwidth(0.7)
    assert model.bandwidth == pytest.approx(0.7e6)
    model.forget_lower_bound()
    assert model.bandwidth == 1e6
    model.forget_bandwidth(0.5)
    model.forget_lower_bound()
    assert model.bandwidth == pytest.approx(0.5e6)


def test_aggregated_acknowledgements_are_allowed_for() -> None:
    model = PathModel(MTU)
    delivered = 0
    for step in range(200):
        # 1 MB/s, acknowledged 20 packets at a time.
        delivered += 20 * MTU
        model.update(
            AckSample(
                step * 0.02,
                acked_bytes=20 * MTU,
                delivered_bytes=delivered,
                prior_delivered_bytes=delivered - 50 * MTU,
                rtt_s=0.05,
                delivery_rate=1e6,
                interval_s=0.05,
            )
        )
    assert 19 * MTU <= model.extra_acked_bytes <= 41 * MTU
    model.forget_extra_acked()
    assert model.extra_acked_bytes == 0.0


def test_what_a_hole_had_hidden_is_not_taken_for_speed() -> None:
    # A peer that reports twenty gaps only shows the rest at once when a hole fills: ten times the rate, for a moment.
    model = PathModel(MTU)
    model.least_round_s = 0.02
    now, delivered = 0.0, 0
    for step in range(40):
        now += 0.05
        before, delivered = delivered, delivered + (500 if step % 10 == 9 else 50) * MTU
        model.update(
            AckSample(
                now,
                acked_bytes=delivered - before,
                delivered_bytes=delivered,
                prior_delivered_bytes=before,
                rtt_s=0.05,
                delivery_rate=1e6,
                interval_s=0.05,
            )
        )
    assert model.bandwidth == pytest.approx(1e6)


def test_before_the_first_rate_it_paces_the_initial_window_over_the_handshakes_round_trip() -> None:
    assert make(initial_rtt_s=0.1).pacing_rate == pytest.approx(STARTUP_GAIN * 10 * MTU / 0.1)


def test_an_application_that_sends_little_does_not_take_the_queue_of_others_for_a_full_pipe() -> None:
    bbr = make()
    for round_number in range(12):
        bbr.on_sent(round_number * 0.3, MTU, 0)
        bbr.on_ack(
            AckSample(
                (round_number + 1) * 0.3,
                acked_bytes=MTU,
                delivered_bytes=MTU * (round_number + 1),
                prior_delivered_bytes=MTU * round_number,
                rtt_s=0.3 if round_number < 6 else 0.5,
                delivery_rate=MTU / 0.3,
                interval_s=0.3,
                is_app_limited=True,
            )
        )
    assert bbr.state == "startup"
