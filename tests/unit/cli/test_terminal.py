"""cli.terminal: what is switched off for the live display is switched on again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tallow_cli.cli.terminal import Keyboard
from tests.support.streams import Stream

# In a session of its own, whose controlling terminal is the pseudo-terminal.
PROBE = """
import sys, termios
from tallow_cli.cli.terminal import Keyboard

def shown():
    flags = termios.tcgetattr(0)[3]
    return "".join(letter for letter, flag in zip("^e", (termios.ECHOCTL, termios.ECHO)) if flags & flag)

keyboard = Keyboard(sys.stdin)
found = [shown()]
try:
    with keyboard.without_control_echo():
        found.append(shown())
        if len(sys.argv) > 1:
            settings = termios.tcgetattr(0)
            settings[3] &= ~termios.ECHO  # as a line editor does
            termios.tcsetattr(0, termios.TCSANOW, settings)
            found.append(shown())
            keyboard.restore()
            found.append(shown())
        raise KeyboardInterrupt
except KeyboardInterrupt:
    found.append(shown())
print(found)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(
    ("arguments", "expected"), [([], ["^e", "e", "^e"]), (["restore"], ["^e", "e", "", "^e", "^e"])]
)
def test_control_characters_are_not_shown_meanwhile_and_are_again_afterwards(
    arguments: list[str], expected: list[str]
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
    keyboard = Keyboard(Stream())
    with keyboard.without_control_echo():
        keyboard.restore()


def test_a_job_that_comes_to_the_front_unannounced_hides_them_then(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard = Keyboard(Stream())
    asked: list[bool] = []
    in_front = False

    def switch(*, on: bool) -> bool:
        asked.append(on)
        return in_front

    monkeypatch.setattr(keyboard, "_switch", switch)
    keyboard.hide_controls()
    keyboard.keep_hidden()
    in_front = True
    keyboard.keep_hidden()
    keyboard.keep_hidden()
    assert asked == [False, False, False]
