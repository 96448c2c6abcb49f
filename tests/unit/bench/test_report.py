from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tallow_cli.bench.report import (
    Spread,
    closing_lines,
    run_fields,
    run_line,
    summarize,
    summary_fields,
    verdict_line,
)
from tallow_cli.cli.bench_table import table
from tallow_cli.errors import BelowThresholdError, ExitCode
from tests.support.bench_results import BARE, EMULATED, ENGINE, OVER_A_LINK, REPORT, RESULTS, SCENARIO

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "bench-json.md"


def fields(value: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, item in value.items():
        found.add(prefix + key)
        if isinstance(item, dict) and key != "benchmark":
            found |= fields(item, f"{prefix}{key}.")
        elif isinstance(item, (list, tuple)):
            found |= fields(item[0], f"{prefix}{key}[].")
    return found


def test_the_median_is_reported_with_its_spread() -> None:
    ours, bare = REPORT.summaries
    assert ours.mbps == Spread(median=180.0, min=100.0, max=220.0)
    assert ours.mbps.relative == pytest.approx(120 / 180)
    assert (ours.subject, bare.subject, ours.runs) == (ENGINE, BARE, 3)
    assert ours.sender_cpu_s_per_gb == 12.0
    assert ours.max_rss_bytes == 80 * 2**20
    assert (ours.rtt_ms, bare.rtt_ms) == (8.5, None)


def test_the_ratio_is_taken_pair_by_pair() -> None:
    assert REPORT.ratio == Spread(median=0.9, min=0.8, max=1.1)
    assert summarize(replace(SCENARIO, compare=None), RESULTS).ratio is None


def test_a_median_below_the_threshold_ends_with_eleven() -> None:
    REPORT.check(None)
    REPORT.check(180.0)
    with pytest.raises(BelowThresholdError) as caught:
        REPORT.check(180.1)
    assert caught.value.exit_code is ExitCode.BELOW_THRESHOLD


def test_the_sentences_say_the_ratio_and_whether_the_target_was_reached() -> None:
    ratio, target, spread = closing_lines(REPORT)
    assert ratio == "aiortc reaches 0.90 times the rate of bare (run by run 0.80 to 1.10)."
    assert target == (
        "On this machine alone, the 200 Mbit/s of the profile lan-wifi were missed. "
        "No network was in between: --link RATE,RTT,LOSS emulates one."
    )
    assert spread.startswith("The runs of aiortc differ by 67 %, so the median is a rough one")
    over_a_link = replace(REPORT, ratio=None, target_mbps=50.0, emulated=EMULATED.emulated)
    assert (
        closing_lines(over_a_link)[0]
        == "Over this link, the 50.0 Mbit/s of the profile lan-wifi were reached."
    )
    assert verdict_line(REPORT) == "aiortc: 180 Mbit/s, the median of 3 runs."
    assert run_line(RESULTS[0], 3) == "Run 1 of 3, aiortc: 100 Mbit/s (80.00 s)"


def test_the_table_fits_eighty_columns_with_nothing_cut() -> None:
    stream = io.StringIO()
    Console(file=stream, width=80).print(table(REPORT))
    text = stream.getvalue()
    assert "…" not in text
    for cell in (ENGINE, BARE, "180", "100 to 220", "67 %", "8.5", "0.2", "95", "12 + 4", "80"):
        assert cell in text


def test_the_reference_lists_exactly_the_fields_of_both_events() -> None:
    _, run, summary = re.split(r"^## ", REFERENCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    documented = [set(re.findall(r"^\| `([^`]+)` \|", part, flags=re.MULTILINE)) for part in (run, summary)]
    assert fields(run_fields(OVER_A_LINK[0])) == documented[0]
    assert fields(summary_fields(summarize(EMULATED, OVER_A_LINK), threshold_mbps=100.0)) == documented[1]


def test_the_summary_says_whether_target_and_threshold_were_reached() -> None:
    summary = summary_fields(REPORT, threshold_mbps=100.0)
    assert (summary["target_reached"], summary["threshold_reached"]) == (False, True)
    assert summary_fields(replace(REPORT, target_mbps=None))["target_reached"] is None
    assert summary_fields(REPORT)["threshold_reached"] is None


def test_an_emulated_link_is_named_and_a_bad_emulation_confessed() -> None:
    report = summarize(EMULATED, OVER_A_LINK)
    stream = io.StringIO()
    Console(file=stream, width=100).print(table(report))
    assert "954 MiB per run over 100 Mbit/s, 50 ms, 1 %" in stream.getvalue()
    assert summary_fields(report)["link"] == {"rate_mbps": 100.0, "rtt_ms": 50.0, "loss": 0.01}
    late, overrun = closing_lines(report)[-2:]
    assert "2.4 ms late" in late
    assert "24 datagrams more were lost" in overrun
    assert summary_fields(REPORT)["link"] is None


def test_one_run_has_no_spread_and_no_run_by_run() -> None:
    single = summarize(replace(SCENARIO, runs=1), RESULTS[:2])
    stream = io.StringIO()
    Console(file=stream, width=80).print(table(single))
    assert not re.search(r"\d to \d|\d %", stream.getvalue())
    assert "run by run" not in " ".join(closing_lines(single))
    assert verdict_line(single) == "aiortc: 100 Mbit/s, one run."


def test_a_payload_too_small_for_its_processes_does_not_break_the_table() -> None:
    tiny = [replace(each, size_bytes=1) for each in RESULTS]
    stream = io.StringIO()
    Console(file=stream, width=80).print(table(summarize(SCENARIO, tiny)))
    assert "– + –" in stream.getvalue()
    assert "…" not in stream.getvalue()
