from __future__ import annotations

import pytest

from tallow_cli.ui.format import (
    format_bytes,
    format_count,
    format_duration,
    format_fraction,
    format_milliseconds,
    format_remaining,
    sparkline,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1239, "1.21 KiB"),
        (745 * 2**20, "745 MiB"),
        (999 * 2**20, "999 MiB"),
        (1000 * 2**20, "0.98 GiB"),
        (5 * 2**30, "5 GiB"),
        (5 * 2**30 + 1, "5.00 GiB"),
        (2**62, "4096 PiB"),
    ],
)
def test_sizes_have_three_figures_in_binary_units(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.1, "0.00 s"),
        (0.834, "0.83 s"),
        (9.994, "9.99 s"),
        (12.44, "12.4 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7620, "2 h 07 min"),
        (86400 * 4 + 3 * 3600, "4 d 03 h"),
    ],
)
def test_durations_read_in_the_unit_that_matters(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (41.6, "42 s"), (61.0, "1 min 01 s")])
def test_a_remaining_time_has_whole_seconds(seconds: float, text: str) -> None:
    assert format_remaining(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0.00 ms"), (0.42, "0.42 ms"), (8.52, "8.5 ms"), (214.2, "214 ms")]
)
def test_milliseconds_keep_what_can_be_told_apart(value: float | None, text: str) -> None:
    assert format_milliseconds(value) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(None, "–"), (0.0, "0 %"), (0.0004, "< 0.1 %"), (0.002, "0.2 %"), (0.0995, "10 %"), (1.0, "100 %")],
)
def test_a_small_loss_is_never_shown_as_none(fraction: float | None, text: str) -> None:
    assert format_fraction(fraction) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (12000, "12,000 files")])
def test_counts_agree_with_their_noun(number: int, text: str) -> None:
    assert format_count(number, "file") == text
    assert format_count(2, "entry", "entries") == "2 entries"


def test_a_sparkline_stands_on_zero_and_keeps_the_newest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8], 8) == "▂▃▄▅▆▇██"
    assert sparkline([0, 8], 8, ascii_only=True) == "_@"
    assert sparkline([0, 0], 8) == "▁▁"
    assert sparkline([], 8) == ""
    assert sparkline([1], 0) == ""
