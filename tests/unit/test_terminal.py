"""cli.terminal: what is switched off for the live display is switched on again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tallow_cli.cli.terminal import without_control_echo
from tests.support.streams import Stream

# In a session of its own, whose controlling terminal is the pseudo-terminal.
PROBE = """
import sys, termios
from tallow_cli.cli.terminal import without_control_echo

def echoes():
    return bool(termios.tcgetattr(0)[3] & termios.ECHOCTL)

found = [echoes()]
try:
    with without_control_echo(sys.stdin) as undo:
        found.append(echoes())
        if len(sys.argv) > 1:
            undo()
            found.append(echoes())
        raise KeyboardInterrupt
except KeyboardInterrupt:
    found.append(echoes())
print(found)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(
    ("arguments", "expected"), [([], [True, False, True]), (["undo"], [True, False, True, True])]
)
def test_control_characters_are_not_shown_meanwhile_and_are_again_afterwards(
    arguments: list[str], expected: list[bool]
) -> None:
    import fcntl
    import termios

    master, slave = os.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    try:
        found = subprocess.run(
            [sys.executable, "-c", PROBE, *arguments],
            stdin=slave,
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=own_terminal,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert found.stdout.strip() == str(expected)


def test_what_is_no_terminal_of_ours_is_left_alone() -> None:
    with without_control_echo(Stream()) as undo:
        undo()
