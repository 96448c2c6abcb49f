"""cli.send: what the arguments name becomes a source, or one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.send import open_source
from tallow_cli.errors import BadOption, SourceMissing
from tallow_cli.offer.manifest import MAX_TEXT_BYTES
from tallow_cli.store.source import Source
from tests.support.streams import Stream


@contextlib.contextmanager
def surroundings(data: bytes = b"") -> Iterator[Environment]:
    """With `data` on standard input."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(data)
        stdin.seek(0)
        yield Environment(io.TextIOWrapper(stdin, encoding="utf-8"), Stream(), Stream(), {})


def opened(
    *paths: str,
    text: str | None = None,
    name: str | None = None,
    data: bytes = b"",
    excludes: tuple[str, ...] = (),
) -> Source:
    with surroundings(data) as environment:
        source = open_source(
            list(paths), text, environment, name=name, excludes=list(excludes), skip_unsendable=False
        )
        source.close()
        return source


def names(source: Source) -> list[str]:
    return [entry.path for entry in source.manifest.entries]


def test_a_text_is_read_from_standard_input_as_it_is() -> None:
    source = opened(text="-", data="zwei\nZeilen ü\n".encode())
    assert source.manifest.kind == "text"
    assert source.read_at(0, 100) == "zwei\nZeilen ü\n".encode()


def test_a_text_that_is_a_dash_can_still_be_sent() -> None:
    assert opened(text="-", data=b"-").read_at(0, 10) == b"-"


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"", "holds nothing"), (b"\xff\xfe", "not UTF-8"), (b"x" * (MAX_TEXT_BYTES + 1), "longer than")],
)
def test_what_is_no_text_on_standard_input_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(BadOption, match=problem):
        opened(text="-", data=data)


def test_a_text_with_bytes_that_are_no_text_is_refused_and_not_changed() -> None:
    with pytest.raises(BadOption, match="not UTF-8"):
        opened(text=os.fsdecode(b"caf\xe9"))


def test_standard_input_has_the_name_it_is_given() -> None:
    assert names(opened("-")) == ["stdin"]
    assert names(opened("-", name="backup.tar")) == ["backup.tar"]


@pytest.mark.parametrize("name", ["a/b", "..", ".", "/etc/passwd", "x\0y", "n" * 300])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(BadOption, match=r"--name: .* cannot be the name of a file"):
        opened("-", name=name)


@pytest.mark.parametrize("paths", [[__file__], [__file__, "-"]])
def test_a_name_is_for_standard_input_only(paths: list[str]) -> None:
    with pytest.raises(BadOption, match="--name"):
        opened(*paths, name="x")


def test_a_tilde_that_no_shell_expanded_is_expanded_unless_a_file_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a").write_text("at home")
    assert opened("~/a").manifest.total_bytes == len("at home")
    with pytest.raises(SourceMissing, match="home/b"):
        opened("~/b")
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "a").write_text("here")
    assert opened("~/a").manifest.total_bytes == len("here")


@pytest.mark.parametrize(
    ("paths", "text", "problem"),
    [
        ([], None, "name what to send"),
        ([""], None, "one of the names is empty"),
        (["-", "x"], None, "sent alone"),
        (["x"], "hi", "give one or the other"),
    ],
)
def test_what_contradicts_itself_is_refused(paths: list[str], text: str | None, problem: str) -> None:
    with pytest.raises(BadOption, match=problem):
        opened(*paths, text=text)
