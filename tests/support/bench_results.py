"""The runs of a benchmark that nobody had to wait for."""

from __future__ import annotations

from dataclasses import replace

from tallow_cli.bench.emulated_link import LinkCounters, parse_link
from tallow_cli.bench.process import ProcessUse
from tallow_cli.bench.report import summarize
from tallow_cli.bench.runner import RunResult
from tallow_cli.bench.scenarios import BARE, PROFILES, Scenario
from tallow_cli.session.settings import LinkSettings
from tests.support.events import SNAPSHOT

__all__ = ["BARE", "EMULATED", "ENGINE", "OVER_A_LINK", "REPORT", "RESULTS", "SCENARIO"]

ENGINE = "aiortc"
SCENARIO = Scenario(
    link=LinkSettings(engine=ENGINE), runs=3, size_bytes=10**9, compare=BARE, profile=PROFILES["lan-wifi"]
)


def result(subject: str, run: int, mbps: float) -> RunResult:
    return RunResult(
        subject,
        run,
        size_bytes=10**9,
        seconds=8000 / mbps,
        mbps=mbps,
        sender=ProcessUse(6.0 * run, 80 * 2**20),
        receiver=ProcessUse(4.0, None),
        benchmark=None if subject == BARE else SNAPSHOT,
    )


RESULTS = [
    result(subject, run, mbps)
    for run, pair in enumerate([(100.0, 125.0), (220.0, 200.0), (180.0, 200.0)], start=1)
    for subject, mbps in zip((ENGINE, BARE), pair, strict=True)
]
REPORT = summarize(SCENARIO, RESULTS)
EMULATED = replace(SCENARIO, emulated=parse_link("100Mbit,50ms,1%"))
OVER_A_LINK = [
    replace(each, link=(LinkCounters(overrun=3, mean_late_s=0.0024), LinkCounters(overrun=1)))
    for each in RESULTS
]
