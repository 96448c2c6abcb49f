"""The process's surroundings, gathered in one place so that tests can replace them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from signaling.process import Ending, open_standard_streams
from tallow_cli.ui.output import Output, outputs

if TYPE_CHECKING:
    from typer import Context


@dataclass(frozen=True, slots=True)
class Environment:
    """Streams, variables, and how the process ends. Made once, handed to whatever runs in it.

    `results` and `people` are what standard output and standard error are written through; neither waits for its
    reader. `closed` names the standard streams that the caller had closed: they lead nowhere.
    """

    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)
    closed: frozenset[str] = frozenset()
    ending: Ending = field(default_factory=Ending)  # until it is entered it hears nothing
    results: Output = field(init=False)
    people: Output = field(init=False)

    def __post_init__(self) -> None:
        results, people = outputs(self.stdout, self.stderr)
        object.__setattr__(self, "results", results)  # the dataclass is frozen for everyone else
        object.__setattr__(self, "people", people)

    @property
    def debugging(self) -> bool:
        """Whether `TALLOW_DEBUG` asks for tracebacks."""
        return bool(self.variables.get("TALLOW_DEBUG"))

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


def real_environment() -> Environment:
    """The process's own. Opens the standard streams that its caller closed."""
    return Environment(closed=open_standard_streams())


def environment_of(context: Context) -> Environment:
    """The surroundings that `app.run` was given, for the command that runs in them."""
    return context.find_object(Environment) or real_environment()
