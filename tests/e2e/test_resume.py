"""Both programs are killed in the middle, or stopped by Ctrl-C, and run again: what is there is not sent again."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import Shell, Tallow

pytestmark = pytest.mark.e2e

MiB = 1024 * 1024
SIZE = 24 * MiB


def start(
    sh: Shell, source: Path, target: Path, *options: str, limit: str = "40Mbit"
) -> tuple[Tallow, Tallow]:
    sender = sh.start("send", source, "--json", "--limit", limit)
    code = sender.wait_event("code")["code"]
    return sender, sh.start("recv", code, "--yes", "--json", "-o", target, *options)


def wait_for_bytes(receiver: Tallow, count: int) -> None:
    deadline = time.monotonic() + 30
    while max((event["bytes"] for event in receiver.events("progress")), default=0) < count:
        assert time.monotonic() < deadline, receiver.report()
        time.sleep(0.02)


def sent_bytes(receiver: Tallow) -> int:
    """What came over the network."""
    return sum(channel["bytes_received"] for channel in receiver.events("stats")[-1]["channels"])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_transfer_goes_on_after_both_ends_were_stopped(sh: Shell, how: signal.Signals) -> None:
    big, target = sh.directory / "big.bin", sh.directory / "in"
    data = random.Random(5).randbytes(SIZE)
    big.write_bytes(data)
    target.mkdir()
    sender, receiver = start(sh, big, target)
    wait_for_bytes(receiver, 12 * MiB)
    receiver.process.send_signal(how)
    sender.process.send_signal(how)
    receiver.wait()
    sender.wait()
    assert "big.bin" not in os.listdir(target)
    sender, receiver = start(sh, big, target, limit="200Mbit")
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report()
    assert (target / "big.bin").read_bytes() == data
    assert os.listdir(target) == ["big.bin"]
    (resuming,) = receiver.events("resuming")
    (offer,) = receiver.events("offer")
    assert offer["here"]["resumed_bytes"] == resuming["held_bytes"]
    assert resuming["held_bytes"] >= 12 * MiB - 4 * MiB
    assert resuming["total_bytes"] == SIZE
    assert sent_bytes(receiver) < SIZE - resuming["held_bytes"] + 4 * MiB


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_the_question_says_what_is_here_before_the_answer(sh: Shell) -> None:
    from tests.support.terminal import terminal

    big, target = sh.directory / "big.bin", sh.directory / "in"
    big.write_bytes(random.Random(9).randbytes(SIZE))
    target.mkdir()
    sender, receiver = start(sh, big, target)
    wait_for_bytes(receiver, 12 * MiB)
    receiver.process.kill()
    sender.process.kill()
    receiver.wait()
    sender.wait()
    sender = sh.start("send", big, "--json")
    code = sender.wait_event("code")["code"]
    with terminal("recv", code, "-o", target, environment=sh.environment, cwd=sh.directory) as screen:
        shown = screen.expect("Receive this? [y/N] ")
        assert re.search(r"Resuming: [\d.]+ of 24 MiB already here\.", shown), shown
        screen.type("y\n")
        assert screen.wait() == 0
        assert screen.text.count("Resuming: ") == 1
    assert sender.wait() == 0
    assert sender.events("resuming")[0]["held_bytes"] >= 8 * MiB


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_the_command_that_ctrl_c_names_goes_on_when_it_is_copied(sh: Shell) -> None:
    from tests.support.terminal import terminal

    big, place = sh.directory / "big.bin", sh.directory / "my place"
    big.write_bytes(random.Random(10).randbytes(SIZE))
    place.mkdir()
    (place / "big.bin").write_text("mine")
    sender, receiver = start(sh, big, place, "--on-conflict", "rename")
    wait_for_bytes(receiver, 8 * MiB)
    receiver.process.send_signal(signal.SIGINT)
    receiver.wait()
    sender.wait()
    (error,) = receiver.events("error")
    assert receiver.err[-1].endswith(
        f"To go on, have the same sent again, and receive it with: {error['go_on']}"
    )
    sender = sh.start("send", big, "--json")
    code = sender.wait_event("code")["code"]
    command = error["go_on"].replace("tallow", "$TALLOW", 1)
    with terminal(shell=f"{command}; echo rc=$?", environment=sh.environment, cwd=sh.directory) as screen:
        screen.expect("Code: ")
        screen.type(f"{code}\n")
        screen.expect("Resuming: ")
        screen.expect("Receive this? [y/N] ")
        screen.type("y\n")
        screen.expect("rc=0")
    assert sender.wait() == 0
    assert (place / "big (1).bin").read_bytes() == big.read_bytes()
    assert (place / "big.bin").read_text() == "mine"


def test_no_resume_starts_over_and_leaves_nothing(sh: Shell) -> None:
    big, target = sh.directory / "big.bin", sh.directory / "in"
    big.write_bytes(random.Random(6).randbytes(SIZE))
    target.mkdir()
    sender, receiver = start(sh, big, target)
    wait_for_bytes(receiver, 4 * MiB)
    receiver.process.kill()
    receiver.wait()
    sender.process.kill()
    sender.wait()
    sender, receiver = start(sh, big, target, "--no-resume")
    wait_for_bytes(receiver, 4 * MiB)
    assert receiver.events("resuming") == []
    receiver.process.send_signal(signal.SIGINT)
    assert receiver.wait() == 130
    sender.wait()
    assert os.listdir(target) == []


def test_update_sends_only_what_differs(sh: Shell) -> None:
    big, target = sh.directory / "big.bin", sh.directory / "in"
    data = bytearray(random.Random(7).randbytes(SIZE))
    big.write_bytes(data)
    target.mkdir()
    data[5 * MiB] ^= 1
    (target / "big.bin").write_bytes(data)
    sender, receiver = start(sh, big, target, "--on-conflict", "update", limit="200Mbit")
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report()
    assert (target / "big.bin").read_bytes() == big.read_bytes()
    assert sent_bytes(receiver) < 6 * MiB
    assert os.listdir(target) == ["big.bin"]
    sender, receiver = start(sh, big, target, "--on-conflict", "skip")
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report()


def test_a_sender_that_was_killed_sends_a_changed_file_afresh_and_not_the_others(sh: Shell) -> None:
    tree, target = sh.directory / "tree", sh.directory / "in"
    tree.mkdir()
    target.mkdir()
    rng = random.Random(8)
    for name in "abcd":
        (tree / name).write_bytes(rng.randbytes(6 * MiB))
    before = set(os.listdir(sh.directory))
    sender, receiver = start(sh, tree, target, "--reconnect-for", "0")
    wait_for_bytes(receiver, 15 * MiB)
    sender.process.kill()
    sender.wait()
    receiver.process.send_signal(signal.SIGINT)
    receiver.wait()
    assert set(os.listdir(tree)) == set("abcd"), "a sender leaves nothing behind"
    assert set(os.listdir(sh.directory)) == before
    (tree / "b").write_bytes(rng.randbytes(6 * MiB))
    sender, receiver = start(sh, tree, target, "--on-conflict", "overwrite", limit="200Mbit")
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report()
    for name in "abcd":
        assert (target / "tree" / name).read_bytes() == (tree / name).read_bytes()
    assert sent_bytes(receiver) < (24 - 15 + 6 + 5) * MiB, "a, what there was of c, and nothing of the old b"
