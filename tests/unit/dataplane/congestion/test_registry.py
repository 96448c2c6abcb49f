"""The seam: the registry, and what every controller owes the association."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tallow_cli.dataplane.congestion import registry as registry_module
from tallow_cli.dataplane.congestion.controller import AckSample, CongestionController, ControllerConfig
from tallow_cli.dataplane.congestion.newreno import NewReno
from tallow_cli.dataplane.congestion.registry import (
    DEFAULT_CONTROLLER,
    controller_names,
    create_controller,
    register_controller,
)
from tests.support.controller_driver import MTU, PerfectPath

NAMES = ("bbr", "cubic", "newreno")


@pytest.fixture
def registry() -> Iterator[None]:
    controller_names()
    before = dict(registry_module._FACTORIES)
    yield
    registry_module._FACTORIES.clear()
    registry_module._FACTORIES.update(before)


def test_bbr_is_the_default_and_comes_first() -> None:
    assert DEFAULT_CONTROLLER == "bbr"
    assert controller_names() == ["bbr", "cubic", "newreno"]
    assert create_controller().name == "bbr"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_makes_the_controller_of_that_name(name: str) -> None:
    assert create_controller(name).name == name


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"reno2.*bbr, cubic, newreno"):
        create_controller("reno2")


@pytest.mark.usefixtures("registry")
def test_a_registered_controller_can_be_made_and_may_replace_another() -> None:
    register_controller("mine", NewReno)
    assert isinstance(create_controller("mine"), NewReno)
    register_controller("bbr", NewReno)
    assert isinstance(create_controller("bbr"), NewReno)


def make(name: str, **options: object) -> CongestionController:
    return create_controller(name, ControllerConfig(mtu_bytes=MTU, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_controller_allows_ten_packets_at_once(name: str) -> None:
    controller = make(name)
    assert controller.cwnd_bytes == 10 * MTU
    assert controller.pacing_rate >= 10 * MTU / 0.001


@pytest.mark.parametrize("name", NAMES)
def test_a_known_round_trip_paces_the_first_packets(name: str) -> None:
    assert 10 * MTU / 0.1 <= make(name, initial_rtt_s=0.1).pacing_rate <= 30 * MTU / 0.1


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_the_rate_of_a_clean_path_and_keeps_it(name: str) -> None:
    path = PerfectPath(make(name))
    path.run(3.0)
    delivered = path.estimator.delivered_bytes
    path.run(2.0)
    assert path.estimator.delivered_bytes - delivered >= 0.95 * 2.0 * path.rate


@pytest.mark.parametrize("name", NAMES)
def test_the_promises_hold_whatever_is_thrown_at_it(name: str) -> None:
    controller = make(name, max_quantum_bytes=16_000)
    now = 0.0
    samples = [
        AckSample(0.0, acked_bytes=MTU, rtt_s=None),
        AckSample(
            0.0, acked_bytes=10 * MTU, rtt_s=1e-6, delivery_rate=1e12, interval_s=1e-6, delivered_bytes=10**6
        ),
        AckSample(0.0, lost_bytes=10**7, lost_ranges=1_000, lost_sent_at=1e9),
        AckSample(0.0, acked_bytes=MTU, spurious_bytes=10**6, rtt_s=60.0, delivery_rate=0.1, interval_s=9.0),
        AckSample(0.0),
    ]
    for step in range(400):
        now += 0.0 if step % 7 == 0 else 0.013
        sample = samples[step % len(samples)]
        sample.now = now
        sample.prior_delivered_bytes = sample.delivered_bytes
        controller.on_sent(now, MTU, 0 if step % 3 else 50 * MTU)
        controller.on_ack(sample)
        if step % 50 == 49:
            controller.on_rto(now)
        assert controller.cwnd_bytes >= MTU
        assert controller.pacing_rate > 0
        assert MTU <= controller.send_quantum_bytes <= 16_000
        assert controller.state


@pytest.mark.parametrize("name", NAMES)
def test_a_timeout_shrinks_the_window_to_a_few_packets_and_the_path_is_filled_again_soon(name: str) -> None:
    path = PerfectPath(make(name))
    path.run(2.0)
    path.lose_everything()
    assert path.controller.cwnd_bytes <= 4 * MTU
    path.run(2.0)
    delivered = path.estimator.delivered_bytes
    path.run(1.0)
    assert path.estimator.delivered_bytes - delivered >= 0.9 * path.rate


@pytest.mark.parametrize("name", NAMES)
def test_a_new_packet_size_keeps_the_window_in_bytes(name: str) -> None:
    path = PerfectPath(make(name))
    path.run(1.0)
    before = path.controller.cwnd_bytes
    path.controller.set_mtu(1_404)
    assert path.controller.mtu_bytes == 1_404
    assert path.controller.cwnd_bytes == before
    path.run(0.5)
    assert path.controller.send_quantum_bytes % 1_404 == 0
