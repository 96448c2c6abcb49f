"""`tallow bench`: measure the real path between two processes on this machine."""

from __future__ import annotations

import json as json_module
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallow_cli.cli import options
from tallow_cli.cli.environment import Environment
from tallow_cli.errors import BadOption
from tallow_cli.ui.output import Output

if TYPE_CHECKING:
    from tallow_cli.bench.report import Report
    from tallow_cli.bench.runner import RunResult
    from tallow_cli.bench.scenarios import Scenario
    from tallow_cli.cli.drive import Emit

HELP = "Measure the real path on this machine: two processes, real signaling, real channels, random data."
SUMMARY = "Measure this machine's path, and fail below a rate."
EXAMPLES = """\
tallow bench
tallow bench --runs 3 --fail-below 80
"""
BENCH = "What is measured"


def command(
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="SIZE", help="Payload of a run, like 256MiB.", rich_help_panel=BENCH),
    ] = None,
    runs: Annotated[
        int, typer.Option("--runs", metavar="N", help="Runs; the median counts.", rich_help_panel=BENCH)
    ] = 3,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="Judge by a kind of network: lan-ethernet, lan-wifi or internet (500, 200, 50 Mbit/s).",
            rich_help_panel=BENCH,
        ),
    ] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(
            "--fail-below", metavar="MBPS", help="Exit 11 if the median is below this.", rich_help_panel=BENCH
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="NAME",
            help="Alternate with another engine, or with `bare`: a script that only sends.",
            rich_help_panel=BENCH,
        ),
    ] = None,
    link: Annotated[
        str | None,
        typer.Option(
            "--link",
            metavar="RATE,RTT,LOSS",
            help="Put an emulated link in between, like 100Mbit,50ms,1%; needs no root.",
            rich_help_panel=BENCH,
        ),
    ] = None,
    disk: Annotated[
        bool,
        typer.Option("--disk", help="Read and write a real file (below TMPDIR).", rich_help_panel=BENCH),
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a row per run.", rich_help_panel=options.OUTPUT),
    ] = None,
    channels: options.Channels = options.DEFAULT_CHANNELS,
    mode: options.Mode = options.ModeChoice.balanced,
    reliable: options.Reliable = False,
    buffer_high: options.BufferHigh = "16MiB",
    buffer_low: options.BufferLow = "4MiB",
    no_encrypt: options.NoEncrypt = False,
    engine: options.Engine = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Run `tallow bench`; the parameters are its options. Returns the exit code."""
    from tallow_cli.bench.emulated_link import parse_link
    from tallow_cli.bench.scenarios import Scenario, parse_bench_size, parse_profile
    from tallow_cli.cli.drive import debugging, drive
    from tallow_cli.cli.settings import link_settings, show

    environment = Environment()
    chosen = parse_profile(profile)
    scenario = Scenario(
        link=link_settings(
            engine=engine,
            channels=channels,
            mode=mode.value,
            reliable=reliable,
            buffer_high=buffer_high,
            buffer_low=buffer_low,
            limit=None,
            no_encrypt=no_encrypt,
        ),
        size_bytes=parse_bench_size(size, chosen),
        runs=runs,
        profile=chosen,
        compare=_subject(compare),
        emulated=None if link is None else parse_link(link),
        disk=_scratch() if disk else None,
    )
    output = _Output(environment, json=json, quiet=quiet)

    async def session(_emit: Emit) -> None:
        report = await _measure(scenario, output, csv)
        output.report(report, fail_below)
        report.check(fail_below)

    return drive(session, show(environment, json=json, quiet=quiet, verbose=False), debug=debugging())


def _subject(name: str | None) -> str | None:
    """What `--compare` names. Raises BadOption."""
    from tallow_cli.bench.scenarios import BARE
    from tallow_cli.net.engines import ENGINES

    if name is not None and name not in (*ENGINES, BARE):
        raise BadOption("--compare", f"{name!r} is not one of {', '.join((*sorted(ENGINES), BARE))}")
    return name


def _scratch() -> Path:
    import tempfile

    return Path(tempfile.gettempdir())


async def _measure(scenario: Scenario, output: _Output, csv: Path | None) -> Report:
    from tallow_cli.bench.report import summarize, write_csv
    from tallow_cli.bench.runner import run_scenario

    results = await run_scenario(scenario, lambda result: output.run(result, scenario.runs))
    if csv is not None:
        write_csv(csv, results)
    return summarize(scenario, results)


class _Output:
    """Runs as they end and the report: JSON lines on standard output, or words on standard error."""

    def __init__(self, environment: Environment, *, json: bool, quiet: bool) -> None:
        self._environment = environment
        self._results, self._people = Output(environment.stdout), Output(environment.stderr)
        self._json = json
        self._quiet = quiet

    def run(self, result: RunResult, runs: int) -> None:
        from tallow_cli.bench.report import run_fields, run_line

        if self._json:
            self._object("run", run_fields(result))
        elif not self._quiet:
            self._line(run_line(result, runs))

    def report(self, report: Report, fail_below: float | None) -> None:
        from tallow_cli.bench.report import closing_lines, summary_fields
        from tallow_cli.cli.bench_table import table

        if self._json:
            self._object("summary", summary_fields(report, fail_below))
            return
        if not self._quiet:
            from rich.console import Console

            Console(file=self._environment.stderr, highlight=False).print(table(report))
        for line in closing_lines(report):
            self._line(line)

    def _line(self, text: str) -> None:
        self._people.line(text)

    def _object(self, event: str, fields: dict[str, Any]) -> None:
        document = {"v": 1, "t": round(time.time(), 3), "event": event, **fields}
        self._results.line(json_module.dumps(document))
