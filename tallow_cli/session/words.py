"""What one side tells the other about its own failure: the kind of thing that happened, and no paths."""

from __future__ import annotations

from tallow_cli.errors import (
    DiskFull,
    IntegrityError,
    LocalFileError,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    TallowError,
    TargetExists,
)

_SENTENCES: tuple[tuple[type[TallowError], str], ...] = (
    (SourceMissing, "a file it was sending disappeared."),
    (SourceChanged, "a file it was sending was changed meanwhile."),
    (SourceUnreadable, "a file it was sending could not be read."),
    (DiskFull, "its disk is full."),
    (TargetExists, "it has a file of that name already."),
    (LocalFileError, "it could not use one of its files."),
    (IntegrityError, "what it received was not what was sent."),
)


def for_the_peer(error: TallowError) -> str:
    """A sentence for the other side's user. It names no file of ours: their paths are private."""
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence
    return "it met an error of its own."
