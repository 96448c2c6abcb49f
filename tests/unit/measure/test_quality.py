from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallow_cli.measure.account import Verdict
from tallow_cli.measure.causes import Cause
from tallow_cli.measure.quality import Bottleneck, Facts, judge, quality_score, shown_score

GOOD = Facts(mbps=400.0, rtt_ms=2.0, jitter_ms=0.5, loss=0.0, min_rtt_ms=1.0, sample_count=40)


def test_the_example_of_the_specification_scores_95() -> None:
    assert quality_score(Facts(mbps=200, rtt_ms=8.5, jitter_ms=2.3, loss=0.002)) == 95


@pytest.mark.parametrize(
    ("mbps", "rtt_ms", "jitter_ms", "loss"),
    [(940, 0.4, 0.1, 0.0), (970, 0.2, 0.02, 0.0), (700, 1.0, 0.5, 0.0), (500, 2.0, 1.0, 0.001)],
)
def test_a_gigabit_lan_scores_95_to_100(mbps: float, rtt_ms: float, jitter_ms: float, loss: float) -> None:
    facts = replace(GOOD, mbps=mbps, rtt_ms=rtt_ms, jitter_ms=jitter_ms, loss=loss)
    assert 95 <= quality_score(facts) <= 100
    assert judge(facts)[0] is Bottleneck.NONE


@pytest.mark.parametrize("mbps", [200, 225, 250])
@pytest.mark.parametrize(("rtt_ms", "jitter_ms", "loss"), [(4, 2, 0.001), (8, 3, 0.005), (15, 9, 0.009)])
def test_wifi_at_200_to_250_scores_90_to_95(
    mbps: float, rtt_ms: float, jitter_ms: float, loss: float
) -> None:
    facts = replace(GOOD, mbps=mbps, rtt_ms=rtt_ms, jitter_ms=jitter_ms, loss=loss)
    assert 90 <= quality_score(facts) <= 95
    assert judge(facts)[0] is Bottleneck.NONE


@pytest.mark.parametrize("mbps", [50, 55, 60])
@pytest.mark.parametrize(
    ("rtt_ms", "jitter_ms", "loss", "link_mbps"),
    [
        (25, 3, 0.051, None),  # known by its loss
        (30, 4, 0.005, 100),  # known by what the link should carry
        (40, 5, 0.010, 100),
        (40, 8, 0.001, 100),
    ],
)
def test_half_of_an_internet_link_of_100_scores_85_to_90_with_network_bandwidth(
    mbps: float, rtt_ms: float, jitter_ms: float, loss: float, link_mbps: float | None
) -> None:
    facts = replace(GOOD, mbps=mbps, rtt_ms=rtt_ms, jitter_ms=jitter_ms, loss=loss, link_mbps=link_mbps)
    assert 85 <= quality_score(facts) <= 90
    assert judge(facts)[0] is Bottleneck.NETWORK_BANDWIDTH


@pytest.mark.parametrize(
    ("facts", "bottleneck"),
    [
        (replace(GOOD, loss=0.0501), Bottleneck.NETWORK_BANDWIDTH),
        (replace(GOOD, loss=0.05), Bottleneck.NONE),
        (replace(GOOD, rtt_ms=200.1), Bottleneck.NETWORK_LATENCY),
        (replace(GOOD, rtt_ms=200.0), Bottleneck.NONE),
        (replace(GOOD, jitter_ms=50.1), Bottleneck.NETWORK_LATENCY),
        (replace(GOOD, jitter_ms=50.0), Bottleneck.NONE),
        (replace(GOOD, variation=0.501), Bottleneck.BACKPRESSURE),
        (replace(GOOD, variation=0.5), Bottleneck.NONE),
        (replace(GOOD, memory_fraction=0.901), Bottleneck.MEMORY),
        (replace(GOOD, memory_fraction=0.9), Bottleneck.NONE),
        (replace(GOOD, mbps=99.9), Bottleneck.CPU),
        (replace(GOOD, mbps=100.0), Bottleneck.NONE),
        (replace(GOOD, mbps=90.0, rtt_ms=20.0), Bottleneck.NONE),
        (replace(GOOD, mbps=90.0, jitter_ms=10.0), Bottleneck.NONE),
        (replace(GOOD, mbps=90.0, loss=0.01), Bottleneck.NONE),
        (replace(GOOD, mbps=90.0, rtt_ms=None), Bottleneck.NONE),
        (replace(GOOD, mbps=240.0, link_mbps=500.0), Bottleneck.CPU),
        (replace(GOOD, mbps=40.0, link_mbps=50.0), Bottleneck.NONE),
        (replace(GOOD, mbps=89.0, rtt_ms=40.0, link_mbps=100.0), Bottleneck.NETWORK_BANDWIDTH),
        (replace(GOOD, mbps=90.0, rtt_ms=40.0, link_mbps=100.0), Bottleneck.NONE),
    ],
)
def test_each_bottleneck_begins_where_the_specification_says(facts: Facts, bottleneck: Bottleneck) -> None:
    assert judge(facts)[0] is bottleneck


def test_loss_is_named_before_latency_and_latency_before_variation() -> None:
    everything = replace(GOOD, loss=0.2, rtt_ms=500.0, variation=0.9)
    assert judge(everything)[0] is Bottleneck.NETWORK_BANDWIDTH
    assert judge(replace(everything, loss=0.0))[0] is Bottleneck.NETWORK_LATENCY
    assert judge(replace(everything, loss=0.0, rtt_ms=20.0))[0] is Bottleneck.BACKPRESSURE


def test_a_low_rate_is_not_blamed_on_a_processor_that_was_seen_idle() -> None:
    assert judge(replace(GOOD, mbps=30.0, cpu_fraction=0.3))[0] is Bottleneck.NONE


def test_a_full_core_is_named_whatever_the_rate() -> None:
    bottleneck, words = judge(replace(GOOD, mbps=900.0, cpu_fraction=0.97))
    assert bottleneck is Bottleneck.CPU
    assert "97 %" in words


def test_a_full_core_explains_its_own_round_trips_but_not_loss() -> None:
    queueing = replace(GOOD, mbps=120.0, rtt_ms=120.0, cpu_fraction=0.97)
    assert judge(queueing)[0] is Bottleneck.CPU
    assert judge(replace(queueing, loss=0.02))[0] is not Bottleneck.CPU


def test_an_end_that_measures_no_network_still_knows_its_core() -> None:
    bottleneck, words = judge(Facts(mbps=120.0, sample_count=40, cpu_fraction=0.97))
    assert bottleneck is Bottleneck.CPU
    assert "not measured at this end" in words


def verdict(cause: Cause) -> Verdict:
    return Verdict(cause, 0.8, 10.0, ((cause, 0.8),))


@pytest.mark.parametrize(
    ("cause", "bottleneck"),
    [
        (Cause.RECEIVER_DISK, Bottleneck.BACKPRESSURE),
        (Cause.RECEIVER_OUTPUT, Bottleneck.BACKPRESSURE),
        (Cause.VERIFYING, Bottleneck.BACKPRESSURE),
        (Cause.SENDER_CPU, Bottleneck.CPU),
        (Cause.RECEIVER_CPU, Bottleneck.CPU),
        (Cause.MEMORY, Bottleneck.MEMORY),
        (Cause.SENDER_LIMIT, Bottleneck.NONE),
        (Cause.SENDER_DISK, Bottleneck.NONE),
        (Cause.NETWORK_CAPACITY, Bottleneck.NONE),
    ],
)
def test_the_account_of_both_ends_names_the_bottleneck_and_gives_its_words(
    cause: Cause, bottleneck: Bottleneck
) -> None:
    named, words = judge(replace(GOOD, verdict=verdict(cause)))
    assert named is bottleneck
    assert "80 % of the last 10 s" in words


def test_a_rate_that_varies_is_no_disk_where_the_account_says_what_it_was() -> None:
    uneven = replace(GOOD, variation=3.0)
    assert judge(replace(uneven, verdict=verdict(Cause.SENDER_LIMIT)))[0] is Bottleneck.NONE
    assert judge(replace(uneven, verdict=verdict(Cause.NETWORK_CAPACITY)))[0] is Bottleneck.NONE
    assert judge(replace(uneven, verdict=verdict(Cause.SENDER_INPUT)))[0] is Bottleneck.BACKPRESSURE


def test_a_wanted_limit_and_next_to_nothing_to_send_have_no_score() -> None:
    assert shown_score(replace(GOOD, verdict=verdict(Cause.SENDER_LIMIT))) is None
    assert shown_score(replace(GOOD, moved_bytes=18_000)) is None
    slow = replace(GOOD, moved_bytes=18_000, verdict=verdict(Cause.NETWORK_CAPACITY))
    assert shown_score(slow) == quality_score(slow)
    assert shown_score(replace(GOOD, moved_bytes=50_000_000)) == quality_score(GOOD)


def test_nobody_is_told_to_send_more_slowly_to_lose_less() -> None:
    assert "--limit" not in judge(replace(GOOD, loss=0.08))[1]
    assert "--limit" not in judge(replace(GOOD, rtt_ms=400.0, min_rtt_ms=20.0))[1]


def test_a_transfer_of_a_moment_is_not_judged_by_its_rate() -> None:
    bottleneck, words = judge(replace(GOOD, mbps=0.01, variation=0.9, sample_count=3))
    assert bottleneck is Bottleneck.NONE
    assert "Too little" in words


def test_a_round_trip_far_above_its_minimum_is_called_queueing() -> None:
    assert "queueing" in judge(replace(GOOD, rtt_ms=400.0, min_rtt_ms=20.0))[1]
    assert "far away" in judge(replace(GOOD, rtt_ms=400.0, min_rtt_ms=380.0))[1]


_FACTS = st.builds(
    Facts,
    mbps=st.floats(0, 1e5),
    rtt_ms=st.none() | st.floats(0, 1e5),
    jitter_ms=st.none() | st.floats(0, 1e5),
    loss=st.none() | st.floats(0, 1),
    min_rtt_ms=st.none() | st.floats(0, 1e5),
    variation=st.floats(0, 100),
    sample_count=st.integers(0, 100),
    cpu_fraction=st.none() | st.floats(0, 4),
    memory_fraction=st.none() | st.floats(0, 2),
    verdict=st.none() | st.sampled_from(Cause).map(verdict),
    link_mbps=st.none() | st.floats(1, 1e5),
)


@given(_FACTS)
def test_every_measurement_has_a_score_in_range_and_words(facts: Facts) -> None:
    assert 0 <= quality_score(facts) <= 100
    _, words = judge(facts)
    assert words.endswith(".")
    assert "None" not in words


@given(_FACTS, st.floats(1.0, 10.0))
def test_the_score_never_rises_when_the_network_gets_worse(facts: Facts, factor: float) -> None:
    score = quality_score(facts)
    assert quality_score(replace(facts, mbps=facts.mbps / factor)) <= score
    if facts.loss is not None:
        assert quality_score(replace(facts, loss=min(1.0, facts.loss * factor))) <= score
    if facts.rtt_ms is not None:
        assert quality_score(replace(facts, rtt_ms=facts.rtt_ms * factor)) <= score
