"""The process's surroundings, gathered in one place so that tests can replace them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Environment:
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def can_ask(self, *, no_input: bool) -> bool:
        """Whether a person is there to answer: both the question's and the answer's stream are terminals."""
        return not no_input and self.stdin.isatty() and self.stderr.isatty()

    @property
    def config_path(self) -> Path:
        """`TALLOW_CONFIG`, or `tallow-transfer/config.toml` under the XDG configuration directory.

        The directory has our distribution's name because other programs are called tallow too.
        """
        named = self.variables.get("TALLOW_CONFIG")
        if named:
            return Path(os.path.expanduser(named))
        base = self.variables.get("XDG_CONFIG_HOME") or "~/.config"
        return Path(os.path.expanduser(base)) / "tallow-transfer" / "config.toml"

    @property
    def config_is_named(self) -> bool:
        """Whether somebody named the config file, and so wants it read."""
        return bool(self.variables.get("TALLOW_CONFIG"))


def open_standard_streams() -> None:
    """Open on nothing what the caller closed (`tallow … >&-`).

    Otherwise Python has None there, and the first socket would get the descriptor that messages are written to.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != descriptor:
                os.dup2(nothing, descriptor)
                os.close(nothing)
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good
