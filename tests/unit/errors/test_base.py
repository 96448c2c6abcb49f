"""errors: the tree in the docstring is the tree, and each kind is told from the others by scripts."""

from __future__ import annotations

import re

from tallow_cli import errors
from tallow_cli.errors import RETRYABLE_CODES, ExitCode, PeerNeverCame, TallowError, Unsendable


def classes() -> list[type[TallowError]]:
    return [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, TallowError)
    ]


def test_the_docstring_names_every_class() -> None:
    drawn = set(re.findall(r"[A-Z]\w+", (errors.__doc__ or "").split("A sentence says")[0]))
    assert {each.__name__ for each in classes()} - drawn == set()


def test_every_class_but_the_base_ends_with_a_code_of_its_own_kind() -> None:
    for each in classes():
        assert each.exit_code is not ExitCode.DONE
        assert each.exit_code.kind == each.exit_code.name.lower().replace("_", "-")


def test_codes_and_kinds_are_told_apart() -> None:
    assert len({code.kind for code in ExitCode}) == len(ExitCode)
    assert all(0 <= code <= 255 for code in ExitCode)


def test_what_a_shell_uses_itself_is_not_used() -> None:
    # 126 to 128 are the shell's own; above 128 is 128 + the signal.
    assert not {126, 127, 128} & set(ExitCode)
    assert (ExitCode.INTERRUPTED, ExitCode.TERMINATED) == (128 + 2, 128 + 15)


def test_a_note_added_on_the_way_stands_behind_the_sentence() -> None:
    error = errors.PeerVanished("nothing was heard")
    before = error.sentence
    error.add_note("Run it again.")
    assert error.sentence == f"{before} Run it again."


def test_a_mistake_of_ours_is_not_worth_retrying() -> None:
    assert not RETRYABLE_CODES & {ExitCode.USAGE, ExitCode.WRONG_CODE, ExitCode.INTEGRITY, ExitCode.DONE}


def test_a_wait_of_less_than_a_second_is_not_called_none() -> None:
    assert "within 0.1 s" in PeerNeverCame(0.1).sentence
    assert "within 2.5 s" in PeerNeverCame(2.5).sentence
    assert "within 600 s" in PeerNeverCame(600.0).sentence


def test_a_path_that_is_too_long_to_be_sent_does_not_fill_the_screen() -> None:
    error = Unsendable([("d/" * 2_000 + "end.txt", "it is too long"), ("short", "it is odd")])
    assert len(error.sentence) < 500
    assert "end.txt (it is too long); short (it is odd)" in error.sentence
    assert len(error.items[0][0]) > 4_000
