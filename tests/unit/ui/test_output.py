from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator

import pytest

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


def test_a_list_that_nobody_waits_for_ends_with_the_part_that_was_begun() -> None:
    stream = Stream()
    output = Output(stream)

    def parts() -> Iterator[str]:
        yield "one\n"
        output.cut_lists()
        yield "two\n"

    output.put(parts())
    output.put(iter(["three\n"]))
    output.line("the end")
    assert stream.getvalue() == "one\nthe end\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_the_size_is_that_of_the_terminal_it_leads_to() -> None:
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 9, 33, 0, 0))
    try:
        with os.fdopen(slave, "w") as stream:
            output = Output(stream)
            assert (output.columns, output.rows) == (33, 9)
    finally:
        os.close(master)
