"""A person at a terminal: questions, Ctrl-C at every stage, and nothing raw on the screen."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.processes import Shell, Tallow

if sys.platform == "win32":
    pytest.skip("no pseudo-terminals", allow_module_level=True)

from tests.support.terminal import CTRL_C, CTRL_D, Terminal, terminal
from tests.support.tmux import Tmux, tmux

pytestmark = pytest.mark.e2e

Opener = Callable[..., AbstractContextManager[Terminal]]


@pytest.fixture
def person(sh: Shell) -> Opener:
    def opened(*arguments: str | Path, **more: object) -> AbstractContextManager[Terminal]:
        variables = {key: value for key, value in sh.environment.items() if key not in ("NO_COLOR", "TERM")}
        return terminal(*arguments, environment=variables, cwd=sh.directory, **more)  # type: ignore[arg-type]

    return opened


@pytest.fixture
def big(sh: Shell) -> Path:
    path = sh.directory / "big.bin"
    with path.open("wb") as file:
        file.write(b"\x5a" * 60_000_000)  # holes would not travel
    return path


def offering(sh: Shell, *arguments: str | Path) -> tuple[Tallow, str]:
    sender = sh.start("send", *arguments, "--json")
    return sender, sender.wait_event("code")["code"]


@pytest.fixture
def small(sh: Shell) -> Path:
    path = sh.directory / "out" / "report.txt"
    path.parent.mkdir()
    path.write_text("new")
    return path


def test_ctrl_c_at_the_code_ends_with_a_word_on_a_new_line(person: Opener) -> None:
    with person("recv") as screen:
        screen.expect("Code: ")
        # CPython's readline does not see a signal that comes between its prompt and its select(), until a key is hit.
        time.sleep(0.3)
        screen.type(CTRL_C)
        assert screen.wait() == 130
        assert re.search(r"\r\ntallow: Interrupted\.\r\n$", screen.text)


def test_the_end_of_input_at_the_code_says_what_is_missing(person: Opener) -> None:
    with person("recv") as screen:
        screen.expect("Code: ")
        screen.type(CTRL_D)
        assert screen.wait() == 2
        assert "TALLOW_CODE" in screen.text


def test_the_code_is_completed_and_the_offer_accepted(sh: Shell, small: Path, person: Opener) -> None:
    sender, code = offering(sh, small)
    with person("recv") as screen:
        screen.expect("Code: ")
        screen.type(code[:-1] + "\t\t")
        screen.type(code[-1] if not screen.text.endswith(code) else "")
        screen.type("\x15" + code + "\n")  # whatever completion made of it
        screen.expect("Receive this? [y/N] ")
        screen.type("y\n")
        assert screen.wait() == 0
    assert sender.wait() == 0
    assert (sh.directory / "report.txt").read_text() == "new"


@pytest.mark.parametrize(
    ("keys", "exit_code", "told"),
    [("n\n", 7, "does not want"), (CTRL_D, 7, "does not want"), (CTRL_C, 130, "cancelled")],
)
def test_leaving_at_the_question_is_told_to_the_sender(
    sh: Shell, small: Path, person: Opener, keys: str, exit_code: int, told: str
) -> None:
    sender, code = offering(sh, small)
    with person("recv", code) as screen:
        screen.expect("Receive this? [y/N] ")
        screen.type(keys)
        assert screen.wait() == exit_code
    assert sender.wait() == 7
    assert told in sender.events("error")[0]["message"]
    assert not (sh.directory / "report.txt").exists()


def test_a_sender_that_leaves_at_the_question_ends_the_receiver(
    sh: Shell, small: Path, person: Opener
) -> None:
    sender, code = offering(sh, small)
    with person("recv", code) as screen:
        screen.expect("Receive this? [y/N] ")
        sender.process.terminate()
        assert screen.wait() == 7
        assert "[y/N] \r\n" in screen.text  # the next words begin a line
        assert "cancelled the transfer" in screen.text


def test_overwriting_lists_what_is_replaced_inside(sh: Shell, person: Opener) -> None:
    for place, text in ((sh.directory / "out", "new"), (sh.directory, "old")):
        (place / "tree" / "deep").mkdir(parents=True)
        (place / "tree" / "deep" / "a.txt").write_text(text)
    sender, code = offering(sh, sh.directory / "out" / "tree")
    with person("recv", code) as screen:
        screen.expect("[r/o/N] ")
        screen.type("o\n")
        assert "would be replaced: tree/deep/a.txt" in screen.expect("Replace this too? [y/N] ")
        screen.type("y\n")
        assert screen.wait() == 0
    assert sender.wait() == 0
    assert (sh.directory / "tree" / "deep" / "a.txt").read_text() == "new"


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_the_middle_clears_the_display_and_gives_the_terminal_back(
    sh: Shell, big: Path, person: Opener, times: int
) -> None:
    (sh.directory / "in").mkdir()
    sender, code = offering(sh, big, "--limit", "20Mbit")
    with person(shell=f"trap : INT; $TALLOW recv {code} --yes -o in; echo rc=$?; stty -a") as screen:
        screen.expect("Receiving")
        screen.type(CTRL_C * times)
        shown, _, _ = screen.expect("rc=130").partition("rc=130")  # stty names ^C, too
        assert "^C" not in shown
        screen.wait()
        settings = screen.text.split("rc=130")[1]
        assert " echoctl" in settings
        assert " echo " in settings
        assert "\x1b[?25h" in screen.text  # the cursor is shown
    assert sender.wait() in (7, 8)  # told, or left at once


FRAME = re.compile(r"[+╭][-─] Receiving|^Receiving [·-] \d", re.M)


@pytest.fixture(params=["utf-8", "ascii"])
def window(request: pytest.FixtureRequest, sh: Shell) -> Iterator[Tmux]:
    variables = {key: value for key, value in sh.environment.items() if key != "NO_COLOR"}
    variables |= {"TERM": "screen-256color", "PYTHONIOENCODING": request.param}
    variables["TALLOW"] = f"{sys.executable} -m tallow_cli"
    with tmux(variables, sh.directory) as opened:
        yield opened


def test_the_display_is_one_whatever_becomes_of_the_window(sh: Shell, big: Path, window: Tmux) -> None:
    (sh.directory / "in").mkdir()
    sender, code = offering(sh, big, "--limit", "20Mbit")
    window.type(f"$TALLOW recv {code} --yes -o in", "Enter")
    window.until(lambda screen: "Channels" in screen and "Mbit/s" in screen)
    for columns in (80, 60, 24, 120):
        window.resize(columns)
        window.until(lambda screen, columns=columns: ("Channels" in screen) == (columns >= 60))  # type: ignore[misc]
        time.sleep(0.5)  # two frames more
        screen = window.until(lambda screen: len(FRAME.findall(screen)) == 1)  # not in the middle of one
        assert not re.search(r"\\x|\\u", screen), screen
    # Each narrowing may push rows of the frame before it into the history, which nobody can take back.
    assert len(FRAME.findall(window.history)) <= 1 + 3, window.history
    window.press("C-z")
    screen = window.until(lambda screen: "Stopped" in screen)
    assert window.cursor_is_shown
    assert not FRAME.search(screen), screen
    window.type("bg", "Enter")  # it goes on, and leaves the screen to others
    time.sleep(0.8)
    assert not FRAME.search(window.screen), window.screen
    window.type("fg", "Enter")
    window.until(lambda screen: len(FRAME.findall(screen)) == 1)
    assert not window.cursor_is_shown
    window.press("C-c")
    screen = window.until(lambda screen: "Interrupted" in screen and screen.rstrip().endswith("$"))
    assert not FRAME.search(screen), screen
    assert window.cursor_is_shown
    assert sender.wait() == 7


def test_ctrl_c_works_while_the_reader_of_standard_output_does_not_read(
    sh: Shell, big: Path, person: Opener
) -> None:
    sender, code = offering(sh, big)
    with person(
        shell=f"trap : INT; (trap : INT; $TALLOW recv {code} --yes -o -; echo rc=$? >&2) | (trap '' INT; sleep 20)"
    ) as screen:
        screen.expect("Receiving")
        screen.type(CTRL_C)
        screen.expect("rc=130", timeout_s=5)
    assert sender.wait() == 7


def test_a_text_cannot_write_escape_sequences_to_the_terminal(sh: Shell, person: Opener) -> None:
    sender, code = offering(sh, "--text", "hello\x1b]0;owned\x07\x1b[31m")
    with person("recv", code) as screen:
        assert screen.wait() == 0
        assert "hello\\x1b]0;owned\\x07\\x1b[31m" in screen.text
        assert "\x1b]0" not in screen.text
    assert sender.wait() == 0


def test_the_code_alone_goes_to_a_pipe_and_a_reader_that_leaves_ends_nothing(
    sh: Shell, small: Path, person: Opener
) -> None:
    with person(shell=f"$TALLOW send {small} | head -1 > code; echo done") as screen:
        screen.expect("Waiting for the receiver")
        code = (sh.directory / "code").read_text().strip()
        receiver = sh.start("recv", code, "--yes", "-o", sh.directory / "copy.txt")
        assert receiver.wait() == 0, receiver.report()
        screen.expect("done")
        assert screen.wait() == 0
    assert (sh.directory / "copy.txt").read_text() == "new"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_and_dumb_terminals_are_respected(
    sh: Shell, small: Path, person: Opener, variable: str, value: str
) -> None:
    sh.environment[variable] = value
    sender, code = offering(sh, small)
    variables = {**sh.environment, variable: value}
    with terminal("recv", code, "--yes", environment=variables, cwd=sh.directory) as screen:
        assert screen.wait() == 0
        colours = re.findall(r"\x1b\[[0-9;]*m", screen.text)
        assert not any(re.search(r"\b(3[0-8]|9[0-7])\b", colour) for colour in colours)
        if variable == "TERM":
            assert "\x1b" not in screen.text
    assert sender.wait() == 0


def test_a_receiver_may_be_started_before_its_sender(sh: Shell, small: Path) -> None:
    server = sh.start("serve", "--port", "0")
    url = wait_for_url(server)
    for variables in ({"TALLOW_SERVER": url}, {}):
        common = {"TALLOW_CODE": "4821-acorn-blend-crisp", **variables}
        receiver = sh.start(
            "recv", "--yes", "--json", "-o", sh.directory / "copy.txt", "--on-conflict", "overwrite", **common
        )
        assert receiver.wait_event("waiting")["what"] == "for the sender"
        sender = sh.start("send", small, "--json", **common)
        assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()


def wait_for_url(server: Tallow) -> str:
    while True:
        for line in [*server.err, *server.out]:
            if found := re.search(r"ws://[^\s/]+:\d+", line):
                return found[0]
        assert server.process.poll() is None, server.report()


@pytest.fixture(params=["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def closed_streams(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_closed_standard_streams_are_no_reason_to_crash(sh: Shell, small: Path, closed_streams: str) -> None:
    done = subprocess.run(
        [
            "sh",
            "-c",
            f'exec "$0" -m tallow_cli send "$1" --timeout 0.5 {closed_streams}',
            sys.executable,
            str(small),
        ],
        env=sh.environment,
        capture_output=True,
        text=True,
        cwd=sh.directory,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
