"""Nothing that shows output can stop a transfer, or keep a process alive that was told to end."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Shell, Tallow

if sys.platform == "win32":
    pytest.skip("pipes and terminals of POSIX", allow_module_level=True)

from tests.support.terminal import terminal

pytestmark = pytest.mark.e2e

ENDS_S = 5.0  # after a signal


@dataclass
class Unread:
    """The reading end of a pipe that holds one page, and that nobody reads."""

    reader: int
    writer: int

    def lines(self) -> list[dict[str, Any]]:
        """What comes until the other end is closed: the reader was merely slow."""
        with open(self.reader, "rb", closefd=False) as file:
            return [json.loads(line) for line in file]


@contextmanager
def unread() -> Iterator[Unread]:
    reader, writer = os.pipe()
    if sys.platform == "linux":
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    pipe = Unread(reader, writer)
    try:
        yield pipe
    finally:
        os.close(reader)


def start(sh: Shell, pipe: Unread, *arguments: str | Path) -> Tallow:
    with open(pipe.writer, "wb") as stdout:
        return sh.start(*arguments, stdout=stdout)


@pytest.fixture
def payload(sh: Shell) -> Path:
    """Many small files and a large one: enough `file` events to fill any pipe."""
    tree = sh.directory / "out" / "tree"
    tree.mkdir(parents=True)
    for number in range(300):
        (tree / f"{number}.txt").write_text(str(number))
    (tree / "big.bin").write_bytes(os.urandom(3_000_000))
    return tree


def event_names(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


def test_json_that_nobody_reads_stops_neither_end_and_is_whole_for_a_slow_reader(
    sh: Shell, payload: Path
) -> None:
    with unread() as sends, unread() as receives:
        code = "4821-acorn-blend-crisp"
        sender = start(sh, sends, "send", payload, "--json", "--code", code, "--limit", "1MB")
        receiver = start(sh, receives, "recv", code, "--yes", "--json", "-o", sh.directory / "in")
        arrived = sh.directory / "in" / "tree" / "big.bin"
        deadline = time.monotonic() + 40
        while not arrived.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert arrived.exists(), sender.report() + receiver.report()
        time.sleep(0.5)  # long enough to end, if they did not wait for their readers
        assert (sender.process.poll(), receiver.process.poll()) == (None, None)
        for name, process, pipe in (("receiver", receiver, receives), ("sender", sender, sends)):
            lines = pipe.lines()
            assert process.wait() == 0, process.report()
            names = event_names(lines)
            assert names[-1] == "done", name
            assert names.count("file") == 301
            assert names.count("offer") == names.count("connected") == names.count("done") == 1
            assert names.count("progress") < 20  # thinned: they came five times a second
            assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reader_that_never_reads_again_does_not_keep_a_stopped_process_alive(
    sh: Shell, payload: Path, number: signal.Signals
) -> None:
    with unread() as sends, unread() as receives:
        code = "4821-acorn-blend-crisp"
        sender = start(sh, sends, "send", payload, "--json", "--code", code, "--limit", "100KB")
        receiver = start(sh, receives, "recv", code, "--yes", "--json", "-o", sh.directory / "in")
        deadline = time.monotonic() + 30
        while not any((sh.directory / "in").rglob("*.txt")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)  # the pipes are full by now
        began = time.monotonic()
        sender.process.send_signal(number)
        receiver.process.send_signal(number)
        assert sender.wait() == receiver.wait() == 128 + number
        assert time.monotonic() - began < ENDS_S


def test_a_reader_of_json_that_goes_away_ends_nothing(sh: Shell, payload: Path) -> None:
    with unread() as sends:
        sender = start(sh, sends, "send", payload, "--json", "--code", "4821-acorn-blend-crisp")
        os.read(sends.reader, 1)
    receiver = sh.start("recv", "4821-acorn-blend-crisp", "--yes", "--json", "-o", sh.directory / "in")
    assert receiver.wait() == 0, receiver.report()
    assert sender.wait() == 0, sender.report()


def test_results_that_cannot_be_written_are_an_error_after_a_transfer_that_went_on(
    sh: Shell, payload: Path
) -> None:
    sender = sh.start("send", payload, "--json")
    code = sender.wait_event("code")["code"]
    with open("/dev/full", "wb") as full:
        receiver = sh.start("recv", code, "--yes", "--json", "-o", sh.directory / "in", stdout=full)
    assert receiver.wait() == 10, receiver.report()
    assert "No space left on device" in receiver.error_text
    assert sender.wait() in (0, 4, 7), sender.report()  # it may fail before they were connected


@pytest.mark.parametrize("role", ["send", "recv"])
def test_a_terminal_that_stops_taking_output_stops_no_transfer(sh: Shell, role: str) -> None:
    big = sh.directory / "big.bin"
    big.write_bytes(os.urandom(8_000_000))
    code = "4821-acorn-blend-crisp"
    send = ["send", big, "--limit", "2MB", "--code", code]
    recv = ["recv", code, "--yes", "-o", sh.directory / "copy.bin"]
    stopped, other = (send, recv) if role == "send" else (recv, send)
    variables = {key: value for key, value in sh.environment.items() if key not in ("NO_COLOR", "TERM")}
    with terminal(*stopped, environment=variables, cwd=sh.directory) as screen:
        reading = sh.start(*other)
        screen.expect("Throughput")
        screen.stop_reading()
        assert reading.wait(30) == 0, reading.report()
        assert screen.process.poll() is None  # its last words wait for a reader
        screen.go_on_reading()
        assert screen.wait() == 0
        assert "Sent" in screen.text or "Received" in screen.text
        assert screen.text.rstrip().endswith("%.") or "\x1b[?25h" in screen.text
    assert (sh.directory / "copy.bin").read_bytes() == big.read_bytes()


def test_ctrl_c_ends_a_process_whose_terminal_is_stopped(sh: Shell) -> None:
    big = sh.directory / "big.bin"
    big.write_bytes(os.urandom(8_000_000))
    sender = sh.start("send", big, "--json", "--limit", "500KB")
    code = sender.wait_event("code")["code"]
    variables = {key: value for key, value in sh.environment.items() if key not in ("NO_COLOR", "TERM")}
    with terminal("recv", code, "--yes", "-o", "in", environment=variables, cwd=sh.directory) as screen:
        screen.expect("Throughput")
        screen.stop_reading()
        time.sleep(1)
        began = time.monotonic()
        os.kill(screen.process.pid, signal.SIGINT)
        assert screen.process.wait(20) == 130
        assert time.monotonic() - began < ENDS_S
    assert sender.wait() == 7


def test_a_servers_log_that_nobody_reads_does_not_stop_it_or_keep_it(sh: Shell) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096) if sys.platform == "linux" else None
    with open(writer, "wb") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-m", "tallow_cli", "serve", "--port", "0", "--verbose"],
            stderr=stderr,
            env=sh.environment,
        )
    try:
        said = b""
        while (listening := re.search(rb"Listening on (\S+)\n", said)) is None:  # its log speaks too
            said += os.read(reader, 4096)
        url = listening[1].decode()
        fast = sh.directory / "f.txt"
        fast.write_text("x")
        for number in range(2):
            code = f"482{number}-acorn-blend-crisp"
            sender = sh.start("send", fast, "--server", url, "--code", code)
            receiver = sh.start(
                "recv", code, "--server", url, "--yes", "-o", sh.directory / str(number), "--timeout", "30"
            )
            assert receiver.wait() == 0, receiver.report()
            assert sender.wait() == 0, sender.report()
        began = time.monotonic()
        server.send_signal(signal.SIGINT)
        assert server.wait(20) in (0, 130)
        assert time.monotonic() - began < ENDS_S
    finally:
        server.kill()
        server.wait()
        os.close(reader)
