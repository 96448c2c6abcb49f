from __future__ import annotations

from tallow_cli.ui.output import Output
from tests.support.streams import BrokenPipe, Stream


def test_a_reader_that_went_away_does_not_end_the_transfer() -> None:
    output = Output(BrokenPipe())
    output.line("one")
    output.line("two")


def test_a_closed_stream_is_written_to_no_more() -> None:
    stream = Stream()
    output = Output(stream)
    stream.close()
    output.line("one")


def test_letters_the_stream_cannot_encode_are_written_as_escapes() -> None:
    stream = Stream(encoding="ascii")
    Output(stream).line("über … 日本")
    assert stream.getvalue() == "\\xfcber ... \\u65e5\\u672c\n"


def test_the_output_knows_its_terminal_and_its_encoding() -> None:
    assert Output(Stream(terminal=True)).is_terminal
    assert not Output(Stream()).is_terminal
    assert Output(Stream(encoding="UTF-8")).is_utf8
    assert not Output(Stream(encoding="ascii")).is_utf8
