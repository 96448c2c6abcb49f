from __future__ import annotations

import re

import pytest

from tallow_cli.session.events import SessionEvent, Stats
from tallow_cli.ui.live import REDRAW_INTERVAL_S, LiveRenderer
from tallow_cli.ui.output import Output
from tests.support.events import (
    CODE,
    CODE_READY,
    CONNECTED,
    DONE,
    EVERY_EVENT,
    FAILED,
    OFFER,
    PROGRESS,
    RECONNECTED,
    RECONNECTING,
    STATS,
)
from tests.support.streams import Stream

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


COLOUR = re.compile(r"\x1b\[(?:\d+;)*3[0-8]")


class Terminal:
    def __init__(self, *, colour: bool = True, verbose: bool = False, encoding: str = "utf-8") -> None:
        self.now = 0.0
        self.stream = Stream(terminal=True, encoding=encoding)
        self.renderer = LiveRenderer(
            Output(self.stream), colour=colour, verbose=verbose, clock=lambda: self.now
        )
        self.renderer.start()

    def tell(self, *events: SessionEvent) -> str:
        before = len(self.stream.getvalue())
        for event in events:
            self.renderer.handle(event)
        return self.stream.getvalue()[before:]


def test_the_code_and_the_command_stand_alone_on_their_lines() -> None:
    lines = Terminal(colour=False).tell(CODE_READY).splitlines()
    assert any(line.strip("\x1b[0m1 ").endswith(f"tallow recv {CODE}") for line in lines)


def test_nothing_is_animated_before_bytes_move() -> None:
    assert HIDE_CURSOR not in Terminal().tell(CODE_READY, CONNECTED, OFFER)


def test_it_redraws_at_most_ten_times_a_second_however_many_events_come() -> None:
    terminal = Terminal()
    draws = 0
    for step in range(1000):
        terminal.now = step / 1000
        draws += bool(terminal.tell(PROGRESS, STATS))
    assert REDRAW_INTERVAL_S >= 0.1
    assert 1 <= draws <= 10


def test_the_end_gives_the_terminal_back_and_leaves_a_summary() -> None:
    terminal = Terminal()
    assert HIDE_CURSOR in terminal.tell(CODE_READY, PROGRESS, STATS)
    end = terminal.tell(DONE)
    assert SHOW_CURSOR in end
    assert "Sent 2 files, 1.17 GiB, in 50.3 s: 200 Mbit/s." in end


def test_a_failure_gives_the_terminal_back_before_its_sentence() -> None:
    terminal = Terminal()
    terminal.tell(PROGRESS, STATS)
    end = terminal.tell(FAILED)
    assert end.index(SHOW_CURSOR) < end.index("tallow: The other side had to stop")


def test_closing_twice_is_closing_once() -> None:
    terminal = Terminal()
    terminal.tell(PROGRESS)
    terminal.renderer.close()
    written = terminal.stream.getvalue()
    terminal.renderer.close()
    assert terminal.stream.getvalue() == written
    assert written.count(SHOW_CURSOR) == 1


def test_no_peer_text_reaches_the_terminal_raw() -> None:
    text = Terminal(verbose=True).tell(*EVERY_EVENT)
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "\\x1b[2J" in text


def test_without_colour_there_is_no_colour() -> None:
    text = Terminal(colour=False, verbose=True).tell(*EVERY_EVENT)
    assert not COLOUR.search(text)
    assert COLOUR.search(Terminal(verbose=True).tell(*EVERY_EVENT))


def test_a_terminal_without_utf8_is_written_to_in_its_own_letters() -> None:
    text = Terminal(encoding="ascii").tell(*EVERY_EVENT)
    assert "* Sent" in text
    assert "(up to 10 min) ..." in text


def test_statistics_alone_start_the_display_too() -> None:
    assert HIDE_CURSOR in Terminal().tell(Stats(STATS.benchmark, (), 0, 0))


def test_nothing_is_drawn_where_another_job_has_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Output, "is_in_front", False)
    clock = iter(range(100))
    stream = Stream(terminal=True)
    renderer = LiveRenderer(Output(stream), clock=lambda: float(next(clock)))
    for _ in range(5):
        renderer.handle(PROGRESS)
    assert stream.getvalue() == ""
    renderer.handle(CONNECTED)
    assert "Connected" in stream.getvalue()  # a line is no frame


def test_a_lost_connection_is_drawn_at_once_and_not_before_there_was_anything_to_draw() -> None:
    terminal = Terminal(colour=False)
    assert HIDE_CURSOR not in terminal.tell(RECONNECTING, RECONNECTED)
    terminal.tell(PROGRESS, STATS)
    assert "no connection" in terminal.tell(RECONNECTING)
