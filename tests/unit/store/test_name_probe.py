"""Places of other systems, imitated: what they do to names, the probe has to find out."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

import pytest

from tallow_cli.offer.name_rules import POSIX, NameRules
from tallow_cli.store import name_probe
from tallow_cli.store.filesystem import Directory, DirFdFilesystem
from tallow_cli.store.name_probe import rules_at
from tests.support.disk import FailingFilesystem


class Foreign(DirFdFilesystem):
    """A disk that keeps names as another system would."""

    def stored(self, name: str) -> str:
        return name

    def where(self, directory: Directory, name: str) -> tuple[str, int | None]:
        return super().where(directory, self.stored(name))


class CaseFolding(Foreign):
    def stored(self, name: str) -> str:
        return name.lower()


class Normalizing(Foreign):
    def stored(self, name: str) -> str:
        return unicodedata.normalize("NFD", name)


class Stripping(Foreign):
    def stored(self, name: str) -> str:
        return name.rstrip(". ")


class Fat(Foreign):
    def stored(self, name: str) -> str:
        if set(name) & set('"*:<>?\\|'):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return name.lower().rstrip(". ")


class TextOnly(Foreign):
    def stored(self, name: str) -> str:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ)) from None
        return name


class ShortNames(Foreign):
    def longest_name(self, directory: Directory) -> int | None:
        return 143  # eCryptfs


@pytest.mark.parametrize(
    ("filesystem", "rules"),
    [
        (DirFdFilesystem(), POSIX),
        (CaseFolding(), NameRules(folds=True)),
        (Normalizing(), NameRules(folds=True)),
        (Stripping(), NameRules(strips=True)),
        (Fat(), NameRules(folds=True, strips=True, forbids='"*:<>?\\|')),
        (TextOnly(), NameRules(text_only=True)),
        (ShortNames(), NameRules(longest=143)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_probe_finds_out_what_a_place_does_to_names(
    tmp_path: Path, filesystem: DirFdFilesystem, rules: NameRules
) -> None:
    assert rules_at(tmp_path, filesystem) == rules
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_what_is_not_there_yet_is_judged_by_where_it_will_be(tmp_path: Path) -> None:
    assert rules_at(tmp_path / "new" / "sub", CaseFolding()) == NameRules(folds=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_where_nothing_can_be_made_the_system_is_believed(tmp_path: Path, code: int) -> None:
    assert rules_at(tmp_path, FailingFilesystem(code, "create")) == POSIX
    assert rules_at(tmp_path, FailingFilesystem(code, "open_root")) == POSIX


def test_the_operating_systems_own_rules_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tallow_cli.offer.name_rules import WINDOWS

    monkeypatch.setattr(name_probe, "platform_rules", lambda: WINDOWS)
    assert rules_at(tmp_path) == WINDOWS
    assert rules_at(tmp_path, ShortNames()).longest == 143
