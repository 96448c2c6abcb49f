"""Questions to a person at the terminal: the code, yes or no."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from tallow_cli.cli.environment import Environment


def ask_code(environment: Environment) -> str:
    """Ask for the code until something is typed; Tab completes its words. Raises typer.Abort at the end of input."""
    import typer

    _complete_words()
    while True:
        try:
            # input() and not a read of stdin: it is what goes through readline. Its prompt goes to standard error
            # only by way of the descriptor that is a terminal, which can_ask has seen.
            environment.stderr.write("Code: ")
            environment.stderr.flush()
            line = input()
        except EOFError:
            raise typer.Abort from None
        if line.strip():
            return line.strip()


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

    The line is read in a thread that is left behind if this is cancelled: a read of the terminal cannot be.
    """
    environment.stderr.write(question)
    environment.stderr.flush()
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def deliver(line: str) -> None:
        if not answer.done():
            answer.set_result(line)

    def read() -> None:
        line = environment.stdin.readline()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, line)

    threading.Thread(target=read, daemon=True, name="tallow-prompt").start()
    return (await answer).strip().lower()
