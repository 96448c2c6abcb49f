"""The seam itself: what a sample says of nothing, and that a controller without an algorithm cannot be made."""

from __future__ import annotations

import pytest

from tallow_cli.dataplane.congestion.controller import (
    DEFAULT_MAX_QUANTUM_BYTES,
    AckSample,
    CongestionController,
    ControllerConfig,
)
from tallow_cli.dataplane.congestion.newreno import NewReno


def test_a_sample_of_nothing_claims_nothing() -> None:
    sample = AckSample(1.0)
    assert (sample.acked_bytes, sample.lost_bytes, sample.delivery_rate, sample.rtt_s) == (0, 0, 0.0, None)
    assert not sample.is_app_limited
    assert sample.lost_sent_at < 0


def test_without_an_algorithm_there_is_no_controller() -> None:
    with pytest.raises(TypeError):
        CongestionController(ControllerConfig())  # type: ignore[abstract]  # that is the question


def test_flows_without_a_source_of_chance_are_repeatable() -> None:
    assert ControllerConfig().uniform() == ControllerConfig().uniform() == 0.5


def test_a_burst_fits_one_send_call() -> None:
    assert DEFAULT_MAX_QUANTUM_BYTES <= 65_536


def test_another_packet_size_is_remembered() -> None:
    controller = NewReno(ControllerConfig(mtu_bytes=1200))
    controller.set_mtu(1400)
    assert controller.mtu_bytes == 1400
