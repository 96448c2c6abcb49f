"""signaling.options: one program under two names."""

from __future__ import annotations

import pytest

from signaling import options, protocol
from tallow_cli.cli import serve


def test_serve_is_tallow_signaling() -> None:
    assert serve.command is options.command


def test_the_default_port_is_the_protocols() -> None:
    assert options.DEFAULT_PORT == protocol.DEFAULT_PORT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "x"], "tallow-signaling: --port: a whole number from 0 to 65,535 is needed\n"),
        (["--port", "65536"], "tallow-signaling: --port: a whole number from 0 to 65,535 is needed\n"),
        (
            ["--stun-port", "7x"],
            "tallow-signaling: --stun-port: '7x' is neither a port from 1 to 65,535 nor off\n",
        ),
        (
            ["--stun-port", "0"],
            "tallow-signaling: --stun-port: '0' is neither a port from 1 to 65,535 nor off\n",
        ),
        (["--prot", "1"], "tallow-signaling: No such option: --prot"),
    ],
)
def test_a_bad_option_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert options.run_command_line(arguments) == 2
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("argument", ["--version", "-V", "--help", "-h"])
def test_version_and_help_start_no_server(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert options.run_command_line([argument]) == 0
    assert "tallow" in capsys.readouterr().out
