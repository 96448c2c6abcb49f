"""The tutorial as somebody follows it, at two terminals, with a smaller file."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import Shell
from tests.support.terminal import CTRL_C, Terminal, terminal

pytestmark = pytest.mark.e2e

TUTORIAL = (Path(__file__).parents[2] / "docs" / "tutorial" / "first-transfer.md").read_text(encoding="utf-8")
SHOWN_CODE = "4821-acorn-blend-crisp"
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", TUTORIAL, re.DOTALL)]


@contextmanager
def at_a_terminal(sh: Shell, command: str, cwd: Path) -> Iterator[Terminal]:
    line = re.sub(r"\btallow ", "$TALLOW ", command.partition("#")[0].strip())
    with terminal(environment=sh.environment, cwd=cwd, shell=f"exec {line}") as screen:
        yield screen


def code_on(screen: Terminal, number: int = 0) -> str:
    screen.expect("Waiting for the receiver")
    codes = list(dict.fromkeys(re.findall(r"\d+-[a-z]+-[a-z]+-[a-z]+", screen.text)))
    return codes[number]


def test_the_tutorial_can_be_followed_as_it_is_written(sh: Shell) -> None:
    (make, send), (enter, receive), (_, compare) = BLOCKS
    outer, inner = sh.directory, sh.directory / "inbox"
    subprocess.run(["sh", "-ec", make.replace("200M", "12M")], cwd=outer, check=True)
    subprocess.run(["sh", "-ec", enter], cwd=outer, check=True)
    # 1 to 3
    with at_a_terminal(sh, send, outer) as sender:
        with at_a_terminal(sh, receive.replace(SHOWN_CODE, code_on(sender)), inner) as receiver:
            receiver.expect("[y/N] ")
            receiver.type("y\n")
            for screen in (sender, receiver):
                screen.expect("Throughput")
            assert receiver.wait() == 0
        assert sender.wait() == 0
    done = subprocess.run(["sh", "-ec", compare], cwd=inner, check=True, capture_output=True, text=True)
    assert done.stdout == "identical\n"
    # 4: words that are all on the list, in another order
    with at_a_terminal(sh, send, outer) as sender:
        number, first, second, third = code_on(sender).split("-")
        assert first != second, "one code in 1,295; run it again"
        swapped = "-".join((number, second, first, third))
        with at_a_terminal(sh, receive.replace(SHOWN_CODE, swapped), inner) as receiver:
            assert receiver.wait() == 5
        said = sender.expect("Here is a fresh one").count("Waiting for the receiver")
        deadline = time.monotonic() + 20
        while sender.text.count("Waiting for the receiver") == said == 1:  # the code stands before it
            assert time.monotonic() < deadline
            time.sleep(0.05)
        fresh = [code for code in re.findall(r"\d+-[a-z]+-[a-z]+-[a-z]+", sender.text) if first not in code][
            -1
        ]
        # 5
        again = re.findall(r"`(tallow recv CODE .*?)`", TUTORIAL)[0].replace("CODE", fresh)
        with at_a_terminal(sh, again, inner) as receiver:
            receiver.expect("[y/N] ")
            receiver.type("y\n")
            receiver.expect("Throughput")
            receiver.type(CTRL_C)
            assert receiver.wait() == 130
        assert sender.wait() == 7
    assert not list((inner / "elsewhere").glob("holiday*"))
