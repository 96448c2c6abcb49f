"""The config file: a TOML table of option defaults per command, below flags and environment variables.

server = "ws://files.example:8765"     # for every command that has --server
[recv]
output = "~/Downloads"
on-conflict = "rename"
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from enum import Enum, auto
from pathlib import Path

from tallow_cli.errors import BadOption

_OPTION = str | bool | list[str]


class OptionKind(Enum):
    """What an option takes: nothing, a value, or a value each time it is given."""

    FLAG = auto()
    VALUE = auto()
    LIST = auto()


def load_defaults(
    path: Path, known_options: Callable[[], Mapping[str, Mapping[str, OptionKind]]], *, named: bool = False
) -> dict[str, dict[str, _OPTION]]:
    """Read `path` into `{command: {parameter: value}}`, Typer's default map. Numbers become texts, as if typed.

    `known_options` names each command's options (`buffer_high`) and what they take; it is asked only if there is a
    file, since Typer takes long to answer. Keys may be written with dashes.
    `named`: somebody named this file, so it must be there; the usual one may be missing or out of reach (no
    home directory, somebody else's home), which is as good as missing.
    Raises BadOption for a file that is not TOML or that names an option no command has.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        if not named:
            return {}
        raise BadOption("TALLOW_CONFIG", f"{path} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BadOption(str(path), "the config file is not UTF-8 text") from error
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadOption(str(path), f"the config file is not TOML ({error})") from error
    options = known_options()
    defaults: dict[str, dict[str, _OPTION]] = {command: {} for command in options}
    for key, value in table.items():
        if not isinstance(value, dict):
            _take_everywhere(path, key, value, options, defaults)
    for key, value in table.items():
        if isinstance(value, dict):
            _take_table(path, key, value, options, defaults)
    return defaults


def _take_table(
    path: Path,
    command: str,
    table: Mapping[str, object],
    options: Mapping[str, Mapping[str, OptionKind]],
    defaults: dict[str, dict[str, _OPTION]],
) -> None:
    if command not in options:
        raise BadOption(str(path), f"there is no command {command!r}")
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in options[command]:
            raise BadOption(str(path), f"`tallow {command}` has no option {key!r}")
        defaults[command][name] = _checked(path, f"[{command}] {key}", value, kind=options[command][name])


def _take_everywhere(
    path: Path,
    key: str,
    value: object,
    options: Mapping[str, Mapping[str, OptionKind]],
    defaults: dict[str, dict[str, _OPTION]],
) -> None:
    name = key.replace("-", "_")
    takers = [command for command, names in options.items() if name in names]
    if not takers:
        raise BadOption(str(path), f"no command has an option {key!r}")
    for command in takers:
        defaults[command][name] = _checked(path, key, value, kind=options[command][name])


def _checked(path: Path, key: str, value: object, *, kind: OptionKind) -> _OPTION:
    if kind is OptionKind.FLAG:
        if not isinstance(value, bool):
            raise BadOption(str(path), f"{key} must be true or false")
        return value
    if kind is OptionKind.LIST:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values):
            raise BadOption(str(path), f"{key} must be a text or a list of texts")
        return [str(each) for each in values]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadOption(str(path), f"{key} must be a text or a number")
    return str(value)
