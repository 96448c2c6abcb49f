"""What one side tells the other about its own failure: the kind of thing that happened, and no paths."""

from __future__ import annotations

from tallow_cli.errors import (
    Declined,
    DiskFull,
    InputNeeded,
    IntegrityError,
    LocalFileError,
    NoAnswer,
    PeerProtocolError,
    ReaderGone,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    TallowError,
    TargetExists,
    TooLarge,
    TransferStalled,
    Unsendable,
    UsageError,
)

_SENTENCES: tuple[tuple[type[TallowError], str], ...] = (
    (Declined, "its user does not want this."),
    (TooLarge, "this is more than its user allows."),
    (InputNeeded, "nobody is there to accept this; --yes accepts without asking."),
    (UsageError, "its options leave no place to put this."),
    (SourceMissing, "a file it was sending disappeared."),
    (SourceChanged, "a file it was sending was changed meanwhile."),
    (SourceUnreadable, "a file it was sending could not be read."),
    (Unsendable, "it will not leave out what cannot have its name here."),
    (DiskFull, "its disk is full."),
    (TargetExists, "it has a file of that name already."),
    (ReaderGone, "nobody reads its output any more."),
    (LocalFileError, "it could not use one of its files."),
    (PeerProtocolError, "it received something that breaks the protocol."),
    (IntegrityError, "what it received was not what was sent."),
    (NoAnswer, "it has waited for too long for an answer to its offer."),
    (TransferStalled, "it has waited for too long."),
)
_UNFORESEEN_KIND = TallowError.exit_code.kind


def for_the_peer(error: BaseException) -> str:
    """A sentence for the other side's user. It names no file of ours: their paths are private."""
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence
    return "it met an error of its own."


def kind_for_the_peer(error: BaseException) -> str:
    """The name of the error's exit code."""
    return error.kind if isinstance(error, TallowError) else _UNFORESEEN_KIND
