from __future__ import annotations

from dataclasses import replace

from tallow_cli.session.events import TextReceived
from tallow_cli.ui.output import Output
from tallow_cli.ui.results import ResultRenderer
from tests.support.events import CODE, CODE_READY, EVERY_EVENT
from tests.support.streams import Stream


def shown(*events: object, terminal: bool = False, shows_code: bool = True) -> str:
    stream = Stream(terminal=terminal)
    renderer = ResultRenderer(Output(stream), shows_code=shows_code)
    renderer.start()
    for event in events:
        renderer.handle(event)  # type: ignore[arg-type]  # every member of the union, from a tuple
    renderer.close()
    return stream.getvalue()


def test_the_code_is_a_line_of_its_own() -> None:
    assert shown(CODE_READY) == CODE + "\n"
    assert shown(CODE_READY, shows_code=False) == ""


def test_a_code_that_was_given_is_no_result() -> None:
    assert shown(replace(CODE_READY, given=True)) == ""


def test_a_text_reaches_a_pipe_as_it_was_sent() -> None:
    assert shown(TextReceived("no line end, \x1b and all")) == "no line end, \x1b and all"


def test_a_text_reaches_a_terminal_sanitized_with_one_line_end() -> None:
    assert shown(TextReceived("two\nlines\x1b[2J"), terminal=True) == "two\nlines\\x1b[2J\n"
    assert shown(TextReceived("done\n"), terminal=True) == "done\n"


def test_nothing_else_is_a_result() -> None:
    others = [event for event in EVERY_EVENT if event.event not in ("code", "text")]
    assert shown(*others) == ""
