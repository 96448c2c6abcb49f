"""What a trace is told of an association: on an emulated path, in virtual time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from tallow_cli.netem.presets import PRESETS, path
from tallow_cli.tracing import METRICS_INTERVAL_S
from tests.sim.associations import SimulatedPath

Told = list[tuple[float, str, Mapping[str, Any]]]


def run(name: str, size: int = 3_000_000, **options: Any) -> tuple[SimulatedPath, Told]:
    told: Told = []
    preset = PRESETS[name] if name in PRESETS else path(name, 50, 40, outages=((0.3, 2.5),))
    simulated = SimulatedPath(
        preset, 1, left={"trace": lambda now, event, data: told.append((now, event, data))}, **options
    )
    simulated.left.association.send_message(1, 53, bytes(size))
    assert simulated.run(lambda: simulated.left.association.is_flushed, 60.0)
    return simulated, told


def named(told: Told, name: str) -> list[Mapping[str, Any]]:
    return [data for _, event, data in told if event == name]


def test_it_begins_with_the_parameters_and_times_never_go_back() -> None:
    _, told = run("inet1")
    assert told[0][1] == "recovery:parameters_set"
    assert told[0][2]["congestion_control"] == "bbr"
    times = [now for now, _, _ in told]
    assert times == sorted(times)
    json.dumps([data for _, _, data in told])


def test_every_lost_packet_is_told_of_once() -> None:
    simulated, told = run("inet1")
    lost = named(told, "recovery:packet_lost")
    assert lost
    assert sum(data["packets"] for data in lost) == simulated.left.association.stats.lost_packets
    assert lost[-1]["total"] == simulated.left.association.stats.lost_packets


def test_states_follow_from_one_another_and_measurements_come_ten_times_a_second_at_most() -> None:
    _, told = run("inet1")
    states = named(told, "recovery:congestion_state_updated")
    assert all(one["new"] == other["old"] for one, other in itertools.pairwise(states))
    moved = {now for now, event, _ in told if event == "recovery:congestion_state_updated"}
    measured = [now for now, event, _ in told if event == "recovery:metrics_updated" and now not in moved]
    pauses = [later - earlier for earlier, later in itertools.pairwise(measured)]
    assert min(pauses) >= METRICS_INTERVAL_S - 1e-9
    assert max(data["smoothed_rtt"] for data in named(told, "recovery:metrics_updated")) > 50.0


def test_an_outage_shows_as_a_timer_that_ran_out() -> None:
    _, told = run("out-of-reach", max_packet_bytes=1_432)
    expired = named(told, "recovery:loss_timer_updated")
    assert {"event_type": "expired", "timer_type": "t3"} in expired
    assert named(told, "connectivity:mtu_updated")[0]["new"] == 1_432


def test_a_trace_changes_nothing_of_what_happens() -> None:
    with_trace, _ = run("inet1")
    without = SimulatedPath(PRESETS["inet1"], 1)
    without.left.association.send_message(1, 53, bytes(3_000_000))
    assert without.run(lambda: without.left.association.is_flushed, 60.0)
    assert without.left.association.stats == with_trace.left.association.stats
    assert without.now == with_trace.now
