from __future__ import annotations

import pytest

from tallow_cli.errors import BadOption
from tallow_cli.store.excludes import Excludes


@pytest.mark.parametrize(
    ("pattern", "excluded", "kept"),
    [
        ("*.o", ["src/x.o", "src/a/b.o", "x.o"], ["src/x.c", "src/x.o.txt", "src/.oo"]),
        (
            "node_modules",
            ["src/node_modules", "src/a/node_modules"],
            ["src/node_modules2", "src/my_node_modules"],
        ),
        ("?", ["src/a"], ["src/ab", "src"]),
        ("[ab]*", ["src/apple", "src/b"], ["src/cherry"]),
        ("[!ab]*", ["src/cherry", "src"], ["src/apple"]),
        ("[]x]", ["src/]", "src/x"], ["src/y"]),
        ("[a-c]", ["src/b"], ["src/d", "src/-"]),
        ("[", ["src/["], ["src/x"]),
        ("build/*.o", ["src/build/x.o"], ["src/build/a/x.o", "src/a/build/x.o", "src/x.o"]),
        ("src/build/*.o", ["src/build/x.o"], ["src/build/a/x.o"]),
        ("/build", ["src/build"], ["src/a/build"]),
        ("/src", ["src"], ["src/a/src"]),
        ("**/test", ["src/test", "src/a/b/test"], ["src/testing"]),
        ("src/**/x", ["src/x", "src/a/x", "src/a/b/x"], ["other/a/x"]),
        ("cache/**", ["src/cache/a", "src/cache/a/b"], ["src/cache"]),
        ("a**b", ["src/ab", "src/axxb"], ["src/a/b"]),
        (r"\*", ["src/*"], ["src/x"]),
        ("a.b", ["src/a.b"], ["src/axb"]),
        ("new\nline*", ["src/new\nline\n"], ["src/newline"]),
    ],
)
def test_what_a_pattern_means(pattern: str, excluded: list[str], kept: list[str]) -> None:
    excludes = Excludes([pattern])
    for path in excluded:
        assert excludes.match(path, is_directory=False), path
    for path in kept:
        assert not excludes.match(path, is_directory=False), path


def test_a_slash_at_the_end_means_directories_only() -> None:
    excludes = Excludes(["build/"])
    assert excludes.match("src/a/build", is_directory=True)
    assert not excludes.match("src/a/build", is_directory=False)


def test_several_patterns_add_up_and_none_excludes_nothing() -> None:
    assert Excludes(["*.o", "*.a"]).match("x.a", is_directory=False)
    assert not Excludes().match("x", is_directory=False)


@pytest.mark.parametrize("pattern", ["", "/", "!keep", "[z-a]"])
def test_what_cannot_be_a_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadOption, match="--exclude"):
        Excludes([pattern])
