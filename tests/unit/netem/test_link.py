"""The network emulator: if it is wrong, every figure is."""

from __future__ import annotations

import random

import pytest

from tallow_cli.netem.link import Link, LinkConfig


def drain(link: Link, until: float) -> list[tuple[float, object]]:
    """Advance from event to event; returns (time, packet)."""
    arrived: list[tuple[float, object]] = []
    while (at := link.next_timeout()) is not None and at <= until:
        arrived += [(at, packet) for packet in link.receive(at)]
    return arrived


def make(seed: int = 1, **config: object) -> Link:
    return Link(LinkConfig(**config), random.Random(seed))  # type: ignore[arg-type]


def test_packets_arrive_in_order_at_the_rate_and_after_the_delay() -> None:
    link = make(rate_bps=8_000_000.0, delay_s=0.01)  # 1000 bytes a millisecond
    for number in range(3):
        assert link.send(0.0, number, 1_000)
    arrived = drain(link, 1.0)
    assert [packet for _, packet in arrived] == [0, 1, 2]
    assert [at for at, _ in arrived] == pytest.approx([0.011, 0.012, 0.013])
    assert link.stats.queue_delays_s == pytest.approx([0.0, 0.001, 0.002])


def test_a_link_without_a_rate_only_delays() -> None:
    link = make(delay_s=0.02)
    link.send(1.0, "a", 9_999)
    link.send(1.0, "b", 1)
    assert drain(link, 2.0) == [(1.02, "a"), (1.02, "b")]
    with pytest.raises(ValueError, match="no bandwidth-delay product"):
        link.config.bdp_bytes(0.1)


def test_nothing_arrives_early_and_receive_may_be_called_late() -> None:
    link = make(rate_bps=8_000_000.0, delay_s=0.01)
    link.send(0.0, "a", 1_000)
    assert link.receive(0.0109) == []
    assert link.receive(5.0) == ["a"]
    assert link.next_timeout() is None


def test_the_queue_drops_its_tail_and_counts_what_is_in_transmission() -> None:
    link = make(rate_bps=8_000_000.0, queue_bytes=2_000)
    assert [link.send(0.0, number, 1_000) for number in range(4)] == [True, True, False, False]
    assert link.queued_bytes == 2_000
    assert link.send(0.0011, 4, 1_000)
    assert [packet for _, packet in drain(link, 1.0)] == [0, 1, 4]
    assert link.stats.dropped_by_queue == 2


def test_a_packet_larger_than_the_queue_passes_an_empty_link() -> None:
    link = make(rate_bps=8_000_000.0, queue_bytes=100)
    assert link.send(0.0, "a", 1_000)


def test_a_rate_change_in_the_middle_of_a_packet_takes_effect_at_once() -> None:
    link = make(rate_bps=8_000_000.0, rate_changes=((0.0005, 4_000_000.0),))
    link.send(0.0, "a", 1_000)
    link.send(0.0, "b", 1_000)
    assert [at for at, _ in drain(link, 1.0)] == pytest.approx([0.0015, 0.0035])
    assert link.rate_bps == 4_000_000.0


def test_the_rate_can_be_changed_by_hand() -> None:
    link = make(rate_bps=8_000_000.0)
    link.send(0.0, "a", 1_000)
    link.set_rate(0.0005, 800_000.0)
    assert [at for at, _ in drain(link, 1.0)] == pytest.approx([0.0055])


def test_an_outage_swallows_what_is_sent_but_not_what_is_under_way() -> None:
    link = make(rate_bps=8_000_000.0, delay_s=0.1, outages=((1.0, 2.0),))
    link.send(0.99, "before", 1_000)
    assert not link.send(1.0, "during", 1_000)
    assert link.send(2.0, "after", 1_000)
    assert [packet for _, packet in drain(link, 3.0)] == ["before", "after"]
    assert link.stats.dropped_by_outage == 1


@pytest.mark.parametrize(("loss", "burst"), [(0.01, 1.0), (0.05, 1.0), (0.05, 10.0), (0.2, 3.0)])
def test_as_much_is_lost_as_asked_for_in_bursts_of_the_length_asked_for(loss: float, burst: float) -> None:
    link = make(loss=loss, burst_packets=burst)
    survived = [link.send(0.0, number, 100) for number in range(200_000)]
    lost = survived.count(False)
    bursts = sum(
        1 for before, after in zip([True, *survived], survived, strict=False) if before and not after
    )
    assert lost / len(survived) == pytest.approx(loss, rel=0.15)
    # A burst may follow the last directly, so that what is seen is a little longer.
    assert lost / bursts == pytest.approx(burst / (1 - loss), rel=0.15)


def test_reordered_packets_come_later_and_duplicates_twice() -> None:
    link = make(delay_s=0.01, reorder=0.5, reorder_delay_s=0.005, duplicate=0.5)
    for number in range(1_000):
        link.send(0.0, number, 100)
    arrived = drain(link, 1.0)
    assert {round(at, 6) for at, _ in arrived} == {0.01, 0.015}
    assert sorted({packet for _, packet in arrived}) == list(range(1_000))  # type: ignore[type-var]
    assert link.stats.duplicated == len(arrived) - 1_000 == pytest.approx(500, abs=80)
    assert link.stats.reordered == pytest.approx(500, abs=80)


def test_jitter_delays_but_keeps_the_order() -> None:
    link = make(delay_s=0.01, jitter_s=0.01)
    for number in range(500):
        link.send(number * 0.0001, number, 100)
    arrived = drain(link, 1.0)
    assert [packet for _, packet in arrived] == list(range(500))
    assert all(at - number * 0.0001 >= 0.01 for number, (at, _) in enumerate(arrived))


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    def run(seed: int) -> list[tuple[float, object]]:
        link = make(seed, rate_bps=1e6, delay_s=0.01, loss=0.2, reorder=0.1, duplicate=0.1, jitter_s=0.003)
        for number in range(300):
            link.send(number * 0.001, number, 100)
        return drain(link, 10.0)

    assert run(7) == run(7)
    assert run(7) != run(8)


@pytest.mark.parametrize("config", [{"loss": 1.0}, {"loss": -0.1}, {"burst_packets": 0.5}])
def test_impossible_losses_are_refused(config: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="impossible loss"):
        make(**config)


def test_the_queue_statistics_are_the_mean_and_the_99th_percentile() -> None:
    link = make(rate_bps=8_000_000.0)
    assert (link.stats.mean_queue_delay_s, link.stats.p99_queue_delay_s) == (0.0, 0.0)
    for number in range(100):
        link.send(0.0, number, 1_000)
    drain(link, 1.0)
    assert link.stats.mean_queue_delay_s == pytest.approx(0.0495)
    assert link.stats.p99_queue_delay_s == pytest.approx(0.099)


def test_what_is_larger_than_the_mtu_dies_without_a_draw() -> None:
    link = make(loss=0.5, mtu_bytes=1_500)
    fates = [link.send(0.0, number, 1_500) for number in range(50)]
    other = make(loss=0.5, mtu_bytes=1_500)
    with_large = []
    for number in range(50):
        assert not other.send(0.0, "large", 1_501)
        with_large.append(other.send(0.0, number, 1_500))
    assert fates == with_large
    assert other.stats.too_large == 50


def test_lateness_is_what_receive_is_called_after_an_arrival() -> None:
    link = make(delay_s=0.01)
    link.send(0.0, "a", 100)
    link.send(0.0, "b", 100)
    link.receive(0.015)
    assert link.stats.late_s == pytest.approx(0.010)


def test_a_link_that_runs_for_long_need_not_remember_every_delay() -> None:
    link = Link(LinkConfig(rate_bps=8e6), random.Random(1), keeps_delays=False)
    link.send(0.0, "a", 1_000)
    assert link.receive(1.0) == ["a"]
    assert link.stats.queue_delays_s == []


def test_a_rate_of_nothing_holds_everything_until_there_is_one() -> None:
    link = make(rate_bps=8_000_000.0)
    link.send(0.0, "a", 1_000)
    link.set_rate(0.0005, 0.0)
    assert link.next_timeout() is None
    assert link.receive(9.0) == []
    link.set_rate(10.0, 8_000_000.0)
    assert link.next_timeout() == pytest.approx(10.0005)
