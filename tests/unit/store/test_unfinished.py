"""What is removed where the process is left at once, whatever its threads are at."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest
from blake3 import blake3

from tallow_cli.errors import TallowError
from tallow_cli.store import unfinished
from tallow_cli.store.directory_sink import DirectorySink
from tests.support.disk import directory_entry, file_entry, files, tree

TREE = files(directory_entry("mix"), file_entry("mix/a", 3), file_entry("mix/deep/down/b", 9))


@pytest.fixture(autouse=True)
def _a_process_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "_leaving", False)


def test_what_is_begun_while_the_process_is_left_is_not_made(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path)
    sink.open(TREE)
    unfinished.remove_all(10)
    with pytest.raises(TallowError):
        sink.write(0, b"aaa")
    sink.close()
    assert [name for name, found in tree(tmp_path).items() if found is not None] == []


def test_all_that_is_unfinished_goes_and_what_is_published_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sink = DirectorySink(".", resume=False)
    sink.open(TREE)
    sink.write(0, b"aaabb")
    sink.finish(0, blake3(b"aaa").digest())
    sink._publisher.publish()  # type: ignore[union-attr]  # it was opened
    monkeypatch.chdir("/")
    unfinished.remove_all(10)
    assert {name for name, found in tree(tmp_path).items() if found is not None} == {"mix/a"}, (
        "no lock either"
    )
    unfinished.remove_all(10)
    monkeypatch.chdir(tmp_path)
    sink.close()
    assert unfinished._paths == set()


def test_what_can_be_gone_on_with_stays(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path, resume=True)
    sink.open(TREE)
    sink.write(0, b"aaabb")
    assert sink._journal is not None
    sink._journal.flush()
    sink.write(5, b"b")
    unfinished.remove_all(10)
    left = tree(tmp_path)
    for kind, count in ((".part", 2), (".lock", 1), (".journal", 1)):
        assert sum(path.endswith(kind) for path in left) == count
    sink.close()
    again = DirectorySink(tmp_path, resume=True)
    assert again.open(TREE).claims.total == 6
    again.abort()
    again.close()
    assert tree(tmp_path) == {}


def test_what_got_its_name_or_was_given_up_is_forgotten(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path)
    sink.open(TREE)
    sink.write(0, b"aaabbbbbbbbb")
    assert len(unfinished._paths) == 3, "two files and the lock"
    sink.finish(0, blake3(b"aaa").digest())
    sink.abort()
    assert unfinished._paths == set()
    sink.close()


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = Event()
    unfinished.note(os.fspath(tmp_path / "x"))
    monkeypatch.setattr(os, "unlink", lambda _: never.wait(30))
    unfinished.remove_all(0.01)
    never.set()
    unfinished.forget(os.fspath(tmp_path / "x"))
