"""cli.config: the config file, whose mistakes are told and never guessed around."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallow_cli.cli.config import OptionKind, load_defaults
from tallow_cli.errors import BadOption

VALUE, FLAG, LIST = OptionKind.VALUE, OptionKind.FLAG, OptionKind.LIST
OPTIONS = {
    "send": {"server": VALUE, "buffer_high": VALUE, "timeout": VALUE, "json": FLAG, "exclude": LIST},
    "recv": {"server": VALUE, "output": VALUE},
}


def load(tmp_path: Path, text: str) -> dict[str, dict[str, object]]:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_defaults(path, lambda: OPTIONS)  # type: ignore[return-value]


def test_a_missing_file_changes_nothing(tmp_path: Path) -> None:
    assert load_defaults(tmp_path / "none.toml", lambda: OPTIONS) == {}


@pytest.mark.parametrize(
    "place", ["/dev/null/.config/config.toml", "/" + "n" * 300 + "/config.toml", "/", "/proc/1/mem"]
)
def test_a_usual_file_out_of_reach_is_as_good_as_missing(place: str) -> None:
    assert load_defaults(Path(place), lambda: OPTIONS) == {}


@pytest.mark.parametrize("place", ["none.toml", "/dev/null/config.toml", "."])
def test_a_file_that_was_named_must_be_readable(tmp_path: Path, place: str) -> None:
    with pytest.raises(BadOption, match=r"TALLOW_CONFIG: .* cannot be read") as caught:
        load_defaults(tmp_path / place, lambda: OPTIONS, named=True)
    assert caught.value.option == "TALLOW_CONFIG"


def test_numbers_are_the_texts_they_are_typed_as_and_flags_stay_flags(tmp_path: Path) -> None:
    assert load(tmp_path, "[send]\ntimeout = 90\njson = true\n")["send"] == {"timeout": "90", "json": True}
    assert load(tmp_path, "timeout = 1.5\n")["send"] == {"timeout": "1.5"}


def test_an_option_that_may_be_given_again_takes_a_list(tmp_path: Path) -> None:
    assert load(tmp_path, '[send]\nexclude = ["*.o", "build/"]\n')["send"] == {"exclude": ["*.o", "build/"]}
    assert load(tmp_path, 'exclude = "*.o"\n')["send"] == {"exclude": ["*.o"]}


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    defaults = load(tmp_path, '[recv]\nserver = "ws://b:2"\n[send]\nserver = "ws://c:3"\n')
    assert defaults == {"send": {"server": "ws://c:3"}, "recv": {"server": "ws://b:2"}}


def test_what_is_not_text_is_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'server = "\xff"')
    with pytest.raises(BadOption, match="not UTF-8"):
        load_defaults(path, lambda: OPTIONS)


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
        ("server = [", "not TOML"),
        ("server = " + "[" * 20_000, "not TOML"),
        ("[send]\nexclude = [1]", "exclude must be a text or a list of texts"),
        ("[send]\njson = 1", "json must be true or false"),
        ("[send]\ntimeout = true", "timeout must be a text or a number"),
        ("[send]\ntimeout = 2026-01-01", "timeout must be a text or a number"),
        ("colour = true", "colour"),
        ('[sned]\nserver = "ws://a:1"', "sned"),
        ('[send]\noutput = "x"', "output"),
        ("[send]\nserver = []", "server"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(BadOption, match=word):
        load(tmp_path, text)
