"""What `tallow bench` says: at once, while it measures, and at the end."""

from __future__ import annotations

import asyncio
import json as json_module
import time
from typing import IO, TYPE_CHECKING, Any, Final, cast

from tallow_cli.bench.report import closing_lines, run_fields, run_line, summary_fields, verdict_line
from tallow_cli.bench.runner import RunResult, Underway
from tallow_cli.bench.scenarios import Scenario
from tallow_cli.cli.environment import Environment
from tallow_cli.ui.format import format_bytes, format_count

if TYPE_CHECKING:
    from tallow_cli.bench.csv_report import CsvReport
    from tallow_cli.bench.report import Report

TERMINAL_INTERVAL_S: Final = 0.5
LOG_INTERVAL_S: Final = 10.0  # a log needs a sign of life, and no more
_CLEAR_LINE: Final = "\r\x1b[K"


class BenchOutput:
    """Runs as they end and the report: JSON lines on standard output, or words on standard error.

    `begin`, `run` for each, `end`, then `report`. `watch` runs beside the measurement and shows `underway`.
    """

    def __init__(
        self,
        environment: Environment,
        scenario: Scenario,
        rows: CsvReport | None,
        *,
        json: bool,
        quiet: bool,
        interval_s: float | None = None,
    ) -> None:
        """`interval_s`: between two looks of `watch`, in place of what suits a terminal or a log."""
        self.underway = Underway()
        self._scenario = scenario
        self._rows = rows
        self._results, self._people = environment.results, environment.people
        self._json = json
        self._quiet = quiet
        self._overwrites = self._people.is_terminal and environment.variables.get("TERM") != "dumb"
        self._interval_s = interval_s or (TERMINAL_INTERVAL_S if self._overwrites else LOG_INTERVAL_S)
        self._status_shown = False

    def begin(self) -> None:
        """Say what is coming."""
        if not (self._json or self._quiet):
            self._people.line(opening_line(self._scenario))

    async def watch(self) -> None:
        """Show how far the run is, until cancelled."""
        if self._json or self._quiet:
            return
        interval_s = self._interval_s
        begun, began_at = (0, ""), time.monotonic()
        while True:
            await asyncio.sleep(interval_s)
            now = self.underway.run, self.underway.subject
            if now != begun:
                begun, began_at = now, time.monotonic() - interval_s
            self._status(status_line(self.underway, self._scenario.runs, time.monotonic() - began_at))

    def run(self, result: RunResult) -> None:
        """A run has ended."""
        self.end()
        if self._rows is not None:
            self._rows.add(result)
        if self._json:
            self._object("run", run_fields(result))
        elif not self._quiet:
            self._people.line(run_line(result, self._scenario.runs))

    def end(self) -> None:
        """Take away what stands on the line that is written over."""
        if self._status_shown:
            self._people.write(_CLEAR_LINE)
            self._status_shown = False

    def report(self, report: Report, fail_below: float | None) -> None:
        """All runs have ended. `--quiet` leaves the verdict."""
        if self._json:
            self._object("summary", summary_fields(report, fail_below))
            return
        if self._quiet:
            self._people.line(verdict_line(report))
        else:
            from rich.console import Console

            from tallow_cli.cli.bench_table import table

            Console(file=cast("IO[str]", self._people), highlight=False).print(table(report))
        for line in closing_lines(report):
            self._people.line(line)

    def _status(self, text: str) -> None:
        if self._overwrites:
            self._people.put(_CLEAR_LINE + text, replaces="status")
            self._status_shown = True
        else:
            self._people.line(text, replaces="status")

    def _object(self, event: str, fields: dict[str, Any]) -> None:
        document = {"v": 1, "t": round(time.time(), 3), "event": event, **fields}
        self._results.line(json_module.dumps(document))


def opening_line(scenario: Scenario) -> str:
    """What will be measured: `Measuring turbo and bare in turn on this machine: 3 runs of 64 MiB each.`"""
    what = " and ".join(scenario.subjects)
    turn, each = (" in turn", " each") if len(scenario.subjects) > 1 else ("", "")
    where = (
        "on this machine" if scenario.emulated is None else f"over an emulated link of {scenario.emulated}"
    )
    runs = f"{format_count(scenario.runs, 'run')} of {format_bytes(scenario.size_bytes)}{each}"
    return f"Measuring {what}{turn} {where}: {runs}."


def status_line(underway: Underway, runs: int, elapsed_s: float) -> str:
    """How far the run is that is being measured."""
    share = f"{100 * underway.share:.0f} % after " if underway.share else ""
    return f"Run {underway.run} of {runs}, {underway.subject}: {share}{elapsed_s:.0f} s …"
