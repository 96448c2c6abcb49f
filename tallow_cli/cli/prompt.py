"""Questions to a person at the terminal: the code, yes or no."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from tallow_cli.cli.environment import Environment
from tallow_cli.errors import InputNeeded, Interrupted, InvalidCode
from tallow_cli.ui.output import Output
from tallow_cli.ui.sanitize import one_line

T = TypeVar("T")

CODE_OPTIONS = "CODE, --code or TALLOW_CODE"
_LINE_BYTES = 4096  # the longest line a terminal gives in its canonical mode (N_TTY)


def ask_code(environment: Environment, read: Callable[[str], T]) -> T:
    """Ask for the code until `read` takes what was typed; Tab completes its words.

    `read` raises InvalidCode for a slip: its sentence is shown, and the question asked again. Returns what it returns.
    Raises InputNeeded at the end of input, Interrupted at Ctrl-C.
    """
    prompt = "Code: "
    if environment.stdout.isatty():
        _complete_words()
    else:  # standard output may be the data's: input() would write its prompt there
        prompt = ""
    while True:
        if not prompt:
            environment.stderr.write("Code: ")
            environment.stderr.flush()
        try:
            line = input(prompt)  # what goes through readline, where both streams are terminals
        except EOFError:
            environment.stderr.write("\n")
            raise InputNeeded("The code", CODE_OPTIONS) from None
        except KeyboardInterrupt:
            environment.stderr.write("\n")
            raise Interrupted from None
        if not line.strip():
            continue
        try:
            return read(line)
        except InvalidCode as slip:
            Output(environment.stderr).line(one_line(slip.sentence))


def _complete_words() -> None:
    """Have readline, where there is one, complete the words of a code."""
    try:
        import readline
    except ImportError:
        return
    from tallow_cli.crypto.codes import complete

    def completer(text: str, state: int) -> str | None:
        matches = complete(text)
        return matches[state] if state < len(matches) else None

    readline.set_completer_delims("")
    readline.set_completer(completer)
    readline.parse_and_bind("tab: complete")


async def ask(environment: Environment, question: str) -> str:
    """One line of answer, stripped and in lower case; "" at the end of input.

    The line is read in a thread that is left behind if this is cancelled: a read of the terminal cannot be. It
    reads the descriptor itself, for a thread that holds Python's lock on standard input breaks the exit.
    """
    environment.stderr.write(question)
    environment.stderr.flush()
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    descriptor = environment.stdin.fileno()

    def deliver(line: bytes) -> None:
        if not answer.done():
            answer.set_result(line)

    def read() -> None:
        line = b""
        with contextlib.suppress(OSError):  # the terminal is gone: nobody answers
            line = os.read(descriptor, _LINE_BYTES)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, line)

    threading.Thread(target=read, daemon=True, name="tallow-prompt").start()
    try:
        line = await answer
    except asyncio.CancelledError:
        environment.stderr.write("\n")  # the next words begin a line
        raise
    if not line.endswith(b"\n"):
        environment.stderr.write("\n")
    return line.decode(errors="replace").strip().lower()
