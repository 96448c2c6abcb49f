"""`tallow bench`: measure the real path between two processes on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tallow_cli.cli import options
from tallow_cli.cli.environment import environment_of
from tallow_cli.errors import BadOption, TargetUnwritable
from tallow_cli.webrtc.engines import ENGINES

if TYPE_CHECKING:
    from tallow_cli.bench.report import Report
    from tallow_cli.bench.runner import Children
    from tallow_cli.bench.scenarios import Scenario
    from tallow_cli.cli.bench_output import BenchOutput
    from tallow_cli.cli.drive import Emit

HELP = "Measure the real path on this machine: two processes, real signaling, real channels, random data."
SUMMARY = "Measure this machine's path, and fail below a rate."
EXAMPLES = """\
tallow bench
tallow bench --runs 3 --fail-below 80
"""
BENCH = "What is measured"
# Repeated from bench.scenarios, which `--help` must not pay to import; a test keeps them equal.
_PROFILES = ("lan-ethernet", "lan-wifi", "internet")
_SUBJECTS = (*sorted(ENGINES), "bare")


def command(
    context: typer.Context,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="SIZE",
            help="Payload of a run, like 256MiB; 64MiB, or what suits the profile, unless given.",
            rich_help_panel=BENCH,
        ),
    ] = None,
    runs: Annotated[
        str, typer.Option("--runs", metavar="N", help="Runs; the median counts.", rich_help_panel=BENCH)
    ] = "3",
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            autocompletion=options.completing(_PROFILES),
            help="Judge by a kind of network: lan-ethernet, lan-wifi or internet (500, 200, 50 Mbit/s); add --link.",
            rich_help_panel=BENCH,
        ),
    ] = None,
    fail_below: Annotated[
        str | None,
        typer.Option(
            "--fail-below",
            metavar="RATE",
            help="Exit 11 if the median is below this: Mbit/s, or with a unit like 80Mbit or 10MB.",
            rich_help_panel=BENCH,
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="NAME",
            autocompletion=options.completing(_SUBJECTS),
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
        str | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write a row per run to a new file; - is standard output.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            "--trace",
            metavar="DIR",
            help="Have both ends of each run write what the connection does into this directory, as JSON lines.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    interface: options.Interface = None,
    udp_ports: options.UdpPorts = None,
    channels: options.Channels = options.DEFAULT_CHANNELS,
    mode: options.Mode = "balanced",
    reliable: options.Reliable = False,
    max_retransmits: options.MaxRetransmits = None,
    buffer_high: options.BufferHigh = None,
    buffer_low: options.BufferLow = None,
    no_encrypt: options.NoEncrypt = False,
    engine: options.Engine = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Run `tallow bench`; the parameters are its options. Returns the exit code."""
    from tallow_cli.bench.csv_report import open_csv
    from tallow_cli.bench.emulated_link import parse_link
    from tallow_cli.bench.runner import Children
    from tallow_cli.bench.scenarios import MOST_RUNS, Scenario, parse_bench_size, parse_profile
    from tallow_cli.cli.bench_output import BenchOutput
    from tallow_cli.cli.drive import drive
    from tallow_cli.cli.settings import link_settings, show
    from tallow_cli.cli.ways import with_ways

    environment = environment_of(context)
    chosen = parse_profile(profile)
    threshold = options.mbps_option("--fail-below", fail_below)
    scenario = Scenario(
        link=with_ways(
            link_settings(
                engine=engine,
                channels=channels,
                mode=mode,
                reliable=reliable,
                max_retransmits=max_retransmits,
                buffer_high=buffer_high,
                buffer_low=buffer_low,
                limit=None,
                no_encrypt=no_encrypt,
            ),
            environment.variables,
            interface=interface,
            udp_ports=udp_ports,
        ),
        size_bytes=parse_bench_size(size, chosen),
        runs=options.count_option("--runs", runs, 1, MOST_RUNS),
        profile=chosen,
        compare=None if compare is None else options.choice_option("--compare", compare, _SUBJECTS),
        emulated=None if link is None else parse_link(link),
        disk=_scratch() if disk else None,
        trace=None if trace is None else _trace_directory(trace),
    )
    csv = options.path_option("--csv", csv)
    if json and csv == "-":
        raise BadOption("--csv", "standard output already carries the JSON lines (--json)")
    renderer = show(environment, json=json, quiet=quiet, verbose=False)

    children = Children()

    async def session(_emit: Emit) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(environment.ending.last_act(lambda _number: children.kill()))
            rows = None if csv is None else stack.enter_context(open_csv(csv, environment.stdout))
            output = BenchOutput(environment, scenario, rows, json=json, quiet=quiet)
            report = await _measure(scenario, output, children)
        output.report(report, threshold)
        report.check(threshold)

    return drive(session, renderer, environment)


def _trace_directory(text: str) -> Path:
    """Made if it is missing. Raises BadOption, TargetUnwritable."""
    path = Path(options.path_option("--trace", text))
    try:
        path.mkdir(exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL, which no path holds
        raise TargetUnwritable(
            text, getattr(error, "strerror", None) or str(error), option="--trace"
        ) from error
    return path.absolute()


def _scratch() -> Path:
    import tempfile

    return Path(tempfile.gettempdir())


async def _measure(scenario: Scenario, output: BenchOutput, children: Children) -> Report:
    import asyncio

    from tallow_cli.bench.report import summarize
    from tallow_cli.bench.runner import run_scenario

    output.begin()
    watching = asyncio.ensure_future(output.watch())
    try:
        results = await run_scenario(scenario, output.run, output.underway, children)
    finally:
        watching.cancel()
        output.end()
    return summarize(scenario, results)
