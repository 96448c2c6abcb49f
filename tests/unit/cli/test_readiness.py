"""A receiver that could not keep anything, or ask anybody, learns it before the code is spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.options import ConflictChoice
from tallow_cli.cli.readiness import check_ready_to_receive
from tallow_cli.errors import BadOption, InputNeeded, LocalFileError
from tests.support.streams import Stream


def check(
    output: str | None,
    *,
    yes: bool = True,
    can_ask: bool = False,
    json: bool = False,
    terminal: bool = False,
    closed: frozenset[str] = frozenset(),
    on_conflict: ConflictChoice | None = None,
) -> str:
    """What people were told."""
    stderr = Stream()
    environment = Environment(
        stdin=Stream(), stdout=Stream(terminal=terminal), stderr=stderr, variables={}, closed=closed
    )
    check_ready_to_receive(
        environment, output=output, yes=yes, on_conflict=on_conflict, can_ask=can_ask, json=json
    )
    return stderr.getvalue()


def test_without_anybody_to_ask_consent_must_stand_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(InputNeeded, match="--yes"):
        check(str(tmp_path), yes=False)
    assert check(str(tmp_path), yes=False, can_ask=True) == ""
    assert check(str(tmp_path)) == ""


@pytest.mark.parametrize(
    ("json", "terminal", "closed"),
    [(True, False, frozenset()), (False, True, frozenset()), (False, False, frozenset({"stdout"}))],
)
def test_standard_output_must_be_free_to_carry_data(
    json: bool, terminal: bool, closed: frozenset[str]
) -> None:
    with pytest.raises(BadOption):
        check("-", json=json, terminal=terminal, closed=closed)
    assert check("-") == ""


def test_a_destination_without_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError):
        check(str(tmp_path / "none" / "file"))


def test_an_existing_file_is_refused_unless_the_conflict_is_settled(tmp_path: Path) -> None:
    existing = tmp_path / "a.txt"
    existing.write_text("there", encoding="utf-8")
    with pytest.raises(LocalFileError):
        check(str(existing))
    assert check(str(existing), on_conflict=ConflictChoice.overwrite) == ""
    assert check(str(existing), yes=False, can_ask=True) == ""
    assert existing.read_text(encoding="utf-8") == "there"


def test_looking_creates_nothing(tmp_path: Path) -> None:
    check(str(tmp_path / "new"))
    assert list(tmp_path.iterdir()) == []
