"""What a receiver keeps, shows and leaves behind when it is interrupted, killed, or has a slow disk."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import Shell, Tallow

pytestmark = pytest.mark.e2e

MiB = 1024 * 1024


@pytest.fixture(scope="module")
def slow_disk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library to preload."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: a slow disk cannot be made")
    library = tmp_path_factory.mktemp("slow") / "slow_disk.so"
    source = Path(__file__).parent.parent / "support" / "slow_disk.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return os.fspath(library)


def make_tree(root: Path, count: int, size: int) -> dict[str, bytes]:
    root.mkdir()
    contents = {f"{number}.bin": random.Random(number).randbytes(size) for number in range(count)}
    for name, data in contents.items():
        (root / name).write_bytes(data)
    return contents


def start(sh: Shell, offer: Path, target: Path, *options: str, **variables: str) -> tuple[Tallow, Tallow]:
    target.mkdir(exist_ok=True)
    sender = sh.start("send", offer, "--json", *options)
    code = sender.wait_event("code")["code"]
    receiver = sh.start("recv", code, "--yes", "--json", "-o", target, **variables)
    return sender, receiver


def wait_files(tallow: Tallow, count: int, timeout_s: float = 30) -> None:
    """Until it shows that so many have arrived whole."""
    deadline = time.monotonic() + timeout_s
    while max((event["files_done"] for event in tallow.events("progress")), default=0) < count:
        assert time.monotonic() < deadline, tallow.report()
        time.sleep(0.05)


def check_kept(receiver: Tallow, target: Path, contents: dict[str, bytes], at_least: int) -> None:
    """What it says is kept is there, whole, and nothing else is."""
    error = receiver.events()[-1]
    assert error["event"] == "error", receiver.report()
    # Beside them there may be what another transfer can go on with.
    found = {
        path.name: path.read_bytes()
        for path in (target / "mix").iterdir()
        if not path.name.startswith(".tallow-")
    }
    assert found == {name: contents[name] for name in found}, "whole, and nothing beside"
    assert len(found) >= at_least, receiver.report()
    assert error["kept_files"] == len(found)
    assert error["kept_bytes"] == sum(map(len, found.values()))
    assert error["kept_in"].startswith(os.fspath(target / "mix"))
    assert [path.name for path in target.iterdir() if not path.name.startswith(".tallow-")] == ["mix"]
    assert f"{len(found)} of {len(contents)} files" in receiver.err[-1]


@pytest.mark.parametrize("ending", ["Ctrl-C", "SIGTERM", "sender killed", "sender stopped"])
def test_what_arrived_is_kept_however_the_transfer_ends(sh: Shell, ending: str) -> None:
    contents = make_tree(sh.directory / "mix", 6, 2 * MiB)
    target = sh.directory / "in"
    sender, receiver = start(sh, sh.directory / "mix", target, "--limit", "24Mbit")
    wait_files(sender, 2)
    wait_files(receiver, 2)
    match ending:
        case "Ctrl-C":
            receiver.process.send_signal(signal.SIGINT)
        case "SIGTERM":
            receiver.process.send_signal(signal.SIGTERM)
        case "sender killed":
            sender.process.kill()
        case "sender stopped":
            sender.process.send_signal(signal.SIGINT)
    codes = {"Ctrl-C": 130, "SIGTERM": 143, "sender killed": 8, "sender stopped": 7}
    assert receiver.wait(40) == codes[ending], receiver.report()
    check_kept(receiver, target, contents, 2)
    assert sender.wait(30) in (7, 130, -signal.SIGKILL)


def test_files_get_their_names_while_the_transfer_goes_on(sh: Shell) -> None:
    contents = make_tree(sh.directory / "mix", 6, 1 * MiB)
    target = sh.directory / "in"
    sender, receiver = start(sh, sh.directory / "mix", target, "--limit", "8Mbit")
    receiver.wait_event("file", 20)
    assert receiver.events("progress")[-1]["files_done"] < 6, "long before the end"
    assert (sender.wait(), receiver.wait()) == (0, 0)
    assert {path.name: path.read_bytes() for path in (target / "mix").iterdir()} == contents


def test_a_slow_disk_is_shown_as_it_is_at_both_ends_and_ctrl_c_does_not_wait_for_it(
    sh: Shell, slow_disk: str
) -> None:
    contents = make_tree(sh.directory / "mix", 6, MiB)
    target = sh.directory / "in"
    sender, receiver = start(
        sh, sh.directory / "mix", target, LD_PRELOAD=slow_disk, SLOW_PWRITE_BPS=str(MiB // 2)
    )
    wait_files(receiver, 2)
    wait_files(sender, 2)
    for side in (sender, receiver):
        shown = {event["bytes"] for event in side.events("progress")}
        assert len(shown) > 8, "it moves in small steps"
        assert max(shown) < 6 * MiB - 1, "and does not claim what waits in memory"
    began = time.monotonic()
    receiver.process.send_signal(signal.SIGINT)
    assert receiver.wait(10) == 130
    assert time.monotonic() - began < 4.5, "it ended by itself, before it would have been ended"
    check_kept(receiver, target, contents, 2)


def test_a_disk_that_does_not_answer_holds_up_nobody_who_wants_to_leave(sh: Shell, slow_disk: str) -> None:
    make_tree(sh.directory / "mix", 3, MiB)
    target = sh.directory / "in"
    _, receiver = start(sh, sh.directory / "mix", target, LD_PRELOAD=slow_disk, SLOW_FSYNC_S="3600")
    wait_files(receiver, 3)
    receiver.process.send_signal(signal.SIGINT)
    assert receiver.wait(8) == 130
    error = receiver.events()[-1]
    assert (error["event"], error["exit_code"], error["kept_files"]) == ("error", 130, 0), receiver.report()
    assert receiver.err, "it says so in words, too"
    left = [path.name for path in target.rglob("*") if path.is_file()]
    assert all(name.startswith(".tallow-") for name in left), "only what can be gone on with"


def test_the_next_receive_goes_on_with_what_a_killed_one_left_and_clears_it_away(sh: Shell) -> None:
    contents = make_tree(sh.directory / "mix", 1, 20 * MiB)
    target = sh.directory / "in"
    sender, receiver = start(sh, sh.directory / "mix", target, "--limit", "16Mbit")
    receiver.wait_event("progress")
    time.sleep(0.5)
    receiver.process.kill()
    receiver.wait()
    sender.wait(40)
    assert any(".part" in path.name for path in (target / "mix").iterdir())

    sender, receiver = start(sh, sh.directory / "mix", target)
    assert (sender.wait(), receiver.wait()) == (0, 0), receiver.report()
    assert {path.name: path.read_bytes() for path in (target / "mix").iterdir()} == contents
    assert [path.name for path in target.iterdir()] == ["mix"]
    (resuming,) = receiver.events("resuming")
    assert 0 < resuming["held_bytes"] < resuming["total_bytes"] == 20 * MiB


def test_two_receivers_in_one_directory_leave_each_other_alone(sh: Shell) -> None:
    first = make_tree(sh.directory / "mix", 2, 2 * MiB)
    (sh.directory / "other").write_bytes(b"x" * MiB)
    target = sh.directory / "in"
    slow_sender, slow = start(sh, sh.directory / "mix", target, "--limit", "16Mbit")
    slow.wait_event("progress")
    sender, receiver = start(sh, sh.directory / "other", target)
    assert (sender.wait(), receiver.wait()) == (0, 0), receiver.report()
    assert (slow_sender.wait(), slow.wait()) == (0, 0), slow.report()
    assert {path.name: path.read_bytes() for path in (target / "mix").iterdir()} == first
    assert sorted(path.name for path in target.iterdir()) == ["mix", "other"]


def test_a_receiver_that_has_everything_ends_well_although_the_sender_dies_while_it_syncs(
    sh: Shell, slow_disk: str
) -> None:
    contents = make_tree(sh.directory / "mix", 2, MiB)
    target = sh.directory / "in"
    sender, receiver = start(sh, sh.directory / "mix", target, LD_PRELOAD=slow_disk, SLOW_FSYNC_S="3")
    wait_files(receiver, 2)
    sender.process.kill()
    assert receiver.wait(20) == 0, receiver.report()
    assert receiver.events()[-1]["event"] == "done"
    assert {path.name: path.read_bytes() for path in (target / "mix").iterdir()} == contents


def test_a_reader_that_pauses_is_waited_for_and_shown_as_it_is(sh: Shell) -> None:
    sender = sh.start("send", "-", "--json", stdin=subprocess.PIPE)
    code = sender.wait_event("code")["code"]
    receiver = subprocess.Popen(
        [sys.executable, "-m", "tallow_cli", "recv", code, "--yes", "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=sh.environment,
        cwd=sh.directory,
    )
    assert sender.process.stdin is not None
    assert receiver.stdout is not None
    line = b"x" * 79 + b"\n"
    for _ in range(400):
        sender.process.stdin.write(line * 100)
        sender.process.stdin.flush()
    sender.process.stdin.close()
    time.sleep(1)
    assert sender.events("progress")[-1]["bytes"] < 1_000_000, "most of it waits for the reader"
    received = receiver.stdout.read()
    assert receiver.wait(20) == 0
    assert sender.wait(20) == 0
    assert received == line * 40_000
    receiver.stdout.close()
    assert receiver.stderr is not None
    receiver.stderr.close()
