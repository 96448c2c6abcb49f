from __future__ import annotations

import asyncio
import json

import pytest

from tallow_cli.bench.process import loop_factory, say, say_use


def test_an_event_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("done", {"bytes": 5, "text": "ü\n"})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == {"event": "done", "bytes": 5, "text": "ü\n"}


def test_use_counts_from_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    say_use(cpu_before_s=-100.0)
    use = json.loads(capsys.readouterr().out)
    assert use["event"] == "use"
    assert use["cpu_s"] >= 100.0
    assert use["max_rss_bytes"] is None or use["max_rss_bytes"] > 2**20


def test_asyncios_own_loop_is_to_be_had() -> None:
    assert loop_factory("asyncio") is None
    factory = loop_factory("uvloop")
    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(asyncio.sleep(0, "ran")) == "ran"
