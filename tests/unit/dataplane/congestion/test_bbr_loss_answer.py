"""Loss is answered once, and judged by what sending less made of it: the model is a double."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tallow_cli.dataplane.congestion.bbr_loss_answer import FEEDBACK_ROUNDS, LossAnswer

BETA = 0.7


def answering(**facts: Any) -> tuple[LossAnswer, Any, list[str]]:
    said: list[str] = []
    model = SimpleNamespace(
        round_count=10,
        has_loss_verdict=True,
        has_excess_loss=True,
        has_standing_queue=False,
        is_congested=False,
        loss_rate=0.05,
        bdp_bytes=50_000.0,
        inflight_hi_bytes=float("inf"),
        answered_at=0.0,
        lower_bandwidth=lambda beta: said.append(f"lower {beta}"),
        set_baseline_loss=lambda loss: said.append(f"baseline {loss}"),
        forget_lower_bound=lambda: said.append("as before"),
    )
    model.__dict__.update(facts)
    return LossAnswer(cast(Any, model)), model, said


def test_excess_loss_is_answered_once_until_the_answer_shows() -> None:
    answer, model, said = answering()
    for _ in range(1 + FEEDBACK_ROUNDS):
        answer.answer(1.0, 90_000, BETA)
        model.round_count += 1
    assert said == ["lower 0.7"]
    assert model.answered_at == 1.0
    assert model.inflight_hi_bytes == float("inf")


def test_loss_that_stays_is_the_paths_own() -> None:
    answer, model, said = answering()
    answer.answer(1.0, 90_000, BETA)
    model.round_count += FEEDBACK_ROUNDS + 1
    model.loss_rate = 0.04
    answer.answer(2.0, 90_000, BETA)
    assert said == ["lower 0.7", "baseline 0.04", "as before"]


def test_loss_that_goes_was_ours() -> None:
    answer, model, said = answering()
    answer.answer(1.0, 90_000, BETA)
    model.round_count += FEEDBACK_ROUNDS + 1
    model.loss_rate, model.has_excess_loss = 0.01, False
    answer.answer(2.0, 90_000, BETA)
    assert said == ["lower 0.7"]


def test_congestion_bounds_what_is_in_flight_but_not_below_the_bdp() -> None:
    answer, model, _ = answering(is_congested=True)
    answer.answer(1.0, 90_000, BETA)
    assert model.inflight_hi_bytes == 90_000 * BETA
    answer, model, _ = answering(is_congested=True)
    answer.answer(1.0, 60_000, BETA)
    assert model.inflight_hi_bytes == 50_000


def test_on_another_path_nothing_is_compared() -> None:
    answer, model, said = answering()
    answer.answer(1.0, 90_000, BETA)
    answer.forget()
    model.round_count += FEEDBACK_ROUNDS + 1
    model.has_excess_loss = False
    answer.answer(2.0, 90_000, BETA)
    assert said == ["lower 0.7"]
