"""cli.settings: the same options become the same settings for every command."""

from __future__ import annotations

import pytest

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.settings import link_settings, show
from tallow_cli.errors import BadOption
from tallow_cli.link.link import DEFAULT_ENGINE
from tallow_cli.session.settings import LinkSettings
from tests.support.streams import Stream

DEFAULTS = {
    "engine": None,
    "channels": "3",
    "mode": "balanced",
    "reliable": False,
    "max_retransmits": None,
    "buffer_high": None,
    "buffer_low": None,
    "limit": None,
    "no_encrypt": False,
}


def surroundings() -> Environment:
    return Environment(Stream(), Stream(), Stream(), {})


def test_the_defaults_of_the_options_are_those_of_the_settings() -> None:
    assert link_settings(**DEFAULTS) == LinkSettings(engine=DEFAULT_ENGINE)  # type: ignore[arg-type]


def test_what_is_given_arrives() -> None:
    settings = link_settings(
        **{**DEFAULTS, "limit": "8Mbit", "no_encrypt": True, "engine": "aiortc", "max_retransmits": "0"}
    )  # type: ignore[arg-type]
    assert settings.limit_bytes_per_s == 1_000_000
    assert settings.encrypt is False
    assert settings.max_retransmits == 0


@pytest.mark.parametrize(
    ("given", "high", "low"),
    [
        ({"buffer_high": "1MiB"}, 1 << 20, 1 << 18),
        ({"buffer_high": "2"}, 2, 1),
        ({"buffer_high": "4GiB"}, 1 << 32, 1 << 30),
        ({"buffer_low": "1MiB"}, 16 << 20, 1 << 20),
        ({"buffer_low": "32MiB"}, 128 << 20, 32 << 20),
        ({"buffer_low": "2GiB"}, 1 << 32, 2 << 30),
        ({"buffer_high": "1MiB", "buffer_low": "1KiB"}, 1 << 20, 1024),
    ],
    ids=str,
)
def test_one_mark_alone_takes_the_other_along(given: dict[str, object], high: int, low: int) -> None:
    settings = link_settings(**{**DEFAULTS, **given})  # type: ignore[arg-type]
    assert (settings.buffer_high, settings.buffer_low) == (high, low)


@pytest.mark.parametrize(
    "mistake",
    [
        {"engine": "steam"},
        {"channels": "9"},
        {"channels": "x"},
        {"engine": ""},
        {"mode": "x"},
        {"limit": "fast"},
        {"max_retransmits": "9"},
        {"max_retransmits": "-1"},
        {"max_retransmits": "two"},
        {"max_retransmits": ""},
        {"max_retransmits": "0", "reliable": True},
        {"buffer_low": "4GiB"},
        {"buffer_low": "0"},
        {"buffer_high": "0"},
        {"buffer_high": "1"},
        {"buffer_high": "8GiB"},
        {"buffer_high": "8GiB", "buffer_low": "4GiB"},
        {"buffer_high": "16MiB", "buffer_low": "1GiB"},
    ],
)
def test_a_mistake_is_a_bad_option(mistake: dict[str, object]) -> None:
    with pytest.raises(BadOption):
        link_settings(**{**DEFAULTS, **mistake})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "flags",
    [
        {"json": False, "quiet": True, "verbose": True},
        {"json": True, "quiet": False, "verbose": False, "stdout_is_data": True},
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: dict[str, bool]) -> None:
    with pytest.raises(BadOption):
        show(surroundings(), **flags)
