"""Real worker processes: signaling, handshake, channels."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tallow_cli.bench.emulated_link import parse_link
from tallow_cli.bench.report import summarize
from tallow_cli.bench.runner import RunResult, run_scenario
from tallow_cli.bench.scenarios import BARE, MIB, Scenario
from tallow_cli.errors import DiskFull, ExitCode, TallowError, TransferStalled
from tallow_cli.session.settings import LinkSettings

pytestmark = pytest.mark.e2e

SMALL = Scenario(link=LinkSettings(engine="aiortc"), size_bytes=2 * MIB + 1, runs=1, run_timeout_s=60)


def children() -> set[str]:
    task = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    return set(Path(task).read_text().split()) if os.path.exists(task) else set()


async def test_an_engine_and_the_bare_script_run_in_turn_and_are_compared() -> None:
    seen: list[RunResult] = []
    scenario = Scenario(link=SMALL.link, size_bytes=SMALL.size_bytes, runs=1, compare=BARE, run_timeout_s=60)
    results = await run_scenario(scenario, seen.append)
    assert [result.subject for result in results] == ["aiortc", BARE]
    assert seen == results
    for result in results:
        assert result.size_bytes == SMALL.size_bytes
        assert result.mbps > 0
        assert result.sender.cpu_s > 0
    assert results[0].benchmark is not None
    assert results[0].benchmark.total_bytes == SMALL.size_bytes
    report = summarize(scenario, results)
    assert report.ratio is not None
    assert report.ratio.median > 0


async def test_over_an_emulated_link_every_subject_is_slower_than_it_and_loses_datagrams() -> None:
    scenario = Scenario(
        link=LinkSettings(engine="turbo"),
        size_bytes=2 * MIB,
        runs=1,
        compare=BARE,
        emulated=parse_link("50Mbit,20ms,0.5%"),
        run_timeout_s=60,
    )
    results = await run_scenario(scenario, lambda _: None)
    assert [result.subject for result in results] == ["turbo", BARE]
    for result in results:
        assert result.mbps < 50
        assert result.link is not None
        forward, back = result.link
        assert forward.received * 1400 > scenario.size_bytes  # all of it went through the link
        assert forward.lost > 0
        assert forward.delivered > back.delivered > 0


async def test_with_the_disk_a_file_is_read_and_written_and_nothing_is_left(tmp_path: Path) -> None:
    scenario = Scenario(
        link=SMALL.link, size_bytes=MIB, runs=1, disk=tmp_path, loop="asyncio", run_timeout_s=60
    )
    (result,) = await run_scenario(scenario, lambda _: None)
    assert result.size_bytes == MIB
    assert list(tmp_path.iterdir()) == []


async def test_a_run_that_takes_too_long_is_stopped_with_its_processes() -> None:
    before = children()
    scenario = Scenario(link=SMALL.link, size_bytes=2**40, runs=1, run_timeout_s=3)
    with pytest.raises(TransferStalled):
        await run_scenario(scenario, lambda _: None)
    assert children() <= before


async def test_cancelling_ends_the_processes() -> None:
    before = children()
    scenario = Scenario(link=SMALL.link, size_bytes=2**40, runs=1, run_timeout_s=60)
    task = asyncio.ensure_future(run_scenario(scenario, lambda _: None))
    await asyncio.sleep(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() <= before


async def test_what_ended_a_worker_ends_the_benchmark_with_its_sentence_and_exit_code() -> None:
    scenario = Scenario(link=LinkSettings(engine="warp"), size_bytes=1, runs=1, run_timeout_s=30)
    with pytest.raises(TallowError, match="warp") as caught:
        await run_scenario(scenario, lambda _: None)
    assert caught.value.exit_code is ExitCode.USAGE


async def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFull):
        await run_scenario(Scenario(size_bytes=2**60, runs=1, disk=tmp_path), lambda _: None)
    assert list(tmp_path.iterdir()) == []
