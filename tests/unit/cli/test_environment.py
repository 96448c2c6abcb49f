"""cli.environment: where a person is, where the config file is, and streams that were closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tallow_cli.cli.environment import Environment
from tests.support.streams import Stream


@pytest.mark.parametrize(
    ("stdin", "stderr", "no_input", "expected"),
    [
        (True, True, False, True),
        (True, True, True, False),
        (False, True, False, False),
        (True, False, False, False),
    ],
)
def test_a_person_is_there_if_question_and_answer_have_a_terminal(
    stdin: bool, stderr: bool, no_input: bool, expected: bool
) -> None:
    environment = Environment(Stream(terminal=stdin), Stream(), Stream(terminal=stderr), {})
    assert environment.can_ask(no_input=no_input) is expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TALLOW_CONFIG": "/etc/tallow.toml", "XDG_CONFIG_HOME": "/x"}, "/etc/tallow.toml"),
        ({"TALLOW_CONFIG": "~/t.toml"}, os.path.expanduser("~/t.toml")),
        ({"TALLOW_CONFIG": "", "XDG_CONFIG_HOME": "/x"}, "/x/tallow-transfer/config.toml"),
        ({"XDG_CONFIG_HOME": "/x"}, "/x/tallow-transfer/config.toml"),
        ({"XDG_CONFIG_HOME": ""}, os.path.expanduser("~/.config/tallow-transfer/config.toml")),
        ({}, os.path.expanduser("~/.config/tallow-transfer/config.toml")),
    ],
)
def test_the_config_file_is_where_it_is_documented(variables: dict[str, str], expected: str) -> None:
    environment = Environment(Stream(), Stream(), Stream(), variables)
    assert environment.config_path == Path(expected)
    assert environment.config_is_named is bool(variables.get("TALLOW_CONFIG"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_closed_standard_streams_are_opened_on_nothing_under_their_own_numbers() -> None:
    script = (
        "from tallow_cli.cli.environment import open_standard_streams as o; o(); o(); import os, sys; "
        "print('x', file=sys.stdout, flush=True); "
        "open(sys.argv[1], 'w').write(str([os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)]))"
        if sys.platform == "linux"
        else "from tallow_cli.cli.environment import open_standard_streams as o; o()"
    )
    command = f'exec "{sys.executable}" -c "$0" "$1" <&- >&- 2>&-'
    found = Path(os.environ.get("TMPDIR", "/tmp")) / f"tallow-streams-{os.getpid()}"
    try:
        assert subprocess.run(["sh", "-c", command, script, str(found)], check=False).returncode == 0
        if sys.platform == "linux":
            assert found.read_text() == str(["/dev/null"] * 3)
    finally:
        found.unlink(missing_ok=True)
