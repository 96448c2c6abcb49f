"""store.destination: what can be known of the place before anything is offered."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallow_cli.errors import (
    BadOption,
    ExitCode,
    LocalFileError,
    TargetExists,
    TargetMissing,
    TargetNotDirectory,
    TargetUnwritable,
)
from tallow_cli.store.destination import check_destination

NOBODY = 65534


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("dir")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user whom permissions hold for; root is above them."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    "output",
    [
        "dir",
        "dir/",
        "link",
        "link/",
        "new",
        "new/",
        "new/sub/",
        "dir/new",
        "dir/a/b/",
        "./~",
        ".",
        "..",
        "/tmp",
    ],
)
def test_a_place_that_can_take_something_passes_and_nothing_is_made(place: Path, output: str) -> None:
    before = sorted(place.rglob("*"))
    check_destination(output, replaces_or_renames=False)
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("output", "error", "named"),
    [
        ("a/b", TargetMissing, "a does not exist"),
        ("a/b/c", TargetMissing, "a/b does not exist"),
        ("dir/a/b", TargetMissing, "dir/a does not exist"),
        ("file/", TargetNotDirectory, "file is not a directory"),
        ("file/a", TargetNotDirectory, "file is not a directory"),
        ("file/a/b", TargetNotDirectory, "file is not a directory"),
        ("file/a/", TargetNotDirectory, "file is not a directory"),
        ("file", TargetExists, "file exists"),
        ("dangling", TargetExists, "dangling exists"),
        ("n" * 300, TargetUnwritable, "too long"),
        ("nu\0l", BadOption, "not the name of"),
        ("a/..", BadOption, "not the name of"),
        ("/dev/null", TargetExists, "/dev/null exists"),
    ],
)
def test_what_cannot_be_received_to_is_refused_for_the_true_reason(
    output: str, error: type[Exception], named: str
) -> None:
    with pytest.raises((LocalFileError, BadOption), match=named) as caught:
        check_destination(output, replaces_or_renames=False)
    assert type(caught.value) is error
    assert caught.value.exit_code in (ExitCode.LOCAL_FILE, ExitCode.USAGE)


def test_a_taken_name_is_no_hindrance_where_it_is_renamed_or_replaced() -> None:
    check_destination("file", replaces_or_renames=True)


def test_a_directory_that_may_not_be_written_is_found_before(place: Path) -> None:
    os.chmod(place / "dir", 0o555)
    os.chmod(place, 0o755)
    with without_privileges():
        for output in ("dir", "dir/", "dir/x", "dir/x/y/"):
            with pytest.raises(TargetUnwritable, match=r"^dir cannot be written \(no permission"):
                check_destination(output, replaces_or_renames=False)


def test_a_directory_that_may_not_be_looked_into_is_not_called_missing(place: Path) -> None:
    (place / "dir" / "deeper").mkdir()
    os.chmod(place / "dir", 0)
    os.chmod(place, 0o755)
    try:
        with without_privileges():
            for output in ("dir/x", "dir/deeper/x", "dir/deeper/"):
                with pytest.raises(TargetUnwritable, match="no permission"):
                    check_destination(output, replaces_or_renames=False)
    finally:
        os.chmod(place / "dir", 0o755)


def test_a_socket_in_the_way_is_a_taken_name(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(TargetExists):
            check_destination("socket", replaces_or_renames=False)


def test_a_current_directory_that_was_removed_is_found_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(TargetUnwritable, match=r"^The current directory cannot be written"):
        check_destination(".", replaces_or_renames=False)
