"""A trace on a disk: what is opened and what is refused, and that nothing it meets holds anybody up."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from signaling.log import MOST_WAITING
from tallow_cli.errors import BadOption, ReportExists, TargetUnwritable
from tallow_cli.session.trace_file import TraceFile, open_trace


def opened(path: Path | str, **limits: Any) -> TraceFile:
    return open_trace(str(path), role="sender", now=100.0, unix_time=1_700_000_000.5, **limits)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_header_and_then_events_with_their_time_since_the_beginning(tmp_path: Path) -> None:
    trace = opened(tmp_path / "t.jsonl")
    trace(100.25, "recovery:packet_lost", {"packets": 3})
    assert trace.close() is None
    header, event = lines(tmp_path / "t.jsonl")
    assert header["trace_version"] == 1
    assert header["vantage_point"] == "sender"
    assert header["reference_time"] == 1_700_000_000_500
    assert event == {"time": 250.0, "name": "recovery:packet_lost", "data": {"packets": 3}}


def test_it_is_for_its_user_only(tmp_path: Path) -> None:
    opened(tmp_path / "t.jsonl").close()
    assert stat.S_IMODE((tmp_path / "t.jsonl").stat().st_mode) == 0o600


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious", encoding="utf-8")
    with pytest.raises(ReportExists, match="--trace"):
        opened(tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ReportExists):
        opened(tmp_path / "link")
    assert (tmp_path / "there").read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["none/t.jsonl", ".", "x\0y", "n" * 300, ""])
def test_a_place_for_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TargetUnwritable, match="--trace"):
        opened(f"{tmp_path}/{name}" if name else "")


def test_standard_output_is_taken() -> None:
    with pytest.raises(BadOption, match="standard output"):
        opened("-")


def test_a_pipe_that_nobody_reads_is_refused_at_once_and_one_that_is_read_gets_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(TargetUnwritable, match="nobody reads"):
        opened(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    trace = opened(fifo)
    assert trace.close() is None
    assert json.loads(os.read(reader, 10_000))["vantage_point"] == "sender"
    os.close(reader)


def test_a_full_disk_ends_the_trace_and_is_told_once_it_is_over() -> None:
    trace = opened("/dev/full")
    for index in range(10):
        trace(101.0, "recovery:packet_lost", {"packets": index})
    assert "no space left" in (trace.close() or "")


def test_a_reader_that_stops_costs_lines_and_no_time(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    trace = opened(fifo, flush_s=0.01)
    for index in range(3 * MOST_WAITING):
        trace(101.0, "recovery:metrics_updated", {"filler": "x" * 100, "index": index})
    assert "takes nothing more" in (trace.close() or "")
    os.close(reader)  # lets its thread go
    for thread in threading.enumerate():
        if thread.name == "signaling-log":
            thread.join(5.0)


def test_lines_that_were_dropped_leave_a_mark_and_a_sentence(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    trace = opened(fifo, most_waiting=3)
    for index in range(300):  # a pipe holds 64 KiB, and nobody reads
        trace(101.0, "recovery:packet_lost", {"filler": "x" * 1000, "index": index})
    os.set_blocking(reader, True)
    came = bytearray()

    def read() -> None:
        while piece := os.read(reader, 65_536):
            came.extend(piece)

    reading = threading.Thread(target=read)
    reading.start()
    sentence = trace.close() or ""
    reading.join(5.0)
    os.close(reader)
    marks = [json.loads(line) for line in came.splitlines() if b"lines_dropped" in line]
    lost = 300 - came.count(b"packet_lost")
    assert [(mark["time"], mark["name"]) for mark in marks] == [(None, "trace:lines_dropped")] * len(marks)
    assert sum(mark["data"]["lines"] for mark in marks) == lost > 200
    assert f"{lost} of its lines" in sentence
