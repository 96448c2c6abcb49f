"""cli.app: from an argument vector to an exit code, with one sentence for whatever goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tallow_cli import __version__
from tallow_cli.cli import app as app_module
from tallow_cli.cli.app import app, run
from tallow_cli.cli.environment import Environment
from tallow_cli.errors import ExitCode
from tests.support.streams import BrokenPipe, Stream

COMMANDS = ("send", "recv", "bench", "serve")


def surroundings(tmp_path: Path, *, config: str | None = None) -> Environment:
    path = tmp_path / "tallow-transfer" / "config.toml"
    if config is not None:
        path.parent.mkdir()
        path.write_text(config)
    return Environment(Stream(), Stream(), Stream(), {"XDG_CONFIG_HOME": str(tmp_path)})


def said(environment: Environment) -> str:
    assert isinstance(environment.stderr, Stream)
    return environment.stderr.getvalue()


def test_the_version_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["--version"], surroundings(tmp_path)) == 0
    assert capsys.readouterr().out == f"tallow {__version__}\n"


def test_alone_it_shows_its_commands_and_ends_as_a_mistake(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run([], surroundings(tmp_path)) == ExitCode.USAGE
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "receive" not in out.split("Commands:")[1].split("Options:")[0].replace("Receive", "")


@pytest.mark.parametrize(
    ("words", "usage"), [(["help"], "tallow [OPTIONS]"), (["help", "send"], "tallow send")]
)
def test_help_may_be_asked_for_by_a_word(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], usage: str
) -> None:
    assert run(words, surroundings(tmp_path)) == 0
    assert f"Usage: {usage}" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_explains_itself_within_80_columns(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, flag: str
) -> None:
    assert run([command, flag], surroundings(tmp_path)) == 0
    out = capsys.readouterr().out
    assert f"Usage: tallow {command}" in out
    assert "Examples:" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "<bool>" not in out
    assert "None" not in out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["sned"], "Did you mean 'send'?"),
        (["send", "--chanels", "3", "."], "--channels"),
        (["send", "--channels"], "--channels"),
        (["send", "--channels", "many", "."], "--channels"),
        (["recv", "one", "two"], "must start with a number"),
        (
            ["recv", "4821", "acorn", "blend", "crips"],
            "word 3, 'crips', is not on the word list (did you mean crisp?)",
        ),
        (["recv", "4821-acorn-blend-crisp", "--code", "4822-acorn-blend-crisp"], "--code"),
        (["recv", ""], "it is empty"),
        (["4821-acorn-blend-crisp"], "tallow recv CODE"),
        (["“4821-acorn-blend-crisp”"], "tallow recv CODE"),
        ([__file__], "tallow send "),
    ],
)
def test_a_mistake_is_one_sentence_with_a_hint(tmp_path: Path, arguments: list[str], word: str) -> None:
    environment = surroundings(tmp_path)
    assert run(arguments, environment) == ExitCode.USAGE
    assert said(environment).startswith("tallow: ")
    assert said(environment).count("\n") == 1
    assert word in said(environment)


def test_with_json_a_mistake_is_an_event_too(tmp_path: Path) -> None:
    environment = surroundings(tmp_path)
    assert run(["send", "--nonsense", "--json"], environment) == ExitCode.USAGE
    assert isinstance(environment.stdout, Stream)
    event = json.loads(environment.stdout.getvalue())
    assert (event["event"], event["kind"], event["exit_code"]) == ("error", "usage", 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["send", ".", "--channels", "x"], "--channels: 'x' is not a whole number; give one from 2 to 4"),
        (["send", ".", "--channels", "3.5"], "--channels: '3.5' is not a whole number; give one from 2 to 4"),
        (["send", ".", "--channels", "9"], "--channels: 9 is not between 2 and 4"),
        (["send", ".", "--mode", "fast"], "--mode: 'fast' is not one of aggressive, balanced, conservative"),
        (["recv", "1-acid-acid-acid", "--on-conflict", "x"], "--on-conflict: 'x' is not one of refuse, "),
        (["send", ".", "--engine", "steam"], "--engine: 'steam' is not one of aiortc, turbo"),
        (["send", ".", "--timeout", "soon"], "--timeout: 'soon' is not a time; write it like 90, 90s, 10m or 1h30m"),
        (["send", ".", "--timeout", "-1"], "--timeout: '-1' is not a time; write it like 90, 90s, 10m or 1h30m"),
        (["send", ".", "--limit", "20M"], "--limit: '20M' may be bits or bytes; write it like 20Mbit or 20MB"),
        (["send", ".", "--limit", "0"], "--limit: '0' is no rate: it must be more than 0; write it like 20Mbit"),
        (["send", ".", "--buffer-high", "16Mb"], "--buffer-high: '16Mb' counts bits, and a size is in bytes"),
        (["recv", "1-acid-acid-acid", "--output=~nobody-at-all/x"], "--output: ~nobody-at-all stands for"),
        (["send", ".", "--server", "x", "--local"], "--local: it contradicts --server"),
        (["bench", "--runs", "x"], "--runs: 'x' is not a whole number; give one from 1 to 1,000"),
        (["bench", "--runs", "0"], "--runs: 0 is not between 1 and 1,000"),
        (["bench", "--fail-below", "-1"], "--fail-below: '-1' is no rate to reach; write it like 80"),
        (["bench", "--fail-below", "nan"], "--fail-below: 'nan' is no rate to reach"),
        (["bench", "--fail-below", "80M"], "--fail-below: '80M' may be bits or bytes"),
        (["bench", "--profile", "wan"], "--profile: 'wan' is not one of lan-ethernet, lan-wifi, internet"),
        (["bench", "--compare", "x"], "--compare: 'x' is not one of aiortc, turbo, bare"),
        (["serve", "--port", "x"], "--port: a whole number from 0 to 65,535 is needed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_a_bad_value_gets_a_sentence_of_ours(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    environment = surroundings(tmp_path)
    assert run(arguments, environment) == ExitCode.USAGE
    assert said(environment).startswith(f"tallow: {sentence}")
    for words_of_a_library in ("Input should", "Value error", "Invalid value", "parse"):
        assert words_of_a_library not in said(environment)


@pytest.mark.parametrize(
    ("config", "arguments", "problem"),
    [
        ('[recv]\non-conflict = "foo"\n', ["recv", "1-acid-acid-acid"], "on-conflict: 'foo' is not one of"),
        (
            '[recv]\non-conflict = "foo"\n',
            ["receive", "1-acid-acid-acid"],
            "on-conflict: 'foo' is not one of",
        ),
        ("channels = 9\n", ["send", "."], "channels: 9 is not between 2 and 4"),
        ("channels = 2.5\n", ["send", "."], "channels: '2.5' is not a whole number"),
        ('limit = ""\n', ["send", "."], "limit: it is empty"),
        ('server = "ftp://x"\n', ["send", "."], "server: ftp:// is not a signaling address"),
        (
            '[recv]\noutput = "~nobody-at-all"\n',
            ["recv", "1-acid-acid-acid"],
            "output: ~nobody-at-all stands for",
        ),
        ("[send]\njson = 1\n", ["send", "."], "[send] json must be true or false"),
    ],
)
def test_a_bad_value_of_the_config_file_is_blamed_on_it(
    tmp_path: Path, config: str, arguments: list[str], problem: str
) -> None:
    environment = surroundings(tmp_path, config=config)
    assert run(arguments, environment) == ExitCode.USAGE
    assert said(environment).startswith(f"tallow: {tmp_path}/tallow-transfer/config.toml: {problem}")


def test_a_bad_value_of_a_variable_is_blamed_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLOW_SERVER", "ftp://x")
    environment = surroundings(tmp_path)
    assert run(["send", "."], environment) == ExitCode.USAGE
    assert said(environment).startswith("tallow: TALLOW_SERVER: ftp:// is not a signaling address")


def test_a_server_nobody_typed_is_said_to_be_named_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLOW_SERVER", "ws://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "tallow_cli", "send", "--text", "x", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.SIGNALING_UNREACHABLE
    assert done.stderr.endswith("The server is named in TALLOW_SERVER; --local does without it.\n")


@pytest.mark.parametrize("home", ["/dev/null", "/nonexistent", ""])
def test_a_home_that_is_none_is_no_config(home: str) -> None:
    environ = {
        key: value for key, value in os.environ.items() if key not in ("TALLOW_CONFIG", "XDG_CONFIG_HOME")
    }
    done = subprocess.run(
        [sys.executable, "-m", "tallow_cli", "--version"],
        env={**environ, "HOME": home},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["-V"], ["send", "--help"]])
def test_a_mistake_in_the_config_file_does_not_hide_the_help(tmp_path: Path, arguments: list[str]) -> None:
    environment = surroundings(tmp_path, config="colour = [")
    assert run(arguments, environment) == (ExitCode.DONE if arguments else ExitCode.USAGE)


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "--text", ""],
        ["send", "--code", "", "x"],
        ["send", "--server", "", "x"],
        ["send", "--limit", "", "x"],
        ["send", "--engine=", "x"],
        ["recv", "1-acid-acid-acid", "--output", ""],
        ["recv", "1-acid-acid-acid", "-o", ""],
        ["bench", "--profile", ""],
        ["bench", "--link", ""],
    ],
    ids=" ".join,
)
def test_an_empty_value_is_refused_for_every_option_alike(tmp_path: Path, arguments: list[str]) -> None:
    environment = surroundings(tmp_path)
    assert run(arguments, environment) == ExitCode.USAGE
    assert "it is empty; give it a value, or leave it out" in said(environment)


def test_an_option_given_twice_counts_as_its_last_one_says(tmp_path: Path) -> None:
    environment = surroundings(tmp_path)
    assert run(["send", ".", "--channels", "x", "--channels", "7"], environment) == ExitCode.USAGE
    assert "7 is not between" in said(environment)


def test_an_environment_variable_that_is_empty_counts_as_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TALLOW_CODE", "TALLOW_SERVER"):
        monkeypatch.setenv(variable, "")
    environment = surroundings(tmp_path)
    assert run(["recv", "--no-input"], environment) == ExitCode.USAGE
    assert "The code is needed" in said(environment)


def test_a_code_from_the_environment_is_blamed_on_it_and_its_words_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLOW_CODE", "4821-acorn-blend-crips")
    environment = surroundings(tmp_path)
    assert run(["recv", "--yes"], environment) == ExitCode.USAGE
    assert said(environment).startswith("tallow: What TALLOW_CODE holds is not a Tallow code: word 3 is not")
    assert "cri" not in said(environment).replace("acorn-blend-crisp.", "")


def test_a_mistake_in_the_config_file_is_named(tmp_path: Path) -> None:
    environment = surroundings(tmp_path, config="colour = true\n")
    assert run(["send", "."], environment) == ExitCode.USAGE
    assert "colour" in said(environment)


def test_a_default_of_the_config_file_is_below_the_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = surroundings(tmp_path, config='[send]\nchannels = 9\nmode = "aggressive"\n')
    assert run(["send", "--channels", "8", "."], environment) == ExitCode.USAGE
    shown = capsys.readouterr()
    assert "8 is not between 2 and 4" in said(environment) + shown.err


def test_file_names_in_errors_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    environment = surroundings(tmp_path)
    assert run(["send", str(tmp_path / "no\x1b[2Jsuch")], environment) == ExitCode.LOCAL_FILE
    assert "\x1b" not in said(environment)
    assert "\\x1b[2J" in said(environment)


def test_an_unforeseen_error_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(app_module, "load_defaults", broken)
    environment = surroundings(tmp_path)
    assert run(["send", "."], environment) == ExitCode.UNEXPECTED
    assert "ZeroDivisionError: oops" in said(environment)
    debugging = Environment(Stream(), Stream(), Stream(), {"TALLOW_DEBUG": "1"})
    with pytest.raises(ZeroDivisionError):
        run(["send", "."], debugging)


def test_ctrl_c_before_the_session_is_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app_module, "load_defaults", interrupted)
    environment = surroundings(tmp_path)
    assert run(["send", "."], environment) == ExitCode.INTERRUPTED
    assert said(environment) == "tallow: Interrupted.\n"


def test_a_reader_that_has_gone_is_no_reason_to_fail_otherwise(tmp_path: Path) -> None:
    environment = Environment(BrokenPipe(), BrokenPipe(), BrokenPipe(), {"XDG_CONFIG_HOME": str(tmp_path)})
    assert run(["send", "--nonsense", "--json"], environment) == ExitCode.USAGE


def test_help_pays_for_neither_webrtc_nor_websockets_nor_rich() -> None:
    heavy = ("aiortc", "aioice", "websockets", "zeroconf", "cryptography", "rich", "asyncio")
    script = (
        "import sys; from tallow_cli.cli.app import run; run(['--help']); "
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stderr.strip() == "[]"


def test_the_shell_completes_commands_options_and_the_words_of_a_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def complete(line: str, position: int) -> list[str]:
        monkeypatch.setenv("_TALLOW_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(position))
        with pytest.raises(SystemExit):
            app(args=[], standalone_mode=False, prog_name="tallow")
        return capsys.readouterr().out.split()

    assert complete("tallow se", 1) == ["send", "serve"]
    assert complete("tallow send --mo", 2) == ["--mode"]
    assert complete("tallow send --mode b", 3) == ["balanced"]
    assert complete("tallow bench --engine ", 3) == ["aiortc", "turbo"]
    assert complete("tallow bench --profile lan", 3) == ["lan-ethernet", "lan-wifi"]
    assert complete("tallow bench --compare b", 3) == ["bare"]
    assert complete("tallow recv --on-conflict ", 3) == ["refuse", "rename", "skip", "update", "overwrite"]
    assert complete("tallow recv 12-acorn-ble", 2) == ["12-acorn-bleak", "12-acorn-blend", "12-acorn-bless"]
