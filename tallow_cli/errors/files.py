"""Files and outputs of this machine: exit code 10."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from tallow_cli.errors.base import ExitCode, TallowError

_LONGEST_PATH: Final = (
    160  # characters, in the sentence about things that cannot be sent; JSON has all of them
)


def _ends(path: str) -> str:
    """A path short enough for a sentence: one that is too long to be sent has thousands of letters."""
    return (
        path if len(path) <= _LONGEST_PATH else f"{path[: _LONGEST_PATH // 2]}…{path[-_LONGEST_PATH // 2 :]}"
    )


class LocalFileError(TallowError):
    exit_code = ExitCode.LOCAL_FILE


class SourceMissing(LocalFileError):
    def __init__(self, path: str) -> None:
        super().__init__(f"{path} does not exist. Check the name.")
        self.path = path


class SourceUnreadable(LocalFileError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be read ({reason}). Check its permissions or leave it out.")
        self.path = path


class Unsendable(LocalFileError):
    """Some of what was named cannot be sent. `items` are all of them, as (path, reason): untrusted text."""

    SHOWN: ClassVar[int] = 5

    def __init__(self, items: Sequence[tuple[str, str]]) -> None:
        shown = "; ".join(f"{_ends(path)} ({reason})" for path, reason in items[: self.SHOWN])
        more = f"; and {len(items) - self.SHOWN:,} more" if len(items) > self.SHOWN else ""
        what = "1 thing" if len(items) == 1 else f"{len(items):,} things"
        super().__init__(
            f"{what} cannot be sent: {shown}{more}. "
            "Rename or mend them, leave them out with --exclude, or send the rest with --skip-unsendable."
        )
        self.items = tuple(items)


class SourceChanged(LocalFileError):
    def __init__(self, path: str, how: str) -> None:
        super().__init__(
            f"{path} changed while it was being sent ({how}). Send it again once it is finished."
        )
        self.path = path


class TargetExists(LocalFileError):
    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} exists and is not overwritten. Use --on-conflict rename, update or overwrite, or another --output."
        )
        self.path = path


class TargetNotDirectory(LocalFileError):
    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is not a directory, so nothing can be received into it. Choose another --output."
        )
        self.path = path


class TargetMissing(TargetNotDirectory):
    """The directory to receive into is not there."""

    def __init__(self, path: str) -> None:
        super(TargetNotDirectory, self).__init__(
            f"{path} does not exist, so nothing can be received into it. Make it first, or choose another --output."
        )
        self.path = path


class TargetUnwritable(LocalFileError):
    """`option` is the one that names the place."""

    def __init__(self, path: str, reason: str, *, option: str = "--output") -> None:
        super().__init__(
            f"{path} cannot be written ({reason}). Choose another {option} or check its permissions."
        )
        self.path = path


class ReaderGone(TargetUnwritable):
    """Whoever read the payload from standard output has closed it (SIGPIPE)."""

    def __init__(self) -> None:
        super(TargetUnwritable, self).__init__(
            "Whoever read standard output has gone, so the rest was not received. Standard output cannot be resumed: "
            "to have all of it, run both commands again."
        )
        self.path = "standard output"


class ReportExists(LocalFileError):
    """A report is not written over what is there."""

    def __init__(self, path: str, option: str) -> None:
        super().__init__(f"{path} exists and is not replaced. Remove it, or name another file with {option}.")
        self.path = path


class OutputUnwritable(LocalFileError):
    """Standard output does not take what is said there (which is not the payload: that is TargetUnwritable)."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Standard output cannot be written ({reason}), so what was to be said there is missing. "
            "Check where it leads."
        )
        self.reason = reason


class DiskFull(LocalFileError):
    def __init__(self, path: str, needed: int | None = None) -> None:
        amount = f"; {needed:,} more bytes are needed" if needed else ""
        super().__init__(
            f"There is no room for {path} on its disk{amount}. Free some space or choose another --output."
        )
        self.path = path
        self.needed = needed


class DiskNearlyFull(DiskFull):
    """A stream came to the part of the disk that is left to others."""

    def __init__(self, path: str, free: int, reserve: int) -> None:
        super(DiskFull, self).__init__(
            f"A stream may not fill the disk of {path}: {free:,} bytes are free, and {reserve:,} of them are left to "
            "other programs. Free some space or choose another --output."
        )
        self.path = path
        self.needed = reserve - free


class TargetChanged(LocalFileError):
    """What was to be replaced is not what the user agreed to have replaced."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} was made or changed while this was being received, so it is not replaced. "
            "Look at it, and run both commands again."
        )
        self.path = path
