"""Pins what Tallow uses of aiortc and aioice beyond their public interface, and what happens where it is missing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import aioice
import aiortc
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
# What their constructors name of the standard library and call on its objects, as ours do.
ANYBODYS = {
    "Future",
    "Queue",
    "append",
    "from_bytes",
    "get_extra_info",
    "register",
    "result",
    "set",
    "unpack_from",
    "urandom",
}


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
    take_away(owner, name, monkeypatch)
    if kind == "turbo":
        engine = make_engine("turbo")
        assert engine.name == "aiortc"
        assert name in engine.notes[0]
        assert make_engine("aiortc").notes == ()
    else:
        for engine_name in ("turbo", "aiortc"):
            with pytest.raises(UnfitLibrary, match=name):
                make_engine(engine_name)


def take_away(owner: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a version does that calls it otherwise."""
    part = resolve(owner)
    assert part is not None
    if isinstance(part, ModuleType):
        monkeypatch.delattr(part, name)
        return
    if issubclass(part, Enum):  # whose members cannot be taken from it
        holder, _, class_name = owner.replace(":", ".").rpartition(".")
        module, _, inner = holder.rpartition(".") if "." in owner.partition(":")[2] else (holder, "", "")
        others = Enum(part.__name__, {each.name: each.value for each in part if each.name != name})  # type: ignore[misc]
        monkeypatch.setattr(resolve(f"{module}:{inner}" if inner else module), class_name, others)
        return
    for base in part.__mro__:
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


def trees() -> Iterator[ast.Module]:
    for room in ROOMS:
        for path in room.glob("*.py"):
            yield ast.parse(path.read_text())


def named(kinds: tuple[type[ast.AST], ...]) -> set[str]:
    """What the code reads of objects (Attribute), or defines (FunctionDef)."""
    return {
        getattr(node, "attr", None) or getattr(node, "name", "")
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    }


LISTED = {name for _, _, name in MEMBERS}
OWNERS = {owner for hooks in (SHARED, TURBO) for owner, _ in hooks}


def test_every_private_member_of_theirs_that_the_code_names_is_listed() -> None:
    used = named((ast.Attribute, ast.FunctionDef, ast.AsyncFunctionDef))
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}
    theirs = {name for name in private if any(has_part(resolve(owner), name) for owner in OWNERS)}
    assert theirs - LISTED - OURS_BY_CHANCE == set()


def documented() -> set[str]:
    """What their documentation promises: what a package exports, its members that have a docstring (which is what
    autodoc shows), and the fields of its dataclasses."""
    names: set[str] = set()
    for package in (aiortc, aioice):
        exported = {name: part for name, part in vars(package).items() if not name.startswith("_")}
        names |= set(exported)
        for part in exported.values():
            if isinstance(part, type):
                names |= {name for name in dir(part) if getattr(getattr(part, name, None), "__doc__", None)}
                names |= set(getattr(part, "__dataclass_fields__", ()))
    return {name for name in names if not name.startswith("_")}


def test_every_member_of_theirs_without_an_underscore_that_nobody_promises_is_listed_too() -> None:
    modules = {import_module(owner.partition(":")[0]) for owner in OWNERS}
    classes = {
        part
        for module in modules
        for part in vars(module).values()
        if isinstance(part, type) and part.__module__ in {module.__name__ for module in modules}
    }
    public = {name for name in named((ast.Attribute,)) if not name.startswith("_")}
    theirs = {name for name in public if any(has_part(each, name) for each in classes)}
    assert theirs - documented() - LISTED - ANYBODYS == set()


def test_every_name_imported_from_their_inner_modules_is_listed_or_exported() -> None:
    inner = {
        alias.name
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("aiortc.", "aioice."))
        for alias in node.names
    }
    assert inner - LISTED - documented() == set()
