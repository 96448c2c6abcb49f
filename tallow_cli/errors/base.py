"""What every error is: one sentence for the user and one exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import ClassVar, Final


def seconds_text(count: float) -> str:
    """`600`, `86,400`, `2.5`, `0.1`: what somebody asked for is not rounded away."""
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


class ExitCode(IntEnum):
    """The process exit codes; `kind` is their name in JSON."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    SIGNALING_UNREACHABLE = 3
    NO_PEER = 4
    WRONG_CODE = 5
    NO_PATH = 6
    REFUSED = 7
    BROKEN_OFF = 8
    INTEGRITY = 9
    LOCAL_FILE = 10
    BELOW_THRESHOLD = 11
    PARTIAL = 12
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def kind(self) -> str:
        """The name scripts match on: `wrong-code`, `no-path`, …"""
        return self.name.lower().replace("_", "-")


# What the table in docs/reference/exit-codes.md calls worth retrying unchanged.
RETRYABLE_CODES: Final = frozenset(
    {
        ExitCode.SIGNALING_UNREACHABLE,
        ExitCode.NO_PEER,
        ExitCode.NO_PATH,
        ExitCode.BROKEN_OFF,
        ExitCode.INTERRUPTED,
        ExitCode.TERMINATED,
    }
)


class TallowError(Exception):
    """Base of all. Raise a subclass.

    Attributes: `exit_code`; `retryable`, whether the same command may succeed if run again unchanged; `peer_told`,
    whether the other side is known to have heard how this ended (None: it was not told, or nothing is known); `items`,
    all that the sentence only counts, as (path, reason); `findings`, what is known of the cause, for programs.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.UNEXPECTED
    retryable: bool = False
    peer_told: bool | None = None
    items: Sequence[tuple[str, str]] = ()
    findings: Mapping[str, object] | None = None

    @property
    def kind(self) -> str:
        return self.exit_code.kind

    @property
    def sentence(self) -> str:
        """What to show the user, with what was added on the way (`add_note`). Untrusted: sanitize before printing."""
        return " ".join([str(self), *getattr(self, "__notes__", ())])


def heard(told: bool | None) -> str:
    """Whether it was told is known only where its transport acknowledged it."""
    return "was told" if told else "did not confirm that it heard of this"
