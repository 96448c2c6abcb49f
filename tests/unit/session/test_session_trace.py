"""What of a session stands in its trace, and what never does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tallow_cli.errors import PeerVanished, SourceMissing, TallowError
from tallow_cli.session.events import Reconnected, Reconnecting, SessionEvent
from tallow_cli.session.session_trace import traced
from tests.support.events import CODE, CONNECTED, DONE, EVERY_EVENT, STATS, channel

Told = list[tuple[str, Mapping[str, Any]]]


def trace_of(*events: SessionEvent) -> Told:
    told: Told = []
    passed_on: list[SessionEvent] = []
    with traced(passed_on.append, lambda _now, name, data: told.append((name, data)), lambda: 1.0) as emit:
        for event in events:
            emit(event)
    assert passed_on == list(events)
    return told


def test_without_a_trace_nothing_stands_in_between() -> None:
    heard: list[SessionEvent] = []
    with traced(heard.append, None) as emit:
        emit(DONE)
    assert heard == [DONE]


def test_no_code_no_text_and_no_name_of_a_file_gets_into_it() -> None:
    text = json.dumps(trace_of(*(event for event in EVERY_EVENT if event.event != "error")))
    for secret in (CODE, "photos", "big.iso", "two\\nlines", "a.o"):
        assert secret not in text


def test_a_connection_has_its_path_and_its_kind() -> None:
    told = trace_of(CONNECTED)
    assert [name for name, _ in told] == [
        "connectivity:path_assigned",
        "connectivity:connection_state_updated",
    ]
    assert told[0][1]["path_id"] == 1
    assert told[0][1]["remote_address"] == CONNECTED.remote_address
    assert told[1][1]["new"] == "connected"


def test_a_connection_that_is_replaced_has_another_path() -> None:
    again = Reconnected.of(2, 3.5, CONNECTED)
    told = trace_of(CONNECTED, Reconnecting("nothing was heard", 120.0), again)
    lost, path, back = told[2:]
    assert lost[1] == {"new": "lost", "message": "nothing was heard", "reconnect_for": 120_000}
    assert path[1]["path_id"] == 2
    assert back[1] == {"new": "reconnected", "engine": CONNECTED.engine, "after": 3_500}


def test_a_channels_state_is_told_when_it_changes() -> None:
    paused = replace(STATS, channels=(channel(1, paused=True), channel(2, paused=True), channel(3)))
    told = [data for name, data in trace_of(STATS, STATS, paused) if "channel_state" in name]
    assert [(data["channel"], data["old"], data["new"]) for data in told] == [
        (1, None, "open"),
        (2, None, "paused"),
        (3, None, "open"),
        (1, "open", "paused"),
    ]


@pytest.mark.parametrize(
    ("error", "message"),
    [(PeerVanished("nothing was heard"), True), (SourceMissing("/home/me/secret.txt"), False)],
)
def test_the_end_is_told_without_names(error: TallowError, message: bool) -> None:
    told: Told = []
    with (
        pytest.raises(type(error)),
        traced(lambda _event: None, lambda _now, name, data: told.append((name, data))),
    ):
        raise error
    [(name, data)] = told
    assert name == "session:failed"
    assert data["kind"] == error.kind
    assert (data["message"] is not None) is message
    assert "secret" not in json.dumps(data)
