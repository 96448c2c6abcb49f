"""`--trace`: opened first, closed whatever happens, and said to be short where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.trace_option import refuse_trace_within, tracing
from tallow_cli.errors import BadOption, ReportExists
from tests.support.streams import Stream


def surroundings() -> tuple[Environment, Stream]:
    stderr = Stream()
    return Environment(stdin=Stream(), stdout=Stream(), stderr=stderr, variables={}), stderr


def test_without_the_option_there_is_no_trace() -> None:
    with tracing(None, surroundings()[0], "sender") as trace:
        assert trace is None


def test_what_was_told_is_there_when_it_is_over(tmp_path: Path) -> None:
    environment, stderr = surroundings()
    with tracing(str(tmp_path / "t"), environment, "sender") as trace:
        assert trace is not None
        trace(1.0, "recovery:packet_lost", {"packets": 1})
    assert len((tmp_path / "t").read_text(encoding="utf-8").splitlines()) == 2
    assert stderr.getvalue() == ""


def test_a_file_in_which_nothing_stands_is_not_left_to_be_in_the_way(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="before"),
        tracing(str(tmp_path / "t"), surroundings()[0], "receiver"),
    ):
        raise ValueError("before anything happened")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("precious", encoding="utf-8")
    with pytest.raises(ReportExists), tracing(str(tmp_path / "t"), surroundings()[0], "sender"):
        pytest.fail("it was opened")
    assert (tmp_path / "t").read_text(encoding="utf-8") == "precious"


def test_a_trace_that_could_not_be_written_is_said_in_a_sentence() -> None:
    environment, stderr = surroundings()
    with tracing("/dev/full", environment, "sender") as trace:
        assert trace is not None
        trace(1.0, "recovery:packet_lost", {"packets": 1})
    assert "/dev/full ends early" in stderr.getvalue()


def test_a_trace_in_what_is_sent_is_refused_and_one_beside_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "file").write_text("a", encoding="utf-8")
    sent = [str(tmp_path / "tree"), str(tmp_path / "file"), str(tmp_path / "missing")]
    with pytest.raises(BadOption, match="sent itself"):
        refuse_trace_within(sent, str(tmp_path / "tree" / "t"))
    refuse_trace_within(sent, str(tmp_path / "trees"))
    refuse_trace_within(sent, None)
