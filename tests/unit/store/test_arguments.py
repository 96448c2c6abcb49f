from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallow_cli.errors import SourceMissing, SourceUnreadable, UsageError
from tallow_cli.store.arguments import named


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "w"
    for path in ("a/x", "b/x", "c/a/x", "x", "y", "a/y.tar.gz"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    monkeypatch.chdir(root)
    return root


def names(*paths: str) -> list[str]:
    return [argument.name for argument in named(paths)[0]]


def test_an_argument_is_sent_under_its_own_name() -> None:
    assert names("a/x", "y", "b") == ["x", "y", "b"]
    assert named(["a/x", "y"])[1] == []


def test_where_two_have_one_name_both_keep_their_parents() -> None:
    assert names("a/x", "b/x") == ["a/x", "b/x"]
    assert names("x", "a/x") == ["w/x", "a/x"]
    _, notices = named(["a/x", "b/x"])
    assert notices[0] == "a/x is sent as a/x, to tell it from another of that name."


def test_as_many_parents_as_it_takes() -> None:
    assert names("a/x", "c/a/x") == ["w/a/x", "c/a/x"]


def test_a_parent_that_is_sent_itself_is_not_mixed_with(work: Path) -> None:
    """a/ brings a/x: the x that is named beside it must not come into it, nor be it."""
    found = names("a", "a/x", "b/x")
    assert len(set(found)) == 3
    assert found[0] == "a"
    assert not any(name.startswith("a/") for name in found)


def test_the_same_thing_twice_is_sent_once(work: Path) -> None:
    os.symlink("x", work / "link")
    assert names("x", "./x", str(work / "x"), "a/../x") == ["x"]
    assert names("x", "link") == ["x"]


def test_what_parents_cannot_tell_apart_gets_a_number(tmp_path: Path) -> None:
    for top in ("p", "q"):
        (tmp_path / top).mkdir()
    (tmp_path / "p" / "f").write_text("")
    found = names(str(tmp_path / "p" / "f"), str(tmp_path / "p"), str(tmp_path / "w" / "x"), "y")
    assert len(set(found)) == 4


def test_what_is_missing_or_has_no_name_is_refused() -> None:
    with pytest.raises(SourceMissing):
        named(["nowhere"])
    with pytest.raises(SourceMissing):
        named(["a\0b"])
    with pytest.raises(UsageError, match="has no name"):
        named(["/"])


def test_a_link_that_leads_nowhere_is_not_said_to_be_missing(work: Path) -> None:
    (work / "link").symlink_to("nowhere")
    with pytest.raises(SourceUnreadable, match="it is a link to nowhere, which is not there"):
        named(["link"])


def test_where_the_current_directory_was_removed_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").touch()
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SourceUnreadable, match="the current directory has been removed"):
        named(["../x"])
    assert [argument.name for argument in named([str(tmp_path / "x")])[0]] == ["x"]
