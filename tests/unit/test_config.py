"""cli.config: the config file, whose mistakes are told and never guessed around."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallow_cli.cli.config import load_defaults
from tallow_cli.errors import BadOption

OPTIONS = {"send": ["server", "buffer_high"], "recv": ["server", "output"]}


def load(tmp_path: Path, text: str) -> dict[str, dict[str, object]]:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_defaults(path, OPTIONS)  # type: ignore[return-value]


def test_a_missing_file_changes_nothing(tmp_path: Path) -> None:
    assert load_defaults(tmp_path / "none.toml", OPTIONS) == {}


def test_a_top_level_key_reaches_every_command_that_has_the_option(tmp_path: Path) -> None:
    assert load(tmp_path, 'server = "ws://a:1"\n') == {
        "send": {"server": "ws://a:1"},
        "recv": {"server": "ws://a:1"},
    }


def test_a_commands_own_table_wins_over_the_top_level(tmp_path: Path) -> None:
    defaults = load(tmp_path, 'server = "ws://a:1"\n[recv]\nserver = "ws://b:2"\n')
    assert defaults == {"send": {"server": "ws://a:1"}, "recv": {"server": "ws://b:2"}}


def test_keys_may_be_written_with_dashes(tmp_path: Path) -> None:
    assert load(tmp_path, '[send]\nbuffer-high = "8MiB"\n')["send"] == {"buffer_high": "8MiB"}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("server = [", "cannot be read"),
        ("colour = true", "colour"),
        ('[sned]\nserver = "ws://a:1"', "sned"),
        ('[send]\noutput = "x"', "output"),
        ("[send]\nserver = []", "server"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(BadOption, match=word):
        load(tmp_path, text)
