"""cli.bench_output: what is said at once, while a run lasts, and at the end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from tallow_cli.bench.runner import Underway
from tallow_cli.cli.bench_output import BenchOutput, opening_line, status_line
from tallow_cli.cli.environment import Environment
from tests.support.bench_results import EMULATED, REPORT, RESULTS, SCENARIO
from tests.support.streams import Stream


class Scene:
    def __init__(self, *, terminal: bool = False, **flags: bool) -> None:
        self.out, self.err = Stream(), Stream(terminal=terminal)
        environment = Environment(Stream(), self.out, self.err, {})
        self.subject = BenchOutput(
            environment, SCENARIO, None, interval_s=0.01, **{"json": False, "quiet": False, **flags}
        )

    async def watched_for(self, intervals: int) -> None:
        watching = asyncio.ensure_future(self.subject.watch())
        for _ in range(intervals * 3):
            await asyncio.sleep(0.01)
        watching.cancel()


def test_what_is_coming_is_said_at_once() -> None:
    assert (
        opening_line(SCENARIO) == "Measuring aiortc and bare in turn on this machine: 3 runs of 954 MiB each."
    )
    alone = replace(EMULATED, compare=None, runs=1)
    assert (
        opening_line(alone)
        == "Measuring aiortc over an emulated link of 100 Mbit/s, 50 ms, 1 %: 1 run of 954 MiB."
    )
    scene = Scene()
    scene.subject.begin()
    assert scene.err.getvalue().startswith("Measuring")


def test_a_run_says_how_far_it_is() -> None:
    assert status_line(Underway("turbo", 1, 0.37), 3, 4.2) == "Run 1 of 3, turbo: 37 % after 4 s …"
    assert status_line(Underway("bare", 2, 0.0), 3, 4.2) == "Run 2 of 3, bare: 4 s …"


async def test_on_a_terminal_one_line_is_written_over_and_taken_away() -> None:
    scene = Scene(terminal=True)
    scene.subject.underway.subject, scene.subject.underway.run = "turbo", 1
    await scene.watched_for(4)
    scene.subject.run(RESULTS[0])
    text = scene.err.getvalue()
    assert "\r\x1b[KRun 1 of 3, turbo: 0 s …" in text
    assert text.endswith("\r\x1b[KRun 1 of 3, aiortc: 100 Mbit/s (80.00 s)\n")
    assert text.count("\n") == 1


async def test_a_log_gets_whole_lines() -> None:
    scene = Scene()
    scene.subject.underway.subject, scene.subject.underway.run = "turbo", 1
    await scene.watched_for(4)
    assert scene.err.getvalue().startswith("Run 1 of 3, turbo: 0 s …\n")
    assert "\x1b" not in scene.err.getvalue()


async def test_quiet_leaves_the_verdict_and_what_makes_it_doubtful() -> None:
    scene = Scene(terminal=True, quiet=True)
    scene.subject.begin()
    await scene.watched_for(2)
    scene.subject.run(RESULTS[0])
    assert scene.err.getvalue() == ""
    scene.subject.report(REPORT, None)
    lines = scene.err.getvalue().splitlines()
    assert lines[0] == "aiortc: 180 Mbit/s, the median of 3 runs."
    assert len(lines) == 4


async def test_json_says_nothing_but_json() -> None:
    scene = Scene(json=True)
    scene.subject.begin()
    await scene.watched_for(2)
    scene.subject.run(RESULTS[0])
    scene.subject.report(REPORT, 80.0)
    assert [json.loads(line)["event"] for line in scene.out.getvalue().splitlines()] == ["run", "summary"]
    assert scene.err.getvalue() == ""
