"""session.task_groups: one error out of many."""

from __future__ import annotations

from tallow_cli.errors import NoPathError, WrongCodeError
from tallow_cli.session.task_groups import first_error


def test_a_tallow_error_says_most_however_deep_it_lies() -> None:
    wrong = WrongCodeError()
    group = ExceptionGroup("a", [OSError(), ExceptionGroup("b", [ValueError(), wrong]), NoPathError("x")])
    assert first_error(group) is wrong


def test_without_one_the_first_of_any_kind_is_told() -> None:
    first = KeyError()
    assert first_error(BaseExceptionGroup("a", [ExceptionGroup("b", [first]), OSError()])) is first
