"""What a receiver can know beforehand it says beforehand: the sender hears nothing of its slips and waits on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.processes import Shell, Tallow
from tests.support.terminal import CTRL_D, terminal

pytestmark = pytest.mark.e2e

CODE = "4821-acorn-blend-crisp"
ASKED_AGAIN = "A code looks like 4821-acorn-blend-crisp.\r\nCode: "


@pytest.fixture
def sender(sh: Shell) -> Tallow:
    source = sh.directory / "out" / "report.txt"
    source.parent.mkdir()
    source.write_text("new")
    started = sh.start("send", source, "--json", "--code", CODE)
    started.wait_event("waiting")
    return started


def has_heard_nothing(sender: Tallow) -> None:
    assert [event["event"] for event in sender.events()] == ["code", "waiting"], sender.report()


def receives(sh: Shell, sender: Tallow, *arguments: str | Path) -> None:
    receiver = sh.start("recv", *arguments)
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()


def test_slips_of_a_script_leave_the_code_unspent(sh: Shell, sender: Tallow) -> None:
    (sh.directory / "taken").write_text("mine")
    (sh.directory / "file").write_text("a file")
    slips: list[tuple[list[str], int, str]] = [
        (
            [CODE],
            2,
            "Your consent to receive what is offered is needed, and there is nobody to ask here. Pass --yes.",
        ),
        ([CODE, "--json"], 2, "--yes"),
        ([CODE, "--yes", "--no-input", "-o", ""], 2, "--output: it is empty"),
        ([CODE, "--yes", "-o", "no/such/name"], 10, "no/such does not exist"),
        ([CODE, "--yes", "-o", "file/below"], 10, "file is not a directory"),
        ([CODE, "--yes", "-o", "file/"], 10, "file is not a directory"),
        ([CODE, "--yes", "-o", "taken"], 10, "taken exists and is not overwritten"),
        (
            [CODE, "--yes", "-o", "taken", "--on-conflict", "refuse"],
            10,
            "taken exists and is not overwritten",
        ),
        ([CODE, "--yes", "--json", "-o", "-"], 2, "standard output already carries the data"),
        ([CODE, "--yes", "-o", "~nobody-at-all/x"], 2, "--output: ~nobody-at-all"),
        ([CODE, "--yes", "--on-conflict", "maybe"], 2, "--on-conflict: 'maybe'"),
        (["4821-acorn-blend-crips", "--yes"], 2, "did you mean crisp"),
        (["0" + CODE, "--yes"], 2, "starts with 0"),
    ]
    running = [(sh.start("recv", *arguments), code, words) for arguments, code, words in slips]
    for receiver, code, words in running:
        assert receiver.wait() == code, receiver.report()
        assert words in receiver.error_text, receiver.report()
        assert "Traceback" not in receiver.error_text
    has_heard_nothing(sender)
    assert (sh.directory / "taken").read_text() == "mine"
    receives(sh, sender, f"$ tallow recv “{CODE}”.", "--yes", "-o", "new/sub/")
    assert (sh.directory / "new" / "sub" / "report.txt").read_text() == "new"


def test_slips_at_a_terminal_leave_the_code_unspent(sh: Shell, sender: Tallow) -> None:
    with terminal("recv", CODE, "-o", "-", environment=sh.environment, cwd=sh.directory) as screen:
        assert screen.wait() == 2
        assert "standard output is a terminal" in screen.text
    with terminal("recv", CODE, "-o", "no/such/name", environment=sh.environment, cwd=sh.directory) as screen:
        assert screen.wait() == 10
    with terminal("recv", "-o", "no/such/name", environment=sh.environment, cwd=sh.directory) as screen:
        assert screen.wait() == 10  # before the code is asked for
        assert "Code:" not in screen.text
    with terminal("recv", environment=sh.environment, cwd=sh.directory) as screen:
        screen.expect("Code: ")
        screen.type("4821 acorn blend crips\n")
        assert "did you mean crisp?" in screen.expect(ASKED_AGAIN)
        screen.type(CTRL_D)
        assert screen.wait() == 2
    has_heard_nothing(sender)
    (sh.directory / "taken").write_text("mine")
    with terminal("recv", "-o", "taken", environment=sh.environment, cwd=sh.directory) as screen:
        screen.expect("Code: ")
        screen.type("4821 acorn blend crips\n")
        screen.expect(ASKED_AGAIN)
        screen.type(f"tallow recv {CODE}\n")
        screen.expect("[r/o/N] ")  # a person is asked about it
        screen.type(CTRL_D)
        assert screen.wait() == 7


def test_a_receiver_that_is_killed_at_the_question_leaves_the_code_to_the_next(
    sh: Shell, sender: Tallow
) -> None:
    with terminal("recv", CODE, environment=sh.environment, cwd=sh.directory) as screen:
        screen.expect("Receive this?")
        screen.process.kill()
    told = sender.wait_event("notice")
    assert "was lost before it had accepted" in told["message"]
    receives(sh, sender, CODE, "--yes", "-o", "copy.txt")
    assert (sh.directory / "copy.txt").read_text() == "new"


def test_a_directory_that_may_not_be_written_is_found_before(sh: Shell, sender: Tallow) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    target = sh.directory / "locked"
    target.mkdir(mode=0o555)
    receiver = sh.start("recv", CODE, "--yes", "-o", target)
    assert receiver.wait() == 10, receiver.report()
    assert "no permission" in receiver.error_text
    has_heard_nothing(sender)


def test_several_arguments_are_one_code_and_a_pasted_line_brings_its_server(
    sh: Shell, sender: Tallow
) -> None:
    receives(sh, sender, "4821", "acorn", "Blend", "crisp", "--yes", "--output=~/copy.txt")
    assert (Path(sh.environment["HOME"]) / "copy.txt").read_text() == "new"


@pytest.fixture(autouse=True)
def home(sh: Shell) -> None:
    directory = sh.directory / "home"
    directory.mkdir()
    sh.environment["HOME"] = str(directory)


def test_the_server_of_a_pasted_line_is_used(sh: Shell) -> None:
    server = sh.start("serve", "--port", "0")
    while not any("Listening" in line for line in server.err + server.out):
        assert server.process.poll() is None, server.report()
    line = next(line for line in server.err + server.out if "Listening" in line)
    url = next(word for word in line.split() if word.startswith("ws://")).rstrip(".")
    sender = sh.start(
        "send", "--text", "hello", "--json", "--code", CODE, "--server", url.replace("ws", "http", 1)
    )
    sender.wait_event("waiting")
    elsewhere = {"XDG_RUNTIME_DIR": str(sh.directory / "home"), "TALLOW_SERVER": "ws://127.0.0.1:9"}
    receiver = sh.start("recv", f"tallow recv {CODE} --server {url}", "--yes", **elsewhere)
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    assert receiver.out == ["hello"]
    lost = sh.start("recv", CODE, "--yes", "--timeout", "1s", **elsewhere)
    assert lost.wait() == 3
    assert "named in TALLOW_SERVER; --local does without it" in lost.error_text
    local = sh.start("recv", CODE, "--yes", "--local", "--timeout", "1s", **elsewhere)
    assert local.wait() == 4, local.report()
    assert "TALLOW_SERVER" not in local.error_text


def test_a_text_from_standard_input_and_a_stream_with_a_name(sh: Shell) -> None:
    (sh.directory / "said").write_text("see you at eight\n")
    for options, received in ((["--text", "-"], None), (["-", "--name", "note.txt"], "note.txt")):
        with (sh.directory / "said").open("rb") as stdin:
            sender = sh.start("send", *options, "--json", stdin=stdin)
        receiver = sh.start("recv", sender.wait_event("code")["code"], "--yes")
        assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
        if received is None:
            assert receiver.out == ["see you at eight"]
        else:
            assert (sh.directory / received).read_text() == "see you at eight\n"
