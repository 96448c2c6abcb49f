"""Whatever goes wrong ends with one sentence, its own exit code, a JSON event, and nothing half-written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.support.processes import Shell, Tallow

pytestmark = pytest.mark.e2e

NOT_ROOT = os.geteuid() != 0


def ends_with(tallow: Tallow, code: int, kind: str, *words: str, timeout_s: float = 40) -> None:
    """Assert the exit code, exactly one JSON error event of this kind, and the words of its sentence."""
    assert tallow.wait(timeout_s) == code, tallow.report()
    errors = tallow.events("error")
    assert len(errors) == 1, tallow.report()
    assert errors[0]["kind"] == kind
    assert errors[0]["exit_code"] == code
    assert "Traceback" not in tallow.error_text
    for word in words:
        assert word in errors[0]["message"], errors[0]["message"]


def slipping(sh: Shell, source: Path, *recv: str | Path) -> tuple[Tallow, Tallow]:
    """A receiver that ends by itself, and the sender it has left waiting."""
    sender = sh.start("send", source, "--json")
    receiver = sh.start("recv", sender.wait_event("code")["code"], "--json", *recv)
    receiver.wait()
    return sender, receiver


def goes_on_waiting(sender: Tallow) -> None:
    time.sleep(0.5)  # it would have ended by now
    assert sender.process.poll() is None, sender.report()
    assert len(sender.events("code")) == 1, "under the same code"


def big_file(sh: Shell, size: int = 60_000_000) -> Path:
    path = sh.directory / "big.bin"
    block = random.Random(7).randbytes(1_000_000)
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    return path


def start_transfer(sh: Shell, source: Path, target: Path, *send_flags: str) -> tuple[Tallow, Tallow]:
    """Both ends, with data flowing."""
    target.mkdir(exist_ok=True)
    sender = sh.start("send", source, "--json", *send_flags)
    code = sender.wait_event("code")["code"]
    receiver = sh.start("recv", code, "--yes", "--json", "-o", target)
    deadline = time.monotonic() + 20
    while not any(event["bytes"] > 0 for event in receiver.events("progress")):
        assert time.monotonic() < deadline, receiver.report()
        time.sleep(0.02)
    return sender, receiver


def nothing_is_left(target: Path) -> None:
    assert list(target.iterdir()) == []


def only_what_can_be_gone_on_with_is_left(target: Path) -> None:
    """Nothing has a name that looks like something whole."""
    assert all(path.name.startswith(".tallow-") for path in target.iterdir())


# Codes and servers


def test_a_wrong_code_is_loud_on_both_sides_and_the_sender_shows_a_fresh_one(sh: Shell) -> None:
    source = sh.directory / "secret.txt"
    source.write_text("secret")
    sender = sh.start("send", source, "--json")
    first = sender.wait_event("code")["code"]
    words = first.split("-")
    wrong = "-".join([words[0], *("acorn" if word != "acorn" else "blend" for word in words[1:])])

    thief = sh.start("recv", wrong, "--yes", "--json", "-o", sh.directory)
    ends_with(thief, 5, "wrong-code", "code was wrong")

    deadline = time.monotonic() + 10
    while len(sender.events("code")) < 2:
        assert time.monotonic() < deadline, sender.report()
        time.sleep(0.02)
    fresh = sender.events("code")[1]["code"]
    assert fresh != first
    assert any("wrong" in event["message"] for event in sender.events("notice"))

    late = sh.start("recv", first, "--yes", "--json", "--timeout", "2", "-o", sh.directory / "late")
    ends_with(late, 4, "no-peer")
    receiver = sh.start("recv", fresh, "--yes", "--json", "-o", sh.directory / "copy.txt")
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()


def test_a_wrong_guess_at_a_chosen_code_ends_the_sender(sh: Shell) -> None:
    source = sh.directory / "secret.txt"
    source.write_text("secret")
    sender = sh.start("send", source, "--json", "--code", "4821-acorn-blend-crisp")
    sender.wait_event("code")
    thief = sh.start("recv", "4821-acorn-blend-acorn", "--yes", "--json")
    ends_with(thief, 5, "wrong-code")
    ends_with(sender, 5, "wrong-code", "one guess")


def test_a_nameplate_nobody_waits_under_is_unknown(sh: Shell) -> None:
    receiver = sh.start("recv", "4821-acorn-blend-crisp", "--yes", "--json", "--timeout", "1")
    ends_with(receiver, 4, "no-peer", "4821", "sender is still running")


def test_a_text_that_is_no_code_is_not_repeated(sh: Shell) -> None:
    receiver = sh.start("recv", "4821-acorn-blend-hunter2", "--yes", "--json")
    ends_with(receiver, 2, "usage", "word 3")
    assert "hunter2" not in receiver.error_text + "".join(receiver.out)


def test_a_server_that_is_not_there_is_named(sh: Shell) -> None:
    source = sh.directory / "a"
    source.write_text("a")
    sender = sh.start("send", source, "--json", "--server", "ws://127.0.0.1:9")
    ends_with(sender, 3, "signaling-unreachable", "127.0.0.1:9", "tallow serve")


def test_nobody_coming_ends_the_wait(sh: Shell) -> None:
    source = sh.directory / "a"
    source.write_text("a")
    sender = sh.start("send", source, "--json", "--timeout", "1")
    ends_with(sender, 4, "no-peer", "1 s", "--timeout")


# Files


def test_a_missing_file_is_named(sh: Shell) -> None:
    ends_with(sh.start("send", "no-such-file", "--json"), 10, "local-file", "no-such-file")


@pytest.mark.skipif(not NOT_ROOT, reason="root reads everything")
def test_an_unreadable_file_is_named(sh: Shell) -> None:
    source = sh.directory / "locked"
    source.write_text("x")
    source.chmod(0)
    ends_with(sh.start("send", source, "--json"), 10, "local-file", "locked", "permission")


@pytest.mark.parametrize("how", ["vanishes", "shrinks"])
def test_a_file_that_changes_during_the_send_is_left_out_and_both_sides_say_so(sh: Shell, how: str) -> None:
    one, two = sh.directory / "in" / "one.bin", sh.directory / "in" / "two.bin"
    one.parent.mkdir()
    one.write_bytes(random.Random(1).randbytes(20_000_000))
    two.write_bytes(b"2" * 1_000_000)
    target = sh.directory / "out"
    sender, receiver = start_transfer(sh, one.parent, target, "--limit", "60Mbit")
    if how == "vanishes":
        two.unlink()
    else:
        os.truncate(two, 1000)
    for side in (sender, receiver):
        assert side.wait() == 12, side.report()
        assert "two.bin" in side.error_text
    assert (target / "in" / "one.bin").read_bytes() == one.read_bytes()
    assert not (target / "in" / "two.bin").exists()


def test_an_existing_target_is_never_overwritten_by_default(sh: Shell) -> None:
    source = sh.directory / "report.txt"
    source.write_text("new")
    target = sh.directory / "in"
    target.mkdir()
    (target / "report.txt").write_text("old")
    sender, receiver = slipping(sh, source, "--yes", "-o", target)
    ends_with(receiver, 10, "local-file", "report.txt", "--on-conflict")
    goes_on_waiting(sender)
    assert (target / "report.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("policy", "names"),
    [("rename", {"report.txt": "old", "report (1).txt": "new"}), ("overwrite", {"report.txt": "new"})],
)
def test_conflicts_are_settled_as_asked(sh: Shell, policy: str, names: dict[str, str]) -> None:
    source = sh.directory / "report.txt"
    source.write_text("new")
    target = sh.directory / "in"
    target.mkdir()
    (target / "report.txt").write_text("old")
    sender, receiver = sh.transfer([source], ["-o", target, "--on-conflict", policy])
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    assert {path.name: path.read_text() for path in target.iterdir()} == names


def test_a_directory_cannot_be_received_into_a_file(sh: Shell) -> None:
    source = sh.directory / "tree"
    source.mkdir()
    (source / "a").write_text("a")
    target = sh.directory / "file"
    target.write_text("I am a file")
    sender, receiver = slipping(sh, source, "--yes", "-o", target, "--on-conflict", "rename")
    ends_with(receiver, 10, "local-file", "not a directory")
    goes_on_waiting(sender)
    assert target.read_text() == "I am a file"


def test_a_full_disk_ends_the_receiver_and_leaves_nothing(sh: Shell) -> None:
    mount = sh.directory / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(mount)], check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        source = big_file(sh, 8_000_000)
        sender, receiver = slipping(sh, source, "--yes", "-o", mount)
        ends_with(receiver, 10, "local-file", "room")
        goes_on_waiting(sender)
        nothing_is_left(mount)
    finally:
        subprocess.run(["umount", str(mount)], check=False)


# Options


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["send"], "PATH"),
        (["send", ".", "--channels", "5"], "--channels"),
        (["send", ".", "--channels", "many"], "--channels"),
        (["send", ".", "--mode", "reckless"], "--mode"),
        (["send", ".", "--buffer-high", "1MiB", "--buffer-low", "2MiB"], "--buffer"),
        (["send", ".", "--buffer-high", "8GiB", "--buffer-low", "4GiB"], "--buffer-high"),
        (["send", ".", "--buffer-high", "lots"], "--buffer-high"),
        (["send", ".", "--max-retransmits", "9"], "--max-retransmits"),
        (["recv", "--max-retransmits", "0", "--reliable"], "--max-retransmits"),
        (["send", ".", "--limit", "20"], "--limit"),
        (["send", ".", "--engine", "steam"], "--engine"),
        (["send", ".", "--timeout", "-1"], "--timeout"),
        (["send", ".", "--code", "hello"], "code"),
        (["send", ".", "--server", "ftp://example"], "ws://"),
        (["send", ".", "--text", "hi"], "--text"),
        (["send", "-", "."], "-"),
        (["send", ".", "--nonsense"], "--nonsense"),
        (["recv"], "TALLOW_CODE"),
        (["recv", "4821-acorn-blend-crisp", "-o", "-"], "--json"),
        (["bench", "--size", "-5"], "--size"),
        (["frobnicate"], "frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_bad_option_is_named(sh: Shell, arguments: list[str], word: str) -> None:
    ends_with(sh.start(*arguments, "--json"), 2, "usage", word, timeout_s=20)


def test_without_yes_and_nobody_to_ask_consent_is_missing(sh: Shell) -> None:
    source = sh.directory / "a"
    source.write_text("a")
    sender, receiver = slipping(sh, source, "-o", sh.directory / "b")
    ends_with(receiver, 2, "usage", "--yes")
    assert sender.process.poll() is None, "the sender has not even heard of it"


# Interruptions


def test_ctrl_c_at_the_sender_tells_the_receiver(sh: Shell) -> None:
    target = sh.directory / "in"
    sender, receiver = start_transfer(sh, big_file(sh), target, "--limit", "40Mbit")
    sender.process.send_signal(signal.SIGINT)
    ends_with(sender, 130, "interrupted", timeout_s=10)
    ends_with(receiver, 7, "refused", "cancelled", timeout_s=10)
    only_what_can_be_gone_on_with_is_left(target)


def test_sigterm_at_the_receiver_tells_the_sender(sh: Shell) -> None:
    target = sh.directory / "in"
    sender, receiver = start_transfer(sh, big_file(sh), target, "--limit", "40Mbit")
    receiver.process.send_signal(signal.SIGTERM)
    ends_with(receiver, 143, "terminated", timeout_s=10)
    ends_with(sender, 7, "refused", "cancelled", timeout_s=10)
    only_what_can_be_gone_on_with_is_left(target)


def test_ctrl_c_while_waiting_ends_at_once(sh: Shell) -> None:
    source = sh.directory / "a"
    source.write_text("a")
    sender = sh.start("send", source, "--json")
    sender.wait_event("waiting")
    sender.process.send_signal(signal.SIGINT)
    ends_with(sender, 130, "interrupted", timeout_s=5)


@pytest.mark.parametrize("victim", ["sender", "receiver"])
def test_a_killed_peer_is_noticed(sh: Shell, victim: str) -> None:
    target = sh.directory / "in"
    sender, receiver = start_transfer(sh, big_file(sh), target, "--limit", "40Mbit")
    killed, survivor = (sender, receiver) if victim == "sender" else (receiver, sender)
    killed.process.kill()
    ends_with(survivor, 8, "broken-off", timeout_s=60)
    if victim == "sender":
        only_what_can_be_gone_on_with_is_left(target)


def test_a_signaling_server_that_talks_nonsense_is_told_apart(sh: Shell) -> None:
    import socketserver

    class Nonsense(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Nonsense) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        source = sh.directory / "a"
        source.write_text("a")
        url = f"ws://127.0.0.1:{server.server_address[1]}"
        ends_with(sh.start("send", source, "--json", "--server", url), 3, "signaling-unreachable", url)
        server.shutdown()
