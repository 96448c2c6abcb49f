"""Where the foreign peers are, and why one is missing. `make test-interop` installs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.interop.install import DIRECTORY, NODE_MODULES, VENV_PYTHON

PEERS: Final = Path(__file__).parent / "peers"
_HOW: Final = "`make test-interop` installs it"


@pytest.fixture
def peer_command(request: pytest.FixtureRequest) -> list[str]:
    """The command that starts the peer the test class names; skips the test where it is not installed."""
    command, missing = find_peer(request.cls.peer)
    if missing:
        pytest.skip(missing)
    return command


@cache
def find_peer(name: str) -> tuple[list[str], str | None]:
    """(its command, what is missing for it or None)."""
    if name == "aiortc":
        return [sys.executable, str(PEERS / "aiortc_peer.py")], None
    if name == "libdatachannel":
        return [str(VENV_PYTHON), str(PEERS / "libdatachannel_peer.py")], _missing_libdatachannel()
    if name == "libwebrtc":
        command = ["node", str(PEERS / "libwebrtc_peer.js"), str(DIRECTORY)]
        return command, _missing_libwebrtc()
    raise ValueError(f"no peer is called {name!r}")


def _missing_libdatachannel() -> str | None:
    if not VENV_PYTHON.exists():
        return f"libdatachannel is not installed: no {VENV_PYTHON}; {_HOW}, given Python 3.12 or newer"
    return _failure([str(VENV_PYTHON), "-c", "import aiolibdatachannel"], "libdatachannel")


def _missing_libwebrtc() -> str | None:
    if shutil.which("node") is None:
        return "libwebrtc cannot run: there is no node on PATH"
    if not (NODE_MODULES / "@roamhq" / "wrtc").exists():
        return f"libwebrtc is not installed: no @roamhq/wrtc in {NODE_MODULES}; {_HOW}, given npm"
    load = f"require(require.resolve('@roamhq/wrtc', {{ paths: [{str(DIRECTORY)!r}] }})); process.exit(0)"
    return _failure(["node", "-e", load], "libwebrtc")


def _failure(command: list[str], name: str) -> str | None:
    """Why the installed peer does not load, or None."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return f"{name} does not load: {done.stderr.strip()[-200:]}" if done.returncode else None
