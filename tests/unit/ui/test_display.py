"""ui.display: a frame replaces the one before it, wherever the terminal has moved that."""

from __future__ import annotations

from tallow_cli.ui.display import HIDE_CURSOR, SHOW_CURSOR, Display
from tallow_cli.ui.output import Output
from tests.support.streams import Stream


def erased(rows: int) -> str:
    """So many rows, from the last one up, and nothing that clears what is below: tmux would keep it in its history."""
    return "\r\x1b[2K" + "\x1b[A\x1b[2K" * (rows - 1)


class Behind:
    """A terminal that has stopped taking anything."""

    problem = None
    is_behind = True

    def __init__(self) -> None:
        self.texts: list[object] = []

    def write(self, text: object, replaces: str | None = None) -> None:
        self.texts.append(text)

    def flush(self, quiet_s: float, patience_s: float) -> bool:
        return False


class Screen:
    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.size = columns, rows
        self.stream = Stream(terminal=True)
        self.display = Display(Output(self.stream), lambda: self.size)

    def written_by(self, *texts: str) -> str:
        before = len(self.stream.getvalue())
        for text in texts:
            self.display.show(text)
        return self.stream.getvalue()[before:]


def test_the_second_frame_erases_the_first() -> None:
    screen = Screen()
    assert screen.written_by("one\ntwo\nthree") == HIDE_CURSOR + "one\ntwo\nthree"
    assert screen.written_by("four") == erased(3) + "four"
    assert screen.written_by("five") == erased(1) + "five"


def test_a_window_made_narrower_has_broken_the_lines_and_all_their_rows_are_erased() -> None:
    screen = Screen(columns=120)
    screen.written_by("x" * 120 + "\n" + "y" * 60)
    screen.size = 50, 24
    assert screen.written_by("z").startswith(erased(3 + 2))


def test_colours_take_no_columns_and_wide_letters_two() -> None:
    screen = Screen(columns=20)
    screen.written_by("\x1b[1;31m" + "x" * 20 + "\x1b[0m\n" + "日" * 10)
    assert screen.written_by("z").startswith(erased(2))
    screen.written_by("日" * 10)
    screen.size = 10, 24
    assert screen.written_by("z").startswith(erased(2))


def test_a_frame_higher_than_the_terminal_is_cut() -> None:
    screen = Screen(rows=4)
    assert screen.written_by("1\n2\n3\n4\n5").endswith("1\n2\n3")


def test_a_line_said_stands_above_the_frame() -> None:
    screen = Screen()
    screen.written_by("frame")
    screen.display.say("said\n")
    assert screen.stream.getvalue().endswith(erased(1) + "said\nframe")


def test_closing_takes_the_frame_away_and_shows_the_cursor_once() -> None:
    screen = Screen()
    screen.written_by("one\ntwo")
    screen.display.close()
    screen.display.close()
    assert screen.stream.getvalue().endswith(erased(2) + SHOW_CURSOR)
    assert screen.stream.getvalue().count(SHOW_CURSOR) == 1


def test_after_others_have_written_the_next_frame_erases_nothing_of_theirs() -> None:
    screen = Screen()
    screen.written_by("one\ntwo")
    screen.display.forget()
    assert screen.written_by("three") == HIDE_CURSOR + "three"


def test_a_terminal_that_takes_nothing_is_not_drawn_for_and_loses_no_line() -> None:
    behind = Behind()
    display = Display(Output(Stream(terminal=True), writer=behind), lambda: (80, 24))
    assert not display.takes_frames
    display.say("a file\n")
    assert behind.texts == ["a file\n"]
