"""A shell in a tmux window of its own: what really stands on a terminal that breaks lines, scrolls and is resized."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

_ROWS = 30


class Tmux:
    """`path` is the server's socket: nobody else's windows are touched."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self._path), "-f", os.devnull, *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def type(self, text: str, *keys: str) -> None:
        self.run("send-keys", "-l", text)
        self.run("send-keys", *keys)

    def press(self, key: str) -> None:
        self.run("send-keys", key)

    def resize(self, columns: int) -> None:
        self.run("resize-window", "-x", str(columns), "-y", str(_ROWS))

    @property
    def screen(self) -> str:
        return self.run("capture-pane", "-p")

    @property
    def history(self) -> str:
        """The screen, and all that has scrolled out of it."""
        return self.run("capture-pane", "-p", "-S", "-")

    @property
    def cursor_is_shown(self) -> bool:
        return self.run("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def until(self, holds: Callable[[str], bool], timeout_s: float = 20) -> str:
        """The screen, once this holds of it."""
        deadline = time.monotonic() + timeout_s
        while not holds(screen := self.screen):
            assert time.monotonic() < deadline, f"this is what stands there:\n{screen}"
            time.sleep(0.05)
        return screen


@contextmanager
def tmux(environment: Mapping[str, str], directory: Path, columns: int = 120) -> Iterator[Tmux]:
    """Skips the test where there is no tmux."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    window = Tmux(directory / "tmux")
    shell = [
        "env",
        "-i",
        *(f"{name}={value}" for name, value in environment.items()),
        "PS1=$ ",
        "bash",
        "--norc",
        "-i",
    ]
    # tmux's own locale decides whether it takes UTF-8.
    subprocess.run(
        ["tmux", "-u", "-S", str(directory / "tmux"), "-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y",
         str(_ROWS), *shell],
        check=True,
        cwd=directory,
        env={**environment, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    try:
        yield window
    finally:
        window.run("kill-server")
