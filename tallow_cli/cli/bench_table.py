"""A benchmark's report as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tallow_cli.ui.format import UNKNOWN, format_bytes

if TYPE_CHECKING:
    from tallow_cli.bench.emulated_link import LinkSpec
    from tallow_cli.bench.report import Report, Summary

MOST_CPU_S_PER_GB: Final = 1000.0


def table(report: Report) -> Table:
    """Return the report as a rich table, for standard error."""
    result = Table(
        box=SIMPLE_HEAD,
        title=f"{format_bytes(report.size_bytes)} per run{_over(report.emulated)}",
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    result.add_column("", no_wrap=True)
    for heading in ("Mbit/s", "min to max", "spread", "RTT ms", "loss %", "quality", "CPU s/GB", "MiB"):
        result.add_column(heading, justify="right", no_wrap=True)
    for summary in report.summaries:
        result.add_row(summary.subject, *_cells(summary))
    return result


def _over(emulated: LinkSpec | None) -> str:
    return "" if emulated is None else f" over {emulated}"


def _cells(summary: Summary) -> list[str]:
    rates, decimals = summary.mbps, 1 if summary.mbps.median < 100 else 0
    return [
        f"{rates.median:.{decimals}f}",
        f"{rates.min:.{decimals}f} to {rates.max:.{decimals}f}" if summary.runs > 1 else "",
        f"{100 * rates.relative:.0f} %" if summary.runs > 1 else "",
        "" if summary.rtt_ms is None else f"{summary.rtt_ms:.1f}",
        "" if summary.loss is None else f"{100 * summary.loss:.1f}",
        "" if summary.quality_score is None else f"{summary.quality_score:.0f}",
        f"{_cpu(summary.sender_cpu_s_per_gb)} + {_cpu(summary.receiver_cpu_s_per_gb)}",
        "" if summary.max_rss_bytes is None else f"{summary.max_rss_bytes / 2**20:.0f}",
    ]


def _cpu(seconds_per_gb: float) -> str:
    """Nothing where so little was sent that starting the process is all of it."""
    return f"{seconds_per_gb:.0f}" if seconds_per_gb < MOST_CPU_S_PER_GB else UNKNOWN
