from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest
from tallow_cli.offer.name_rules import MACOS, POSIX, WINDOWS, NameRules
from tallow_cli.offer.names import (
    MAX_NAME_BYTES,
    DirectoryBound,
    ForbiddenName,
    NameChecker,
    NameRule,
    SafePath,
    check_component,
    check_manifest_names,
    fold,
    local_name,
    numbered,
)
from tests.support.disk import directory_entry, file_entry, files, link_entry

VECTORS = Path(__file__).parents[2] / "vectors" / "names"
REFUSED = json.loads((VECTORS / "refused.json").read_text())["cases"]
ACCEPTED = json.loads((VECTORS / "accepted.json").read_text())
PLACES = {"windows": WINDOWS, "macos": MACOS}


def entries_of(case: dict[str, Any]) -> list[Entry]:
    kinds = case.get("kinds", ["file"] * len(case["paths"]))
    targets = case.get("targets", [None] * len(case["paths"]))
    return [
        Entry(path, EntryKind(kind), target=target)
        for path, kind, target in zip(case["paths"], kinds, targets, strict=True)
    ]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case['rule']}: {case['why']}")
def test_a_hostile_name_is_refused_by_its_rule(case: dict[str, Any]) -> None:
    for rules in (PLACES[case["at"]],) if "at" in case else (POSIX, MACOS, WINDOWS):
        with pytest.raises(PeerProtocolError) as raised:
            check_manifest_names(files(*entries_of(case)), rules)
        assert f", {case['rule']}: " in raised.value.detail


@pytest.mark.parametrize("path", ACCEPTED["posix_only"], ids=ascii)
def test_what_windows_alone_refuses_travels_between_others(path: str) -> None:
    (safe,) = check_manifest_names(files(file_entry(path)), POSIX)
    assert str(safe) == path
    with pytest.raises(PeerProtocolError):
        check_manifest_names(files(file_entry(path)), WINDOWS)


@pytest.mark.parametrize("paths", ACCEPTED["posix_only_together"], ids=ascii)
def test_names_that_differ_in_case_or_form_travel_to_where_they_are_two(paths: list[str]) -> None:
    assert len(check_manifest_names(files(*map(file_entry, paths)), POSIX)) == len(paths)


@pytest.mark.parametrize("rules", [WINDOWS, MACOS, NameRules(text_only=True)])
def test_bytes_that_are_no_text_go_only_where_names_are_bytes(rules: NameRules) -> None:
    (safe,) = check_manifest_names(files(file_entry("a\udcff")), POSIX)
    assert safe.components == ("a\udcff",)
    with pytest.raises(PeerProtocolError, match="not-utf-8"):
        check_manifest_names(files(file_entry("a\udcff")), rules)


def test_names_are_no_longer_than_the_place_takes() -> None:
    rules = NameRules(longest=8)
    assert check_manifest_names(files(file_entry("éééé")), rules)
    with pytest.raises(PeerProtocolError, match="too-long"):
        check_manifest_names(files(file_entry("ééééé")), rules)


def test_a_tree_as_deep_as_a_path_is_long_needs_no_recursion() -> None:
    path = "/".join(["d"] * 1536)
    for rules in (POSIX, WINDOWS):
        (safe,) = check_manifest_names(files(file_entry(path)), rules)
        assert len(safe.components) == 1536


def test_a_name_that_was_refused_stands_in_nobodys_way() -> None:
    checker = NameChecker(WINDOWS)
    for bad in ("a:b", "aux", "x."):
        with pytest.raises(ForbiddenName):
            checker.check(file_entry(bad))
    checker.check(file_entry("x"))
    with pytest.raises(ForbiddenName) as raised:
        checker.check(file_entry("X"))
    assert raised.value.other == "x"


def test_there_are_at_least_sixty_hostile_names_and_every_rule_but_encoding_has_one() -> None:
    assert len(REFUSED) >= 60
    assert {case["rule"] for case in REFUSED} == {rule.value for rule in NameRule} - {
        "not-utf-8",
        "too-many-directories",
    }


def test_a_surrogate_that_stands_for_no_byte_is_refused_everywhere() -> None:
    with pytest.raises(PeerProtocolError, match="not-utf-8"):
        check_manifest_names(files(file_entry("a\ud800b")))


@pytest.mark.parametrize("path", ACCEPTED["paths"], ids=ascii)
def test_an_honest_name_is_accepted_and_kept_as_it_is(path: str) -> None:
    (safe,) = check_manifest_names(files(file_entry(path)))
    assert "/".join(safe.components) == path
    assert str(safe) == path


@pytest.mark.parametrize(("path", "target"), ACCEPTED["links"])
def test_a_link_that_stays_inside_is_accepted(path: str, target: str) -> None:
    paths = check_manifest_names(files(directory_entry("d"), link_entry(path, target)))
    assert [str(path) for path in paths] == ["d", path]


def test_every_rule_has_an_explanation_for_people() -> None:
    assert all(rule.explanation for rule in NameRule)


def test_a_refusal_quotes_the_name_escaped_and_cut() -> None:
    with pytest.raises(PeerProtocolError) as raised:
        check_manifest_names(files(file_entry("\x1b[31m" + "x" * 1000)))
    assert "\x1b" not in raised.value.detail
    assert len(raised.value.detail) < 300


def test_a_directory_may_be_listed_before_or_after_what_is_in_it() -> None:
    before = check_manifest_names(files(directory_entry("d"), file_entry("d/x")))
    after = check_manifest_names(files(file_entry("d/x"), directory_entry("d")))
    assert {str(path) for path in before} == {str(path) for path in after} == {"d", "d/x"}


def test_the_same_name_in_two_directories_is_no_collision() -> None:
    assert len(check_manifest_names(files(file_entry("a/x"), file_entry("b/x"), file_entry("x")))) == 3


def test_nobody_else_can_make_a_safe_path_or_change_one() -> None:
    with pytest.raises(TypeError):
        SafePath(("..", "x"), object())
    (safe,) = check_manifest_names(files(file_entry("a/b")))
    with pytest.raises(AttributeError):
        safe.components = ("..",)
    with pytest.raises(TypeError):
        type("Mine", (SafePath,), {})(("..",), None)


def test_a_component_is_no_path() -> None:
    with pytest.raises(ForbiddenName, match="absolute"):
        check_component("a/b")


def test_a_safe_path_knows_its_parts() -> None:
    (safe,) = check_manifest_names(files(file_entry("a/b/c")))
    assert (safe.name, safe.parent, str(safe.top)) == ("c", ("a", "b"), "a")
    assert str(safe.directory) == "a/b"
    assert safe.top.directory is None
    assert repr(safe) == "SafePath('a/b/c')"
    (same,) = check_manifest_names(files(file_entry("a/b/c")))
    assert safe == same
    assert hash(safe) == hash(same)
    assert safe != "a/b/c"


@pytest.mark.parametrize(
    ("name", "is_directory", "renamed"),
    [
        ("photo.jpg", False, "photo (2).jpg"),
        ("site.d", True, "site.d (2)"),
        ("plain", False, "plain (2)"),
        (".bashrc", False, ".bashrc (2)"),
        ("backup.tar.gz", False, "backup (2).tar.gz"),
        ("a.b.c", False, "a.b (2).c"),
    ],
)
def test_a_renamed_name_keeps_its_extension(name: str, is_directory: bool, renamed: str) -> None:
    (path,) = check_manifest_names(files(file_entry(name)))
    assert str(numbered(path, 2, is_directory=is_directory)) == renamed


@pytest.mark.parametrize(
    "name", ["x" * 255, "é" * 120 + ".jpeg", "." + "x" * 254, "x." + "y" * 253, "😀" * 63]
)
def test_a_renamed_name_is_never_too_long(name: str) -> None:
    (path,) = check_manifest_names(files(file_entry(name)))
    for number in (1, 99):
        renamed = numbered(path, number, is_directory=False)
        assert len(renamed.name.encode()) <= MAX_NAME_BYTES
        assert f" ({number})" in renamed.name


def test_a_path_moves_under_a_renamed_top() -> None:
    (path,) = check_manifest_names(files(file_entry("site/css/x.css")))
    assert str(path.under(numbered(path.top, 1, is_directory=True))) == "site (1)/css/x.css"


def test_a_name_the_user_typed_may_be_anything_but_a_path() -> None:
    assert local_name("C:weird. ").components == ("C:weird. ",)
    for name in ("", ".", "..", "a/b", "a\0b"):
        with pytest.raises(ForbiddenName):
            local_name(name)


def test_folding_is_stable() -> None:
    for case in REFUSED:
        for path in case["paths"]:
            assert fold(fold(path)) == fold(path)


@pytest.mark.parametrize("most", [DirectoryBound(50), DirectoryBound(1000, 100)], ids=["number", "length"])
def test_names_may_not_imply_directories_without_end(most: DirectoryBound) -> None:
    entries = tuple(Entry(f"{number}/a/b/c/file", EntryKind.FILE) for number in range(20))
    with pytest.raises(PeerProtocolError, match="directories"):
        check_manifest_names(Manifest("files", entries), most=most)
    assert len(check_manifest_names(Manifest("files", entries))) == 20
