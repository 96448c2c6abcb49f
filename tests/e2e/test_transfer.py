"""Files, directories, streams and texts from one process to another over real channels."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import Shell, Tallow

pytestmark = pytest.mark.e2e


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_file(path: Path, size: int, *, seed: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def tree(root: Path) -> dict[str, object]:
    """Every entry below `root`: its kind, content, permission bits and modification time."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        status = path.lstat()
        if path.is_symlink():
            found[name] = ("symlink", os.readlink(path))
        elif path.is_dir():
            found[name] = ("directory", status.st_mode & 0o777, status.st_mtime_ns)
        else:
            found[name] = ("file", digest(path), status.st_mode & 0o777, status.st_mtime_ns)
    return found


@pytest.mark.parametrize("size", [0, 1, 262_144, 5_000_001])
def test_a_file_arrives_whole_with_its_mode_and_time(sh: Shell, size: int) -> None:
    source = make_file(sh.directory / "report.bin", size)
    source.chmod(0o640)
    os.utime(source, ns=(10**18, 10**18 + 123_456_789))
    target = sh.directory / "in"
    target.mkdir()

    sender, receiver = sh.transfer([source], ["-o", target])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    received = target / "report.bin"
    assert digest(received) == digest(source)
    assert received.stat().st_mode & 0o777 == 0o640
    assert received.stat().st_mtime_ns == 10**18 + 123_456_789
    assert [p.name for p in target.iterdir()] == ["report.bin"]
    for side in (sender, receiver):
        assert side.events("done")[0]["bytes"] == size
        names = [event["event"] for event in side.events()]
        assert names[-1] == "done"
    assert sender.events("progress")[-1]["bytes"] == size


def test_directories_keep_their_shape_empty_ones_and_links_included(sh: Shell) -> None:
    root = sh.directory / "photos"
    make_file(root / "2026" / "a.jpg", 300_000)
    make_file(root / "2026" / "empty.txt", 0)
    make_file(root / "ünïcode 名.txt", 10)
    (root / "nothing").mkdir()
    (root / "latest").symlink_to("2026/a.jpg")
    (root / "2026").chmod(0o750)
    target = sh.directory / "in"
    target.mkdir()

    sender, receiver = sh.transfer([root], ["-o", target])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert tree(target / "photos") == tree(root)


def test_several_arguments_arrive_together(sh: Shell) -> None:
    one = make_file(sh.directory / "one.txt", 1000)
    two = make_file(sh.directory / "sub" / "two.txt", 2000, seed=2)
    target = sh.directory / "in"
    target.mkdir()

    sender, receiver = sh.transfer([one, two], ["-o", target])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert digest(target / "one.txt") == digest(one)
    assert digest(target / "two.txt") == digest(two)
    offered = receiver.events("offer")[0]
    assert sorted(entry["path"] for entry in offered["entries"]) == ["one.txt", "two.txt"]


def test_output_may_name_the_file(sh: Shell) -> None:
    source = make_file(sh.directory / "one.txt", 1000)

    sender, receiver = sh.transfer([source], ["-o", sh.directory / "other.txt"])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert digest(sh.directory / "other.txt") == digest(source)


def test_a_pipe_goes_through_without_touching_the_disk(sh: Shell) -> None:
    data = random.Random(3).randbytes(3_000_000)
    sender = sh.start("send", "-", "--json", stdin=subprocess.PIPE)
    assert sender.process.stdin is not None
    code = sender.wait_event("code")["code"]
    with (sh.directory / "out").open("wb") as out:
        receiver = sh.start("recv", code, "--yes", "-o", "-", stdout=out)
        sender.process.stdin.write(data)
        sender.process.stdin.close()
        assert receiver.wait() == 0, receiver.report()
    assert sender.wait() == 0, sender.report()
    assert (sh.directory / "out").read_bytes() == data


def test_standard_input_can_be_received_as_a_file(sh: Shell) -> None:
    sender = sh.start("send", "-", "--json", stdin=subprocess.PIPE)
    assert sender.process.stdin is not None
    receiver = sh.start(
        "recv", sender.wait_event("code")["code"], "--yes", "-o", sh.directory / "stream.bin", "--json"
    )
    sender.process.stdin.write(b"x" * 100_000)
    sender.process.stdin.close()
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    assert (sh.directory / "stream.bin").read_bytes() == b"x" * 100_000


def test_a_text_is_printed_by_the_receiver(sh: Shell) -> None:
    sender = sh.start("send", "--text", "the key is under the mat\n\x1b[2J", "--json")
    receiver = sh.start("recv", sender.wait_event("code")["code"], "--yes")

    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    assert "the key is under the mat" in "\n".join(receiver.out)


@pytest.mark.parametrize(
    "flags",
    [
        ["--channels", "2"],
        ["--channels", "4", "--mode", "aggressive"],
        ["--reliable"],
        ["--buffer-high", "1MiB"],
        ["--buffer-high", "4GiB", "--buffer-low", "4095MiB"],
    ],
    ids=lambda flags: " ".join(flags),
)
def test_a_transfer_works_with(sh: Shell, flags: list[str]) -> None:
    source = make_file(sh.directory / "data.bin", 2_000_000)
    target = sh.directory / "in"
    target.mkdir()

    sender, receiver = sh.transfer([source, *flags], ["-o", target])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert digest(target / "data.bin") == digest(source)


@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
def test_each_side_says_how_often_it_sends_packets_again(sh: Shell, engine: str) -> None:
    source = make_file(sh.directory / "data.bin", 500_000)
    target = sh.directory / "in"
    target.mkdir()

    chosen = ["--engine", engine, "--max-retransmits", "1"]
    sender, receiver = sh.transfer([source, *chosen], ["-o", target, "--engine", engine])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert sender.events("connected")[0]["max_retransmits"] == 1
    assert receiver.events("connected")[0]["max_retransmits"] == {"turbo": 2, "aiortc": 0}[engine]
    assert digest(target / "data.bin") == digest(source)


def test_reliable_channels_win_over_the_other_sides_number_of_repetitions(sh: Shell) -> None:
    source = make_file(sh.directory / "data.bin", 500_000)
    target = sh.directory / "in"
    target.mkdir()

    sender, receiver = sh.transfer([source, "--max-retransmits", "0"], ["-o", target, "--reliable"])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    for side in (sender, receiver):
        connected = side.events("connected")[0]
        assert (connected["reliable"], connected["max_retransmits"]) == (True, None)


def test_without_encryption_on_both_sides_the_event_says_so(sh: Shell) -> None:
    source = make_file(sh.directory / "data.bin", 500_000)
    target = sh.directory / "in"
    target.mkdir()

    sender, receiver = sh.transfer([source, "--no-encrypt"], ["-o", target, "--no-encrypt"])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert sender.events("connected")[0]["encrypted"] is False
    assert digest(target / "data.bin") == digest(source)


def test_encryption_stays_when_only_one_side_asks_for_none(sh: Shell) -> None:
    source = make_file(sh.directory / "data.bin", 500_000)
    target = sh.directory / "in"
    target.mkdir()

    sender, receiver = sh.transfer([source, "--no-encrypt"], ["-o", target])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert sender.events("connected")[0]["encrypted"] is True
    assert receiver.events("connected")[0]["encrypted"] is True


@pytest.mark.parametrize(("limit", "size", "mbps"), [("1MB", 1_000_000, 8), ("1Mbit", 125_000, 1)])
def test_a_limit_is_kept_from_the_first_second(sh: Shell, limit: str, size: int, mbps: float) -> None:
    source = make_file(sh.directory / "data.bin", size)
    target = sh.directory / "in"
    target.mkdir()

    sender, receiver = sh.transfer([source, "--limit", limit], ["-o", target])

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    for side in (sender, receiver):
        assert side.events("done")[0]["mbps"] <= 1.05 * mbps


def test_ten_thousand_small_files_arrive(sh: Shell) -> None:
    root = sh.directory / "many"
    root.mkdir()
    rng = random.Random(5)
    for number in range(10_000):
        (root / f"{number:05}.dat").write_bytes(rng.randbytes(1000))
    target = sh.directory / "in"
    target.mkdir()

    sender, receiver = sh.transfer([root], ["-o", target], timeout_s=110)

    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert len(list((target / "many").iterdir())) == 10_000
    for number in range(0, 10_000, 997):
        assert (target / "many" / f"{number:05}.dat").read_bytes() == (root / f"{number:05}.dat").read_bytes()


def test_a_code_chosen_beforehand_works_with_a_server_of_its_own(sh: Shell) -> None:
    server = sh.start("serve", "--port", "0", "--verbose")
    url = ""
    while "ws://" not in url:
        url = next(
            (word for line in list(server.err) for word in line.split() if word.startswith("ws://")), ""
        )
        assert server.process.poll() is None, server.report()
    source = make_file(sh.directory / "data.bin", 100_000)
    target = sh.directory / "in"
    target.mkdir()

    common = {"TALLOW_CODE": "4821-acorn-blend-crisp", "TALLOW_SERVER": url.rstrip(".,")}
    sender = sh.start("send", source, "--json", **common)
    sender.wait_event("code")
    receiver = sh.start("recv", "--yes", "-o", target, "--json", **common)

    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    assert digest(target / "data.bin") == digest(source)
    assert "acorn" not in server.error_text


def test_a_receivers_slips_cost_the_sender_nothing(sh: Shell) -> None:
    source = make_file(sh.directory / "report.bin", 300_000)
    taken = make_file(sh.directory / "in" / "report.bin", 5, seed=2)
    sender = sh.start("send", source, "--json")
    code = sender.wait_event("code")["code"]
    into = ("-o", taken.parent)

    nobody_there = sh.start("recv", code, "-o", sh.directory / "elsewhere")
    assert nobody_there.wait() == 2, nobody_there.report()
    name_taken = sh.start("recv", code, "--yes", *into)
    assert name_taken.wait() == 10, name_taken.report()
    assert taken.stat().st_size == 5
    assert "with the same code" in name_taken.error_text

    receiver = sh.start("recv", code, "--yes", "--on-conflict", "rename", *into)
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    assert len(sender.events("code")) == 1
    assert "it has a file of that name already" in sender.events("notice")[-1]["message"]


@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
def test_both_ends_say_the_same_of_the_path(sh: Shell, engine: str) -> None:
    # The receiver made up a jitter of its own, out of reports that repeat themselves.
    (sh.directory / "f1").write_bytes(bytes(6_000_000))
    sender, receiver = sh.transfer(
        ["f1", "--limit", "2MB", "--engine", engine], ["-o", "inbox/", "--engine", engine]
    )
    assert (sender.wait(), receiver.wait()) == (0, 0)
    names = ("current_rtt_ms", "avg_rtt_ms", "min_rtt_ms", "max_rtt_ms", "jitter_ms", "avg_loss", "max_loss")

    def figures(tallow: Tallow) -> list[list[float]]:
        shown = [event["benchmark"] for event in (*tallow.events("stats"), *tallow.events("done"))]
        return [[round(each[name], 2) for name in names] for each in shown if each["jitter_ms"] is not None]

    told, measured = figures(receiver), figures(sender)
    assert len(told) > 5
    assert all(any(each == pytest.approx(mine, abs=0.02) for mine in measured) for each in told)
    assert any(each[4] > 0 for each in told)
