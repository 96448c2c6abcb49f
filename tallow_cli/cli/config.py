"""The config file: a TOML table of option defaults per command, below flags and environment variables.

server = "ws://files.example:8765"     # for every command that has --server
[recv]
output = "~/Downloads"
on-conflict = "rename"
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tallow_cli.errors import BadOption

_OPTION = str | int | float | bool


def load_defaults(path: Path, options: Mapping[str, Iterable[str]]) -> dict[str, dict[str, _OPTION]]:
    """Read `path` into `{command: {parameter: value}}`, Typer's default map. A missing file is an empty one.

    `options` names each command's parameters (`buffer_high`). Keys may be written with dashes.
    Raises BadOption for a file that is not TOML or that names an option no command has.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadOption(str(path), f"the config file cannot be read ({error})") from error
    known = {command: frozenset(names) for command, names in options.items()}
    defaults: dict[str, dict[str, _OPTION]] = {command: {} for command in known}
    for key, value in table.items():
        if isinstance(value, dict):
            _take_table(path, key, value, known, defaults)
        else:
            _take_everywhere(path, key, value, known, defaults)
    return defaults


def _take_table(
    path: Path,
    command: str,
    table: Mapping[str, object],
    known: Mapping[str, frozenset[str]],
    defaults: dict[str, dict[str, _OPTION]],
) -> None:
    if command not in known:
        raise BadOption(str(path), f"there is no command {command!r}")
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known[command]:
            raise BadOption(str(path), f"`tallow {command}` has no option {key!r}")
        defaults[command][name] = _checked(path, key, value)


def _take_everywhere(
    path: Path,
    key: str,
    value: object,
    known: Mapping[str, frozenset[str]],
    defaults: dict[str, dict[str, _OPTION]],
) -> None:
    name = key.replace("-", "_")
    takers = [command for command, names in known.items() if name in names]
    if not takers:
        raise BadOption(str(path), f"no command has an option {key!r}")
    for command in takers:
        defaults[command].setdefault(name, _checked(path, key, value))


def _checked(path: Path, key: str, value: object) -> _OPTION:
    if not isinstance(value, (str, int, float, bool)):
        raise BadOption(str(path), f"{key} must be a text, a number or true/false")
    return value
