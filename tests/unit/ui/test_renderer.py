from __future__ import annotations

import subprocess
import sys

import pytest

from tallow_cli.ui.jsonlines import JsonLinesRenderer
from tallow_cli.ui.live import LiveRenderer
from tallow_cli.ui.output import Output
from tallow_cli.ui.plain import PlainRenderer
from tallow_cli.ui.quiet import QuietRenderer
from tallow_cli.ui.renderer import Renderer, choose_renderer
from tallow_cli.ui.results import ResultRenderer
from tests.support.events import CODE, EVERY_EVENT
from tests.support.streams import Stream

XTERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("terminal", "environ", "flags", "kinds"),
    [
        (True, XTERM, {}, [ResultRenderer, LiveRenderer]),
        (True, {"TERM": "dumb"}, {}, [ResultRenderer, PlainRenderer]),
        (True, {}, {}, [ResultRenderer, PlainRenderer]),
        (False, XTERM, {}, [ResultRenderer, PlainRenderer]),
        (True, XTERM, {"quiet": True}, [ResultRenderer, QuietRenderer]),
        (True, XTERM, {"json": True}, [JsonLinesRenderer, QuietRenderer]),
        (True, XTERM, {"json": True, "verbose": True}, [JsonLinesRenderer, PlainRenderer]),
        (True, XTERM, {"stdout_is_data": True}, [LiveRenderer]),
        (False, XTERM, {"stdout_is_data": True, "quiet": True}, [QuietRenderer]),
    ],
)
def test_streams_and_flags_decide_who_shows_what(
    terminal: bool, environ: dict[str, str], flags: dict[str, bool], kinds: list[type]
) -> None:
    renderer = choose_renderer(
        results=Output(Stream()), people=Output(Stream(terminal=terminal)), environ=environ, **flags
    )
    assert [type(sink) for sink in renderer.sinks] == kinds


def streams(*, stdout_terminal: bool, **flags: bool) -> tuple[str, str]:
    stdout, stderr = Stream(terminal=stdout_terminal), Stream()
    with choose_renderer(results=Output(stdout), people=Output(stderr), environ=XTERM, **flags) as renderer:
        for event in EVERY_EVENT:
            renderer.handle(event)
    return stdout.getvalue(), stderr.getvalue()


def test_standard_output_in_a_pipe_is_the_code_and_the_text() -> None:
    out, err = streams(stdout_terminal=False)
    assert out.startswith(CODE + "\n")
    assert f"tallow recv {CODE}" in err


def test_on_a_terminal_the_code_is_shown_once() -> None:
    out, _ = streams(stdout_terminal=True)
    assert CODE not in out


def test_quiet_leaves_the_code_alone_on_standard_output() -> None:
    out, err = streams(stdout_terminal=True, quiet=True)
    assert out.startswith(CODE + "\n")
    assert CODE not in err


def test_json_leaves_nothing_but_json_on_standard_output_and_the_error_in_words_on_the_other() -> None:
    out, err = streams(stdout_terminal=False, json=True)
    assert all(line.startswith('{"v": 1, ') for line in out.splitlines())
    assert len(out.splitlines()) == len(EVERY_EVENT)
    assert err.startswith("tallow: ")
    assert err.count("\n") == 1


def test_standard_output_that_carries_the_data_carries_nothing_else() -> None:
    assert streams(stdout_terminal=False, stdout_is_data=True)[0] == ""


def test_a_renderer_is_closed_when_its_block_ends_however_it_ends() -> None:
    calls: list[str] = []

    class Sink:
        def start(self) -> None:
            calls.append("start")

        def handle(self, event: object) -> None:
            calls.append("handle")

        def close(self) -> None:
            calls.append("close")

    def interrupted() -> None:
        with Renderer([Sink()]) as renderer:
            renderer.handle(EVERY_EVENT[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert calls == ["start", "handle", "close"]


def test_choosing_a_renderer_imports_rich_only_for_panels() -> None:
    script = (
        "import sys, io; from tallow_cli.ui.renderer import choose_renderer; from tallow_cli.ui.output import Output;"
        "choose_renderer(results=Output(io.StringIO()), people=Output(io.StringIO()), environ={}, json=True);"
        "sys.exit('rich' in sys.modules or 'aiortc' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
