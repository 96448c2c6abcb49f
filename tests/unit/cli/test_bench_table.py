"""The table of a benchmark: a row for each engine, and no figure that means nothing."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from tallow_cli.bench.report import Report
from tallow_cli.cli.bench_table import table
from tallow_cli.ui.format import UNKNOWN
from tests.support.bench_results import BARE, EMULATED, ENGINE, OVER_A_LINK, REPORT, summarize


def shown(report: Report) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(table(report))
    return capture.get()


def test_every_subject_has_a_row_with_its_median() -> None:
    text = shown(REPORT)
    for summary in REPORT.summaries:
        row = next(line for line in text.splitlines() if line.strip().startswith(summary.subject))
        assert f"{summary.mbps.median:.0f}" in row
    assert {ENGINE, BARE} <= {summary.subject for summary in REPORT.summaries}


def test_the_title_names_the_emulated_link() -> None:
    assert " over " not in shown(REPORT)
    assert "over 100Mbit" in shown(summarize(EMULATED, OVER_A_LINK)).replace("100 Mbit", "100Mbit")


def test_one_run_has_no_spread() -> None:
    once = replace(REPORT, summaries=tuple(replace(summary, runs=1) for summary in REPORT.summaries))
    assert shown(once).count(" to ") == 1, "the heading alone"
    assert shown(REPORT).count(" to ") == 1 + len(REPORT.summaries)


def test_the_cost_of_starting_a_process_is_no_cost_of_bytes() -> None:
    tiny = tuple(replace(summary, sender_cpu_s_per_gb=50_000.0) for summary in REPORT.summaries)
    assert f"{UNKNOWN} +" in shown(replace(REPORT, summaries=tiny))
