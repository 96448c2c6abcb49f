"""Tests hand our modules what they shall use; they do not change them from outside. What still does is counted here."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]
OURS = ("tallow_cli", "signaling")

# May only become fewer. A limit or a pause belongs into an argument or a settings object (`session.pace`), a system
# call into a double that is handed in.
STILL_PATCHED: dict[str, int] = {
    "interop/peers/tallow_peer.py": 1,
    "security/test_filesystem_attacks.py": 1,
    "security/test_hostile_signaling_server.py": 3,
    "security/test_reconnect_room.py": 1,
    "security/test_tampered_confirm.py": 2,
    "unit/cli/test_app.py": 2,
    "unit/cli/test_consent.py": 9,
    "unit/cli/test_pages.py": 2,
    "unit/crypto/test_handshake.py": 1,
    "unit/session/test_hosting.py": 2,
    "unit/store/test_file_source.py": 2,
    "unit/store/test_journal.py": 1,
    "unit/store/test_name_probe.py": 1,
    "unit/store/test_receive_root.py": 10,
    "unit/store/test_unfinished.py": 1,
    "unit/ui/test_live.py": 1,
    "vectors/make_handshake.py": 2,
}


def patched_in(path: Path) -> int:
    """How many calls of `setattr`, and assignments, change a module or class of ours, by name or as a dotted string."""
    text = path.read_text(encoding="utf-8")
    if not any(word in text for word in OURS):
        return 0
    tree = ast.parse(text)
    ours: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            ours |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            ours |= {
                alias.asname or alias.name.partition(".")[0]
                for alias in node.names
                if alias.name.partition(".")[0] in OURS
            }
    return sum(is_ours(target, ours) for node in ast.walk(tree) for target in changed_by(node))


def changed_by(node: ast.AST) -> list[ast.expr]:
    """What this statement or call changes an attribute of."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
        return node.args[:1]
    if isinstance(node, ast.Assign):
        return [target.value for target in node.targets if isinstance(target, ast.Attribute)]
    return []


def is_ours(target: ast.expr, ours: set[str]) -> bool:
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return target.value.partition(".")[0] in OURS
    while isinstance(target, ast.Attribute):
        target = target.value
    return isinstance(target, ast.Name) and target.id in ours


def test_no_test_changes_a_module_of_ours_but_for_those_that_are_counted() -> None:
    found = Counter({str(path.relative_to(TESTS)): patched_in(path) for path in sorted(TESTS.rglob("*.py"))})
    assert dict(+found) == STILL_PATCHED


def test_what_is_patched_is_recognized(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        "import os\n"
        "from tallow_cli.store import partial as module\n"
        "from tallow_cli.store.sink import Sink\n"
        "def test(monkeypatch):\n"
        "    monkeypatch.setattr(module, 'X', 1)\n"
        "    monkeypatch.setattr(Sink, 'open', None)\n"
        "    monkeypatch.setattr(module.os, 'open', None)\n"
        "    monkeypatch.setattr('signaling.log.X', 1)\n"
        "    module.X = 2\n"
        "    monkeypatch.setattr(os, 'open', None)\n"
        "    monkeypatch.setattr('builtins.open', None)\n",
        encoding="utf-8",
    )
    assert patched_in(path) == 5
