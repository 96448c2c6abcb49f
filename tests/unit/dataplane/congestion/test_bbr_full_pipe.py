"""When STARTUP ends: the model is a double that says what a round saw."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tallow_cli.dataplane.congestion.bbr_full_pipe import FULL_ROUNDS, FullPipe

BETA = 0.7
CLEAN: dict[str, Any] = {
    "latest_queue_s": 0.0,
    "min_rtt_s": 0.05,
    "has_excess_loss": False,
    "is_congested": False,
    "round_is_app_limited": False,
    "max_bandwidth": 1e6,
    "bdp_bytes": 50_000.0,
    "round_inflight_bytes": 100_000.0,
    "inflight_hi_bytes": float("inf"),
}


def pipe() -> tuple[FullPipe, Any, list[bool]]:
    learnt: list[bool] = []
    model = SimpleNamespace(**CLEAN, learn_baseline_loss=lambda: learnt.append(True))
    return FullPipe(cast(Any, model)), model, learnt


def test_it_is_full_when_three_rounds_did_not_raise_the_rate() -> None:
    full, model, _ = pipe()
    assert not full.check(BETA)
    model.max_bandwidth *= 2
    assert [full.check(BETA) for _ in range(1 + FULL_ROUNDS)] == [False] * FULL_ROUNDS + [True]


def test_one_round_is_enough_over_a_queue() -> None:
    full, model, learnt = pipe()
    full.check(BETA)
    model.latest_queue_s = 0.03
    assert full.check(BETA)
    assert len(learnt) == 1, "loss over a queue is not the path's own"


def test_an_application_that_sends_little_learns_nothing() -> None:
    full, model, learnt = pipe()
    model.round_is_app_limited = True
    assert not any(full.check(BETA) for _ in range(10))
    assert not learnt


def test_excess_loss_over_a_queue_fills_it_and_bounds_what_is_in_flight() -> None:
    full, model, _ = pipe()
    model.has_excess_loss = True
    assert not full.check(BETA), "without a queue it may be the path's own"
    model.is_congested = True
    assert full.check(BETA)
    assert model.inflight_hi_bytes == 70_000


def test_on_another_path_the_search_begins_anew() -> None:
    full, model, _ = pipe()
    for _ in range(FULL_ROUNDS):
        full.check(BETA)
    full.start_again()
    model.max_bandwidth = 1e5
    assert not full.check(BETA)
