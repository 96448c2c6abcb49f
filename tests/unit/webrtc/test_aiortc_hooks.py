"""Pins what Tallow uses of aiortc and aioice beyond their public interface, and what happens where it is missing."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest

import tallow_cli.webrtc
import tallow_cli.wire
from tallow_cli.errors import UnfitLibrary
from tallow_cli.webrtc.aiortc_hooks import SHARED, TURBO, has_part, missing_hooks, resolve
from tallow_cli.webrtc.engines import make_engine

ROOMS = (Path(tallow_cli.webrtc.__file__).parent, Path(tallow_cli.wire.__file__).parent)
MEMBERS = [
    (kind, owner, name)
    for kind, hooks in (("shared", SHARED), ("turbo", TURBO))
    for owner, names in hooks
    for name in names.split()
]


# Ours, and by chance theirs too: a loop, a lock, the link's role, whether something is closed.
OURS_BY_CHANCE = {"_loop", "_lock", "_role", "_closed"}


def test_the_installed_aiortc_and_aioice_have_every_part_tallow_uses() -> None:
    assert missing_hooks(SHARED + TURBO) == (), (
        f"aiortc {version('aiortc')}, aioice {version('aioice')} changed"
    )


def test_a_module_or_class_that_is_not_there_lacks_everything() -> None:
    assert missing_hooks((("aiortc.no_such_module", "a"), ("aiortc:NoSuchClass", "b c"))) == (
        "no_such_module.a",
        "NoSuchClass.b",
        "NoSuchClass.c",
    )


@pytest.mark.parametrize(("kind", "owner", "name"), MEMBERS, ids=[f"{o}.{n}" for _, o, n in MEMBERS])
def test_without_any_one_part_turbo_falls_back_or_says_that_nothing_works(
    kind: str, owner: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_away(resolve(owner), name, monkeypatch)
    if kind == "turbo":
        engine = make_engine("turbo")
        assert engine.name == "aiortc"
        assert name in engine.notes[0]
        assert make_engine("aiortc").notes == ()
    else:
        for engine_name in ("turbo", "aiortc"):
            with pytest.raises(UnfitLibrary, match=name):
                make_engine(engine_name)


def take_away(owner: type | ModuleType | None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a version does that calls it otherwise."""
    assert owner is not None
    if isinstance(owner, ModuleType):
        monkeypatch.delattr(owner, name)
        return
    for base in owner.__mro__:
        if name in vars(base):
            monkeypatch.delattr(base, name)
        if name in vars(base).get("__annotations__", {}):
            monkeypatch.delitem(base.__annotations__, name)
        init = vars(base).get("__init__")
        if isinstance(init, FunctionType) and name in init.__code__.co_names:
            monkeypatch.setattr(base, "__init__", renamed(init, name))


def renamed(function: FunctionType, name: str) -> FunctionType:
    code: CodeType = function.__code__
    names = tuple(f"{each}_otherwise" if each == name else each for each in code.co_names)
    return FunctionType(
        code.replace(co_names=names),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def test_every_private_member_of_theirs_that_the_code_names_is_listed() -> None:
    owners = {owner for hooks in (SHARED, TURBO) for owner, _ in hooks}
    listed = {name for _, _, name in MEMBERS}
    used = {
        node.attr
        for room in ROOMS
        for path in room.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    }
    overridden = {
        node.name
        for room in ROOMS
        for path in room.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__")
    }
    theirs = {
        name
        for name in used | {name for name in overridden if name.startswith("_")}
        if any(has_part(resolve(owner), name) for owner in owners)
    }
    assert theirs - listed - OURS_BY_CHANCE == set()
