"""The command was not meant so: exit code 2."""

from __future__ import annotations

from collections.abc import Sequence

from tallow_cli.errors.base import ExitCode, TallowError


class UsageError(TallowError):
    exit_code = ExitCode.USAGE


class BadOption(UsageError):
    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option = option
        self.problem = problem


class InvalidCode(UsageError):
    """Text that cannot be a code. The text itself is not kept: it may be nearly right.

    `holder` is the variable or file that holds it, where nobody has just typed it.
    """

    def __init__(self, problem: str, holder: str | None = None) -> None:
        what = "That" if holder is None else f"What {holder} holds"
        super().__init__(f"{what} is not a Tallow code: {problem}. A code looks like 4821-acorn-blend-crisp.")
        self.problem = problem


class InputNeeded(UsageError):
    def __init__(self, what: str, option: str) -> None:
        super().__init__(f"{what} is needed, and there is nobody to ask here. Pass {option}.")
        self.option = option


class HiddenInHome(UsageError):
    """--yes would put names that begin with a dot, which programs read by themselves, into a home directory."""

    def __init__(self, paths: Sequence[str]) -> None:
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        super().__init__(
            f"{paths[0]}{more} would be put into your home directory, where programs act on names that begin with a "
            "dot, and --yes asks nobody. Name a directory with --output, or look at the offer without --yes."
        )
        self.paths = tuple(paths)


class NameplateTaken(UsageError):
    """Somebody else has, or lately had, the number of the code that was chosen."""

    retryable = True

    def __init__(self, nameplate: str) -> None:
        super().__init__(
            f"Another sender waits under the number {nameplate}, or did a moment ago. "
            "Choose another code, or leave it to Tallow to make one."
        )
        self.nameplate = nameplate
