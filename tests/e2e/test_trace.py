"""`--trace FILE` with real processes: it says what happened, gives nothing away, and holds nothing up."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Shell, Tallow

pytestmark = pytest.mark.e2e

CODE = "4821-acorn-blend-crisp"
SIZE = 6_000_000


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def sending(sh: Shell, *arguments: str | Path) -> Tallow:
    (sh.directory / "secret-name.bin").write_bytes(os.urandom(SIZE))
    sender = sh.start("send", "secret-name.bin", "--json", "--code", CODE, *arguments)
    sender.wait_event("waiting")
    return sender


def receives(sh: Shell, sender: Tallow, *arguments: str | Path) -> Tallow:
    receiver = sh.start("recv", CODE, "--yes", "-o", "in/", *arguments)
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    sent = (sh.directory / "secret-name.bin").read_bytes()
    assert (sh.directory / "in" / "secret-name.bin").read_bytes() == sent
    return receiver


def test_both_sides_say_what_the_connection_did_and_no_secret(sh: Shell) -> None:
    receives(sh, sending(sh, "--trace", "s.jsonl"), "--trace", "r.jsonl")
    for name, role in (("s.jsonl", "sender"), ("r.jsonl", "receiver")):
        header, *events = lines(sh.directory / name)
        assert header["vantage_point"] == role
        names = {event["name"] for event in events}
        assert {
            "connectivity:path_assigned",
            "connectivity:connection_state_updated",
            "recovery:parameters_set",
            "recovery:metrics_updated",
            "transfer:offered",
        } <= names
        [done] = [event["data"] for event in events if event["name"] == "session:done"]
        assert done["bytes"] == SIZE
        text = (sh.directory / name).read_text(encoding="utf-8")
        assert "secret-name" not in text
        assert "acorn" not in text


def test_a_place_for_no_trace_leaves_the_code_unspent(sh: Shell) -> None:
    sender = sending(sh)
    (sh.directory / "there").write_text("precious", encoding="utf-8")
    os.mkfifo(sh.directory / "unread")
    for place, words in (
        ("there", "exists and is not replaced"),
        ("no/such/place", "cannot be written"),
        (".", "cannot be written"),
        ("unread", "nobody reads this pipe"),
        ("-", "--trace: it needs a file of its own"),
        ("", "--trace: it is empty"),
    ):
        receiver = sh.start("recv", CODE, "--yes", "--trace", place)
        assert receiver.wait() in (2, 10), receiver.report()
        assert words in receiver.error_text, receiver.report()
    assert [event["event"] for event in sender.events()] == ["code", "waiting"], sender.report()
    assert (sh.directory / "there").read_text(encoding="utf-8") == "precious"
    receives(sh, sender)


def test_a_full_disk_costs_the_trace_and_not_the_transfer(sh: Shell) -> None:
    receiver = receives(sh, sending(sh), "--trace", "/dev/full")
    assert "The trace /dev/full ends early" in receiver.error_text


def test_a_reader_that_reads_nothing_holds_nothing_up(sh: Shell) -> None:
    os.mkfifo(sh.directory / "unread")
    reader = os.open(sh.directory / "unread", os.O_RDWR | os.O_NONBLOCK)  # holds it open, reads nothing
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(reader, bytes(4096))
        receiver = receives(sh, sending(sh), "--trace", "unread")
    finally:
        os.close(reader)
    assert "takes nothing more" in receiver.error_text


@pytest.mark.parametrize(
    ("sent", "place"), [("tree", "tree/t.jsonl"), (".", "t.jsonl"), ("up", "tree/sub/t.jsonl")]
)
def test_a_trace_would_not_be_sent_itself(sh: Shell, sent: str, place: str) -> None:
    (sh.directory / "tree" / "sub").mkdir(parents=True)
    (sh.directory / "tree" / "a.txt").write_text("a", encoding="utf-8")
    (sh.directory / "up").symlink_to("tree")
    sender = sh.start("send", sent, "--trace", place)
    assert sender.wait() == 2, sender.report()
    assert "--trace: it would be sent itself" in sender.error_text
    assert not (sh.directory / place).exists()


def test_a_benchmark_traces_both_ends_of_each_run(sh: Shell) -> None:
    bench = sh.start("bench", "--size", "1MiB", "--runs", "2", "--trace", "traces")
    assert bench.wait() == 0, bench.report()
    assert sorted(path.name for path in (sh.directory / "traces").iterdir()) == [
        f"{run:02d}-turbo-{end}.jsonl" for run in (1, 2) for end in ("receiver", "sender")
    ]
    again = sh.start("bench", "--size", "1MiB", "--runs", "2", "--trace", "traces")
    assert again.wait() == 10, again.report()
    assert "exists and is not replaced" in again.error_text
