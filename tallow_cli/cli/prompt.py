"""Questions to a person at the terminal: the code, yes or no."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from signaling.process import SignalHeard
from tallow_cli.cli.environment import Environment
from tallow_cli.cli.last_words import cause
from tallow_cli.errors import InputNeeded, InvalidCode, TallowError
from tallow_cli.ui.sanitize import one_line

T = TypeVar("T")

CODE_OPTIONS = "CODE, --code or TALLOW_CODE"
_ENOUGH = frozenset({"q", "quit", "n", "no"})
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
            environment.people.write("Code: ")
        environment.people.finish()  # so that what was said before stands before it
        try:
            line = input(prompt)  # what goes through readline, where both streams are terminals
        except EOFError:
            environment.people.line()
            raise InputNeeded("The code", CODE_OPTIONS) from None
        except KeyboardInterrupt as interrupt:
            environment.people.line()
            raise _cause(interrupt) from None
        if not line.strip():
            continue
        try:
            return read(line)
        except InvalidCode as slip:
            environment.people.line(one_line(slip.sentence))


def _cause(interrupt: KeyboardInterrupt) -> TallowError:
    return cause(interrupt.signum if isinstance(interrupt, SignalHeard) else signal.SIGINT)


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
    """One line of answer, stripped and in lower case; "" at the end of input."""
    return _folded(await _line(environment, question))


async def wants_more(environment: Environment, question: str) -> bool:
    """Whether somebody presses Enter at the question, or types anything but a no or a q; not at the end of input."""
    line = await _line(environment, question)
    return line.endswith(b"\n") and _folded(line) not in _ENOUGH


def _folded(line: bytes) -> str:
    return line.decode(errors="replace").strip().lower()


async def _line(environment: Environment, question: str) -> bytes:
    """One line, its break included; without one at the end of input.

    What was typed before the question stood on the terminal is no answer to it, and is thrown away: not even the second
    line of a pasted text may consent to an offer that nobody has seen.

    The line is read in a thread that is left behind if this is cancelled: a read of the terminal cannot be. It
    reads the descriptor itself, for a thread that holds Python's lock on standard input breaks the exit.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    descriptor = environment.stdin.fileno()
    people = environment.people

    def deliver(line: bytes) -> None:
        if not answer.done():
            answer.set_result(line)

    def read() -> None:
        line = b""
        # Whatever the question is about has to be on the terminal first; one that is stopped is waited for.
        while people.is_behind and not answer.done():
            people.finish()
        if not answer.done():
            _forget_typed(descriptor)
            people.write(question)
            with contextlib.suppress(OSError):  # the terminal is gone: nobody answers
                line = os.read(descriptor, _LINE_BYTES)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, line)

    threading.Thread(target=read, daemon=True, name="tallow-prompt").start()
    try:
        line = await answer
    except asyncio.CancelledError:
        people.line()  # the next words begin a line
        raise
    if not line.endswith(b"\n"):
        people.line()
    return line


def _forget_typed(descriptor: int) -> None:
    """Throw away what was typed and not read yet."""
    if sys.platform == "win32":
        return
    import termios

    with contextlib.suppress(OSError, termios.error):  # no terminal: nothing was typed
        termios.tcflush(descriptor, termios.TCIFLUSH)
