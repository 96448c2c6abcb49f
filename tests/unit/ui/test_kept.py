"""What a failure says of the files that are there all the same."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from tallow_cli.errors import Interrupted, PeerVanished
from tallow_cli.session.events import (
    CodeReady,
    Failed,
    FileFinished,
    Kept,
    Progress,
    SessionEvent,
    Unfinished,
)
from tallow_cli.ui import wording
from tallow_cli.ui.jsonlines import JsonLinesRenderer
from tallow_cli.ui.kept import KeptTally
from tallow_cli.ui.output import Output
from tallow_cli.ui.renderer import Renderer

FAILED = Failed(PeerVanished("nothing was heard"))


def after(*events: SessionEvent) -> Kept | None:
    tally = KeptTally()
    for event in events:
        assert tally.complete(event) is event
    failed = tally.complete(FAILED)
    assert isinstance(failed, Failed)
    assert failed.error is FAILED.error
    return failed.kept


def file(path: str, size: int = 10) -> FileFinished:
    return FileFinished(path=path, size=size, saved_as=path)


def test_the_files_are_counted_and_their_place_is_the_directory_that_holds_them_all() -> None:
    progress = Progress(bytes=5, total=100, files_total=7)
    assert after(progress, file("/in/mix/a"), file("/in/mix/d/b", 5)) == Kept(2, 15, 7, "/in/mix")
    assert after(progress, file("/in/mix/d/b"), file("/in/mix/a")) == Kept(2, 20, 7, "/in/mix")
    assert after(progress, file("/in/a"), file("/in/b")) == Kept(2, 20, 7, "/in")
    assert after(progress, file("/in/ab/x"), file("/in/a/x"), file("/in/a/y")) == Kept(3, 30, 7, "/in")


def test_one_file_is_its_own_place_and_the_path_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert after(file("./a")) == Kept(1, 10, 0, os.fspath(tmp_path / "a"))


def test_a_sender_keeps_nothing_to_speak_of() -> None:
    code = CodeReady("1-a-b-c", None)
    assert after(code, FileFinished(path="a", size=3)) is None


def test_what_went_to_standard_output_is_no_file() -> None:
    assert after(Progress(5, 100, files_total=1), FileFinished(path="a", size=3)) == Kept(0, 0, 1, None)


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        (None, "lost (nothing was heard). Run both commands again."),
        (Kept(0, 0, 0, None), "Run both commands again."),
        (Kept(0, 0, 3, None), "again. Nothing had arrived whole, so nothing is kept."),
        (Kept(1, 1024, 3, "/in/a"), "again. 1 of 3 files (1 KiB) is complete, verified and kept: /in/a"),
        (
            Kept(1200, 3 << 20, 5000, "/in/\x1b[2J"),
            "again. 1,200 of 5,000 files (3 MiB) are complete, verified and kept: /in/\\x1b[2J",
        ),
    ],
)
def test_the_last_line_says_what_is_kept_and_where(kept: Kept | None, text: str) -> None:
    assert wording.failure(Failed(FAILED.error, kept)).endswith(text)


def test_scripts_are_told_in_fields() -> None:
    stream = io.StringIO()
    renderer = Renderer([JsonLinesRenderer(Output(stream))])
    renderer.handle(file("/in/a"))
    renderer.handle(Failed(Interrupted()))
    renderer.close()
    error = json.loads(stream.getvalue().splitlines()[-1])
    assert (error["kept_files"], error["kept_bytes"], error["kept_in"]) == (1, 10, "/in/a")


def test_a_payload_on_standard_output_is_not_spoken_of() -> None:
    stream = io.StringIO()
    renderer = Renderer([JsonLinesRenderer(Output(stream))], keeps_files=False)
    renderer.handle(Progress(5, 100, files_total=1))
    renderer.handle(Failed(Interrupted()))
    error = json.loads(stream.getvalue().splitlines()[-1])
    assert (error["kept_files"], error["kept_bytes"], error["kept_in"]) == (None, None, None)


def test_what_is_unfinished_is_told_with_how_to_go_on() -> None:
    kept = after(Progress(5, 100, files_total=2), file("/in/a"), Unfinished(1, 3 * 2**30, "/in"))
    assert kept == Kept(1, 10, 2, "/in/a", 1, 3 * 2**30)
    text = wording.failure(Failed(PeerVanished("silence"), kept))
    assert text.endswith(
        "1 of 2 files (10 B) is complete, verified and kept: /in/a; 3 GiB of an unfinished file is kept. "
        "To go on, have the same sent again, and receive it into the same place"
    )
    alone = after(Progress(5, 100, files_total=2), Unfinished(2, 2**20, "/in"))
    assert "Nothing had arrived whole. 1 MiB of 2 unfinished files are kept" in wording.failure(
        Failed(PeerVanished("silence"), alone)
    )


def test_the_command_that_goes_on_is_told_where_there_is_something_to_go_on_with() -> None:
    stream = io.StringIO()
    renderer = Renderer([JsonLinesRenderer(Output(stream))], go_on="tallow recv -o 'my place'")
    renderer.handle(Failed(Interrupted()))
    renderer.handle(Unfinished(1, 1, None))
    renderer.handle(Failed(Interrupted()))
    renderer.close()
    first, last = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["go_on"], last["go_on"]) == (None, "tallow recv -o 'my place'")
    kept = Kept(0, 0, 1, None, 1, 2**20, "tallow recv -o 'my place'")
    assert wording.failure(Failed(Interrupted(), kept)).endswith(
        "1 MiB of an unfinished file is kept. To go on, have the same sent again, and receive it with: "
        "tallow recv -o 'my place'"
    )


def test_what_is_unfinished_is_no_line_of_its_own() -> None:
    stream = io.StringIO()
    renderer = Renderer([JsonLinesRenderer(Output(stream))])
    renderer.handle(Unfinished(1, 1, None))
    assert stream.getvalue() == ""
