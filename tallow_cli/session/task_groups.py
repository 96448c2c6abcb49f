"""One error out of a group of them: callers are promised a TallowError, and people are told one thing."""

from __future__ import annotations

from tallow_cli.errors import TallowError


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of a task group that says most: the first TallowError, or else the first of any kind."""
    leaves = _leaves(group)
    return next((leaf for leaf in leaves if isinstance(leaf, TallowError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
