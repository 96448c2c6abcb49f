"""session.words: what the other side hears of our failures."""

from __future__ import annotations

import pytest

from tallow_cli.errors import (
    Declined,
    DigestMismatch,
    DiskFull,
    PeerProtocolError,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    TallowError,
    TargetExists,
    TargetUnwritable,
)
from tallow_cli.session.words import for_the_peer, kind_for_the_peer

SECRET = "/home/me/divorce.pdf"


@pytest.mark.parametrize(
    "error",
    [
        SourceMissing(SECRET),
        SourceUnreadable(SECRET, SECRET),
        SourceChanged(SECRET, "shorter"),
        TargetExists(SECRET),
        TargetUnwritable(SECRET, "no"),
        DiskFull(SECRET),
        DigestMismatch(SECRET),
        PeerProtocolError(SECRET),
        OSError(2, "No such file", SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_path_of_ours_is_told(error: Exception) -> None:
    assert "divorce" not in for_the_peer(error)


def test_the_most_precise_words_win() -> None:
    assert "disk is full" in for_the_peer(DiskFull("x"))
    assert "not what was sent" in for_the_peer(DigestMismatch("x"))
    assert "breaks the protocol" in for_the_peer(PeerProtocolError("x"))
    assert "does not want" in for_the_peer(Declined())


def test_what_nobody_foresaw_has_words_and_a_kind_too() -> None:
    assert for_the_peer(ZeroDivisionError()) == "it met an error of its own."
    assert kind_for_the_peer(ZeroDivisionError()) == kind_for_the_peer(TallowError()) == "unexpected"
    assert kind_for_the_peer(DiskFull("x")) == "local-file"
