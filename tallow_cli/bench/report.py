"""What a benchmark found: medians and spreads, in sentences, as JSON objects, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from tallow_cli.bench.emulated_link import LinkSpec
from tallow_cli.bench.runner import RunResult
from tallow_cli.bench.scenarios import Scenario
from tallow_cli.errors import BelowThresholdError
from tallow_cli.measure.throughput import format_throughput

GIGABYTE: Final = 1_000_000_000
# With two cores and some load the emulator is 0.1 ms late at 100 Mbit/s and 0.4 ms at 300; more is jitter that a
# sender notices.
LATE_S: Final = 0.001
UNSTEADY: Final = 0.2  # a spread above which a median of a few runs says little


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing. `relative` is (max - min) / median."""

    median: float
    min: float
    max: float

    @property
    def relative(self) -> float:
        return (self.max - self.min) / self.median if self.median else 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError for no values."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Summary:
    """All runs of one subject."""

    subject: str
    runs: int
    mbps: Spread
    quality_score: float | None  # medians; None for a subject that does not measure them
    rtt_ms: float | None
    loss: float | None
    sender_cpu_s_per_gb: float
    receiver_cpu_s_per_gb: float
    max_rss_bytes: int | None  # the larger end's, over all runs


@dataclass(frozen=True, slots=True)
class Report:
    """`ratio` is engine over compared, pair by pair: both run within moments of each other on the same machine.

    Of the emulator of the link, over all runs: `overruns` counts the datagrams that it was too slow to take, `late_s`
    is the worst run's mean delay of delivery beyond the link's own.
    """

    size_bytes: int
    target_mbps: float | None
    summaries: tuple[Summary, ...]
    ratio: Spread | None
    emulated: LinkSpec | None = None
    overruns: int = 0
    late_s: float = 0.0
    profile: str | None = None

    @property
    def measured(self) -> Summary:
        """The engine under test, not what it is compared with."""
        return self.summaries[0]

    def check(self, threshold_mbps: float | None) -> None:
        """Raises BelowThresholdError if the engine's median is below the threshold."""
        if threshold_mbps is not None and self.measured.mbps.median < threshold_mbps:
            raise BelowThresholdError(self.measured.mbps.median, threshold_mbps)


def summarize(scenario: Scenario, results: Sequence[RunResult]) -> Report:
    """Return the report of a finished scenario. `results` holds at least one run of every subject."""
    by_subject = {
        subject: [result for result in results if result.subject == subject] for subject in scenario.subjects
    }
    ratio = None
    if scenario.compare is not None:
        pairs = zip(by_subject[scenario.link.engine], by_subject[scenario.compare], strict=True)
        ratio = Spread.of([ours.mbps / theirs.mbps for ours, theirs in pairs])
    directions = [direction for result in results for direction in result.link or ()]
    return Report(
        size_bytes=scenario.size_bytes,
        target_mbps=scenario.profile.target_mbps if scenario.profile else None,
        summaries=tuple(_summary(subject, runs) for subject, runs in by_subject.items()),
        ratio=ratio,
        emulated=scenario.emulated,
        overruns=sum(direction.overrun for direction in directions),
        profile=scenario.profile.name if scenario.profile else None,
        late_s=max((direction.mean_late_s for direction in directions), default=0.0),
    )


def _summary(subject: str, runs: Sequence[RunResult]) -> Summary:
    figures = [run.benchmark for run in runs if run.benchmark is not None]
    rtts = [figure.avg_rtt_ms for figure in figures if figure.avg_rtt_ms is not None]
    scores = [figure.quality_score for figure in figures if figure.quality_score is not None]
    losses = [figure.avg_loss for figure in figures if figure.avg_loss is not None]
    gigabytes = [run.size_bytes / GIGABYTE for run in runs]
    peaks = [use.max_rss_bytes for run in runs for use in (run.sender, run.receiver) if use.max_rss_bytes]
    return Summary(
        subject=subject,
        runs=len(runs),
        mbps=Spread.of([run.mbps for run in runs]),
        quality_score=median(scores) if scores else None,
        rtt_ms=median(rtts) if rtts else None,
        loss=median(losses) if losses else None,
        sender_cpu_s_per_gb=median(
            run.sender.cpu_s / size for run, size in zip(runs, gigabytes, strict=True)
        ),
        receiver_cpu_s_per_gb=median(
            run.receiver.cpu_s / size for run, size in zip(runs, gigabytes, strict=True)
        ),
        max_rss_bytes=max(peaks, default=None),
    )


def run_line(result: RunResult, runs: int) -> str:
    """One line for people about a run that just ended."""
    rate = format_throughput(result.mbps)
    return f"Run {result.run} of {runs}, {result.subject}: {rate} ({result.seconds:.2f} s)"


def verdict_line(report: Report) -> str:
    """The result in one line, for those who want no more."""
    measured = report.measured
    runs = "one run" if measured.runs == 1 else f"the median of {measured.runs} runs"
    return f"{measured.subject}: {format_throughput(measured.mbps.median)}, {runs}."


def closing_lines(report: Report) -> list[str]:
    """The sentences under the table: the ratio, the profile's target, and what makes the figures doubtful."""
    lines = []
    measured = report.measured
    if report.ratio is not None:
        ours, theirs = report.summaries
        ratio = report.ratio
        each = f" (run by run {ratio.min:.2f} to {ratio.max:.2f})" if measured.runs > 1 else ""
        lines.append(f"{ours.subject} reaches {ratio.median:.2f} times the rate of {theirs.subject}{each}.")
    if report.target_mbps is not None:
        verdict = "reached" if measured.mbps.median >= report.target_mbps else "missed"
        target = (
            f"the {format_throughput(report.target_mbps)} of the profile {report.profile} were {verdict}."
        )
        if report.emulated is None:
            lines.append(
                f"On this machine alone, {target} No network was in between: --link RATE,RTT,LOSS emulates one."
            )
        else:
            lines.append(f"Over this link, {target}")
    if measured.runs > 1 and measured.mbps.relative > UNSTEADY:
        lines.append(
            f"The runs of {measured.subject} differ by {100 * measured.mbps.relative:.0f} %, so the median is a rough "
            "one: a larger --size or more --runs steady it, and a machine with nothing else to do."
        )
    if report.late_s > LATE_S:
        lines.append(
            f"This machine was too busy to emulate the link well: it delivered {report.late_s * 1e3:.1f} ms late."
        )
    if report.overruns:
        lines.append(
            f"This machine was too busy to emulate the link well: {report.overruns:,} datagrams more were lost "
            "than it should lose."
        )
    return lines


def run_fields(result: RunResult) -> dict[str, Any]:
    """The fields of a JSON `run` event (docs/reference/bench-json.md)."""
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(result)
    return fields


def summary_fields(report: Report, threshold_mbps: float | None = None) -> dict[str, Any]:
    """The fields of a JSON `summary` event (docs/reference/bench-json.md)."""
    import msgspec

    summaries = [
        {**msgspec.to_builtins(summary), "mbps": _spread_fields(summary.mbps)} for summary in report.summaries
    ]
    median_mbps = report.measured.mbps.median
    return {
        "size_bytes": report.size_bytes,
        "link": _link_fields(report.emulated),
        "target_mbps": report.target_mbps,
        "target_reached": None if report.target_mbps is None else median_mbps >= report.target_mbps,
        "threshold_mbps": threshold_mbps,
        "threshold_reached": None if threshold_mbps is None else median_mbps >= threshold_mbps,
        "subjects": summaries,
        "ratio": None if report.ratio is None else _spread_fields(report.ratio),
    }


def _link_fields(emulated: LinkSpec | None) -> dict[str, float] | None:
    if emulated is None:
        return None
    return {"rate_mbps": emulated.rate_bps / 1e6, "rtt_ms": emulated.rtt_s * 1e3, "loss": emulated.loss}


def _spread_fields(spread: Spread) -> dict[str, float]:
    return {"median": spread.median, "min": spread.min, "max": spread.max, "spread": spread.relative}
