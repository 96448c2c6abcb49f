"""session.path_view: the engine's measurements of packets before the transfer's of messages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallow_cli.session.path_view import PathView
from tallow_cli.transfer.driving import SendFigures
from tallow_cli.webrtc.engines import PathFigures

TRANSFER = SendFigures(
    bytes_acked=0,
    bytes_written=0,
    unproven_bytes=0,
    bytes_in_flight=0,
    bytes_sent=0,
    retained_bytes=0,
    total_bytes=None,
    rate_bytes_per_s=0.0,
    smoothed_rtt_s=0.05,
    latest_rtt_s=0.06,
    min_rtt_s=0.04,
    jitter_s=0.007,
    message_loss=0.2,
    packet_loss=0.03,
    message_bytes=1000,
    credit_bytes=0,
    read_bytes=0,
    first_data_at=None,
)


def test_without_an_engine_that_measures_the_transfers_own_estimates_count() -> None:
    view = PathView(lambda: None)
    view.look(TRANSFER)
    assert (view.rtt_s, view.jitter_s, view.loss) == (0.06, 0.007, 0.03)


def test_before_the_first_round_trip_nothing_is_known() -> None:
    view = PathView(lambda: PathFigures(0.0, 0.0, 10, 0))
    view.look(replace(TRANSFER, latest_rtt_s=None))
    assert (view.rtt_s, view.loss) == (None, None)


def test_the_engines_round_trip_does_not_contain_our_queue() -> None:
    view = PathView(lambda: PathFigures(0.0004, 0.0001, 100, 0))
    view.look(TRANSFER)
    assert (view.rtt_s, view.jitter_s, view.loss) == (0.0004, 0.0001, 0.0)


def test_the_loss_is_that_of_the_last_two_seconds() -> None:
    figures = [PathFigures(0.01, 0.0, 1000 * tick, 100 if tick else 0) for tick in range(20)]
    seen = iter(figures)
    view = PathView(lambda: next(seen))
    view.look(TRANSFER)
    view.look(TRANSFER)
    assert view.loss == pytest.approx(0.1)
    for _ in range(18):
        view.look(TRANSFER)
    assert view.loss == 0.0


def test_what_is_lost_while_nobody_answers_is_no_loss_of_the_path_even_afterwards() -> None:
    answered = [PathFigures(0.01, 0.0, 100 * tick, 0) for tick in range(1, 6)]
    unanswered = [PathFigures(0.01, 0.0, 510, 200)] * 3
    after = [PathFigures(0.01, 0.0, 510 + 100 * tick, 200) for tick in range(1, 6)]
    figures = [*answered, *unanswered, *after]
    view = PathView(lambda: figures.pop(0))
    for _ in answered:
        view.look(TRANSFER)
    for _ in unanswered:
        view.look(TRANSFER, is_unanswered=True)
        assert view.loss == 0.0
    for _ in after:
        view.look(TRANSFER)
        assert view.loss == 0.0
