from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from tallow_cli.cli.last_words import error_line
from tallow_cli.errors import ExitCode, Unsendable
from tallow_cli.session.events import Failed, LastWords, SessionEvent, Unfinished
from tallow_cli.ui.jsonlines import JsonLinesRenderer
from tallow_cli.ui.output import Output
from tests.support.events import EVERY_EVENT, FAILED, HOSTILE, OFFER

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "json.md"


def lines(*events: SessionEvent) -> list[str]:
    stream = io.StringIO()
    renderer = JsonLinesRenderer(Output(stream), clock=lambda: 1_700_000_000.5)
    renderer.start()
    for event in events:
        renderer.handle(event)
    renderer.close()
    return stream.getvalue().splitlines()


def fields(value: dict[str, Any], prefix: str = "") -> set[str]:
    """The names in one object as the reference writes them: `channels[].label`, `benchmark.avg_mbps`."""
    found: set[str] = set()
    for key, item in value.items():
        found.add(prefix + key)
        if isinstance(item, dict):
            found |= fields(item, f"{prefix}{key}.")
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            found |= fields(item[0], f"{prefix}{key}[].")
    return found


def documented() -> dict[str, set[str]]:
    """From the reference: the fields of each event, with those of its figures and those all events have."""
    sections = re.split(r"^## ", REFERENCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    names = [set(re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)) for section in sections]
    common, figures = names[0], names[-1]
    verdict = {name for name in names[-2] if name.startswith("verdict.")}  # beside them, the causes
    assert sections[-1].startswith("Figures")
    assert sections[-2].startswith("Verdict")
    events: dict[str, set[str]] = {}
    for section, own in zip(sections[1:-2], names[1:-2], strict=True):
        event = section.split("`")[1]
        events[event] = common | own | (figures if "benchmark" in own else set())
        events[event] |= verdict if "verdict" in own else set()
    return events


def test_the_examples_cover_every_event_there_is() -> None:
    assert {type(event) for event in EVERY_EVENT} == set(get_args(SessionEvent)) - {
        LastWords,
        Unfinished,
    }  # shown by nobody


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: event.event)
def test_the_reference_lists_exactly_the_fields_that_are_written(event: SessionEvent) -> None:
    (line,) = lines(event)
    assert fields(json.loads(line)) == documented()[event.event]


def test_the_reference_lists_exactly_the_events_there_are() -> None:
    assert documented().keys() == {event.event for event in EVERY_EVENT}


def test_every_event_is_one_line_of_printable_ascii() -> None:
    written = lines(*EVERY_EVENT)
    assert len(written) == len(EVERY_EVENT)
    for line in written:
        assert line.isascii()
        assert line.isprintable()


def test_each_line_says_version_time_and_event_first() -> None:
    for line, event in zip(lines(*EVERY_EVENT), EVERY_EVENT, strict=True):
        value = json.loads(line)
        assert list(value)[:3] == ["v", "t", "event"]
        assert (value["v"], value["t"], value["event"]) == (1, 1_700_000_000.5, event.event)


def test_a_script_gets_a_path_exactly_as_it_was_offered() -> None:
    (line,) = lines(OFFER)
    assert json.loads(line)["entries"][1]["path"] == "photos/" + HOSTILE


def test_an_error_carries_its_kind_sentence_code_and_whether_to_try_again() -> None:
    value = json.loads(lines(FAILED)[0])
    assert value["kind"] == "broken-off"
    assert value["exit_code"] == ExitCode.BROKEN_OFF
    assert value["retryable"] is True
    assert value["message"].startswith("The other side had to stop")


def test_the_bottleneck_is_its_name() -> None:
    stats = next(json.loads(line) for line in lines(*EVERY_EVENT) if '"stats"' in line)
    assert stats["benchmark"]["bottleneck"] == "none"
    assert stats["benchmark"]["quality_score"] == 95


def test_an_error_lists_all_that_its_sentence_counts() -> None:
    error = Unsendable([(f"f{number}", "no permission") for number in range(7)])
    (line,) = lines(Failed(error))
    assert json.loads(line)["items"] == [{"path": f"f{n}", "reason": "no permission"} for n in range(7)]
    assert json.loads(error_line(error))["items"] == json.loads(line)["items"]
