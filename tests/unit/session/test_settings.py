"""session.settings: defaults as documented, and nothing out of range."""

from __future__ import annotations

import pytest

from tallow_cli.bench.scenarios import Scenario
from tallow_cli.cli import options
from tallow_cli.errors import BadOption
from tallow_cli.link.channels import MAX_CHANNELS
from tallow_cli.link.link import DEFAULT_ENGINE
from tallow_cli.quantities import parse_seconds
from tallow_cli.session.settings import (
    DEFAULT_FIND_S,
    DEFAULT_RECONNECT_S,
    DEFAULT_WAIT_S,
    FOREVER_S,
    MODES,
    LinkSettings,
    Waits,
)


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"channels": 1}, "--channels"),
        ({"channels": 5}, "--channels"),
        ({"mode": "reckless"}, "--mode"),
        ({"buffer_low": 0}, "--buffer-low"),
        ({"buffer_high": 1, "buffer_low": 1}, "--buffer-high"),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_named(settings: dict[str, object], option: str) -> None:
    with pytest.raises(BadOption) as caught:
        LinkSettings(**settings)  # type: ignore[arg-type]
    assert caught.value.option == option


@pytest.mark.parametrize("field", ["peer_s", "find_s", "connect_s", "idle_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_wait_has_some_length_and_an_end(field: str, value: float) -> None:
    if value == FOREVER_S and field in ("peer_s", "find_s"):
        assert getattr(Waits(**{field: value}), field) == FOREVER_S, "people may take as long as they like"
        return
    with pytest.raises(BadOption):
        Waits(**{field: value})


@pytest.mark.parametrize("value", [0, 0.5, 120, FOREVER_S])
def test_reconnecting_may_take_any_time_or_none(value: float) -> None:
    assert Waits(reconnect_s=value).reconnect_s == value


@pytest.mark.parametrize("value", [-1, float("nan"), 1e9])
def test_reconnecting_takes_no_impossible_time(value: float) -> None:
    with pytest.raises(BadOption) as caught:
        Waits(reconnect_s=value)
    assert caught.value.option == "--reconnect-for"


def test_the_options_repeat_the_defaults() -> None:
    assert parse_seconds(options.DEFAULT_TIMEOUT) == DEFAULT_WAIT_S == Waits().peer_s
    assert parse_seconds(options.DEFAULT_FIND) == DEFAULT_FIND_S == Waits().find_s
    assert parse_seconds(options.DEFAULT_RECONNECT) == DEFAULT_RECONNECT_S == Waits().reconnect_s
    assert LinkSettings().channels == int(options.DEFAULT_CHANNELS)
    assert int(options.MAX_CHANNELS) == MAX_CHANNELS
    assert tuple(options.ModeChoice) == MODES


def test_a_program_that_names_no_engine_gets_the_one_the_command_line_has() -> None:
    assert LinkSettings().engine == Scenario().link.engine == DEFAULT_ENGINE == "turbo"
