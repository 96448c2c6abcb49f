"""What a process says that never got as far as a renderer."""

from __future__ import annotations

import json
import signal

import pytest

from tallow_cli.cli.last_words import EXIT_CODES, cause, error_line, say_at_once
from tallow_cli.errors import ExitCode, Interrupted, ServerUnreachable, Terminated


def test_a_signal_is_an_error_of_its_own() -> None:
    assert type(cause(signal.SIGINT)) is Interrupted
    for number in (signal.SIGTERM, signal.SIGHUP):
        assert type(cause(number)) is Terminated
    assert EXIT_CODES[signal.SIGHUP] == ExitCode.TERMINATED


def test_the_line_is_an_error_event_like_any_other() -> None:
    error = ServerUnreachable("ws://example.net", "refused")
    line = error_line(error)
    assert line.endswith("\n")
    event = json.loads(line)
    assert event["event"] == "error"
    assert event["kind"] == error.kind
    assert event["message"] == error.sentence
    assert event["exit_code"] == int(error.exit_code)
    assert event["retryable"] is True


@pytest.mark.parametrize("arguments", [["send", "a"], ["send", "a", "--json"]])
def test_it_is_said_to_people_and_to_scripts_that_asked(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    say_at_once(Interrupted(), arguments)
    out, err = capfd.readouterr()
    assert err == f"tallow: {Interrupted().sentence}\n"
    assert bool(out) is ("--json" in arguments)
