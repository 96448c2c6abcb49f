"""A log that nobody reads holds nobody up."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from signaling.log import MOST_WAITING, LineLog


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue  # the test closed it


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    log = LineLog(pipe[1])
    for index in range(100):
        log.say(f"line {index}")
    log.flush()
    assert os.read(pipe[0], 1 << 16).decode().splitlines() == [f"line {index}" for index in range(100)]


def test_what_is_no_text_is_written_as_escapes(pipe: tuple[int, int]) -> None:
    log = LineLog(pipe[1])
    log.say("a\udcffb")
    log.flush()
    assert os.read(pipe[0], 100) == b"a\\udcffb\n"


def test_a_reader_that_reads_nothing_costs_a_bounded_memory_and_no_time(pipe: tuple[int, int]) -> None:
    log = LineLog(pipe[1])
    for index in range(3 * MOST_WAITING):
        log.say(f"{index:>100}")
    log.flush(0.0)
    assert len(log._waiting) <= MOST_WAITING


def test_a_reader_that_is_gone_is_written_to_no_more(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    log = LineLog(pipe[1])
    log.say("nobody hears")
    log.flush()
    log.say("nobody hears this either")
    assert not log._waiting
