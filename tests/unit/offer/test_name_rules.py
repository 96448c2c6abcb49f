from __future__ import annotations

import msgspec
import pytest

from tallow_cli.offer.name_rules import MACOS, POSIX, WINDOWS, NameRules, is_device, platform_rules


def test_every_system_has_its_rules() -> None:
    assert platform_rules("win32") == WINDOWS
    assert platform_rules("darwin") == MACOS
    for platform in ("linux", "freebsd14"):
        assert platform_rules(platform) is POSIX


def test_where_two_sets_of_rules_hold_both_are_kept() -> None:
    both = NameRules(forbids=":", longest=100).combined(NameRules(forbids="?:", strips=True))
    assert both == NameRules(forbids=":?", longest=100, strips=True)
    assert POSIX.combined(WINDOWS) == WINDOWS.combined(POSIX) == WINDOWS


@pytest.mark.parametrize("name", ["CON", "con.txt", "Nul .c", "com1", "LPT\u00b2", "conin$"])
def test_a_device_of_windows_is_known(name: str) -> None:
    assert is_device(name)


@pytest.mark.parametrize("name", ["console", "com", "com10", "acon", "xnul.txt", "con1"])
def test_what_only_looks_like_one_is_none(name: str) -> None:
    assert not is_device(name)


@pytest.mark.parametrize(
    "fields", [{"longest": 7}, {"longest": 256}, {"forbids": "x" * 65}, {"folds": 1}, {"more": True}]
)
def test_rules_out_of_bounds_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, NameRules)
