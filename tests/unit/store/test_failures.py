"""What an OSError becomes: the sentence, and whose fault it is."""

from __future__ import annotations

import errno
import os

import pytest

from tallow_cli.errors import (
    DiskFull,
    LocalFileError,
    SourceMissing,
    SourceUnreadable,
    TargetExists,
    TargetUnwritable,
)
from tallow_cli.store.failures import displayable, is_gone, reason, source_error, target_error


def problem(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EEXIST, TargetExists),
        (errno.ELOOP, TargetUnwritable),
        (errno.ENOTDIR, TargetUnwritable),
        (errno.EROFS, TargetUnwritable),
        (errno.EIO, TargetUnwritable),
    ],
)
def test_writing_fails_in_the_words_of_its_cause(code: int, kind: type[LocalFileError]) -> None:
    error = target_error(problem(code), "in/a.bin")
    assert type(error) is kind
    assert "in/a.bin" in error.sentence


def test_a_full_disk_says_how_much_was_needed() -> None:
    assert target_error(problem(errno.ENOSPC), "a", 5_000_000_000).sentence != (
        target_error(problem(errno.ENOSPC), "a").sentence
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOENT, SourceMissing), (errno.ENOTDIR, SourceMissing), (errno.EACCES, SourceUnreadable)],
)
def test_reading_fails_for_what_is_missing_or_for_what_may_not_be_read(
    code: int, kind: type[LocalFileError]
) -> None:
    assert type(source_error(problem(code), "a")) is kind


def test_what_stands_elsewhere_now_counts_as_gone() -> None:
    assert is_gone(problem(errno.ENOENT))
    assert is_gone(problem(errno.ELOOP))
    assert not is_gone(problem(errno.EACCES))


def test_a_reason_is_a_few_words_and_never_empty() -> None:
    assert reason(problem(errno.EACCES)) == "no permission"
    assert reason(problem(errno.EXDEV)) == os.strerror(errno.EXDEV).lower()
    assert reason(TimeoutError()) == "timeouterror"


def test_a_path_that_is_no_text_is_shown_with_escapes() -> None:
    assert displayable(os.fsdecode(b"caf\xe9.txt")) == r"caf\xe9.txt"
    assert displayable("\ud800x") == r"\ud800x"
    assert displayable("für.txt") == "für.txt"
