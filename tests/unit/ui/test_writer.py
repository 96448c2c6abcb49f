"""ui.writer: a descriptor whose reader is slow, stopped or gone, and a writer that never waits for it."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator

import pytest

from tallow_cli.ui.writer import DescriptorWriter, InlineWriter

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and terminals of POSIX")

AT_ONCE = (0.0, 0.0)
PATIENTLY = (10.0, 20.0)


class Pipe:
    """A pipe that holds as little as the system lets one hold."""

    def __init__(self) -> None:
        self.reader, self.end = os.pipe()
        if sys.platform == "linux":
            fcntl.fcntl(self.end, fcntl.F_SETPIPE_SZ, 4096)
        self.writer = DescriptorWriter(self.end, str.encode)

    def read_all(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            got += os.read(self.reader, 65536)
        return got

    def close(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    opened = Pipe()
    yield opened
    opened.close()
    opened.writer.flush(*PATIENTLY)  # with its reader gone the thread has let go of the descriptor
    os.close(opened.end)


def test_what_is_written_arrives(pipe: Pipe) -> None:
    pipe.writer.write("hello\n")
    assert pipe.writer.flush(*PATIENTLY)
    assert pipe.read_all(6) == b"hello\n"
    assert not pipe.writer.is_behind


def test_a_reader_that_does_not_read_holds_nobody_up_and_gets_the_rest_when_it_does(pipe: Pipe) -> None:
    pipe.writer.write("x" * 100_000)
    pipe.writer.write("progress 1\n", replaces="progress")
    pipe.writer.write("progress 2\n", replaces="progress")
    pipe.writer.write("done\n")
    assert pipe.writer.is_behind
    expected = b"x" * 100_000 + b"progress 2\ndone\n"
    assert pipe.read_all(len(expected)) == expected
    assert pipe.writer.flush(*PATIENTLY)


def test_waiting_for_a_reader_that_does_not_read_ends(pipe: Pipe) -> None:
    pipe.writer.write("x" * 100_000)
    assert not pipe.writer.flush(*AT_ONCE)
    assert not pipe.writer.flush(0.01, 10.0)


def test_a_reader_that_goes_away_is_remembered_and_written_to_no_more(pipe: Pipe) -> None:
    pipe.writer.write("x" * 100_000)
    pipe.close()
    assert not pipe.writer.flush(*PATIENTLY)
    assert isinstance(pipe.writer.problem, BrokenPipeError)
    pipe.writer.write("more")
    assert not pipe.writer.is_behind


def test_a_descriptor_somebody_made_non_blocking_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.end, False)
    pipe.writer.write("x" * 100_000)
    assert pipe.read_all(100_000) == b"x" * 100_000
    assert pipe.writer.flush(*PATIENTLY)


def test_a_full_disk_is_remembered() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        writer = DescriptorWriter(full.fileno(), str.encode)
        writer.write("hello\n")
        assert not writer.flush(*PATIENTLY)
        assert isinstance(writer.problem, OSError)
        assert writer.problem.strerror == "No space left on device"


def test_without_a_descriptor_it_is_written_at_once() -> None:
    written: list[str] = []
    writer = InlineWriter(written.append)
    writer.write(part for part in ("a", "b"))
    assert written == ["a", "b"]
    assert writer.flush(*AT_ONCE)


def test_a_list_without_lines_keeps_nobody_waiting(pipe: Pipe) -> None:
    pipe.writer.write("begun\n")
    assert pipe.writer.flush(*PATIENTLY)
    with pipe.writer._changed:  # so that whoever waits begins to before the thread has looked
        pipe.writer.write(iter(()))
        assert pipe.writer.is_behind
        began = time.monotonic()
        assert pipe.writer.flush(4.0, 4.0)
    assert time.monotonic() - began < 3, "nobody said that there was nothing to wait for"
