"""cli.prompt: questions on a real terminal (a pseudo one)."""

from __future__ import annotations

import asyncio
import builtins
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallow_cli.cli import prompt
from tallow_cli.cli.code_entry import parse_entered
from tallow_cli.cli.environment import Environment
from tallow_cli.cli.prompt import ask, ask_code
from tallow_cli.errors import InputNeeded, Interrupted
from tests.support.streams import Stream

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")


class Terminal:
    """A person at the other end of a pseudo-terminal."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        self.stderr = Stream(terminal=True)
        self.environment = Environment(
            stdin=os.fdopen(slave, "r"), stdout=Stream(terminal=True), stderr=self.stderr, variables={}
        )

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    async def answer(self, text: bytes, question: str = "Receive this? ") -> str:
        """Ask, and type once the question stands there."""
        asked = asyncio.ensure_future(ask(self.environment, question))
        seen = len(self.stderr.getvalue())
        async with asyncio.timeout(10):
            while not self.stderr.getvalue()[seen:].startswith(question):
                await asyncio.sleep(0)
            self.type(text)
            return await asked

    def close(self) -> None:
        os.close(self.master)
        self.environment.stdin.close()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    yield opened
    opened.close()


@pytest.mark.parametrize(("typed", "answer"), [(b"Yes \n", "yes"), (b"\n", ""), (b"\x04", "")])
async def test_an_answer_is_one_line_folded(terminal: Terminal, typed: bytes, answer: str) -> None:
    assert await terminal.answer(typed) == answer
    assert terminal.stderr.getvalue().startswith("Receive this? ")


async def test_what_was_typed_before_a_question_is_no_answer_to_it(terminal: Terminal) -> None:
    terminal.type(b"y\ny\n")
    assert await terminal.answer(b"n\n") == "n"
    terminal.type(b"y\nhalf a line")
    assert await terminal.answer(b"no\n") == "no"


@pytest.mark.parametrize(
    ("typed", "more"), [(b"\n", True), (b" \n", True), (b"q\n", False), (b"N\n", False), (b"\x04", False)]
)
async def test_enter_asks_for_more_and_the_end_of_input_does_not(
    terminal: Terminal, typed: bytes, more: bool
) -> None:
    asked = asyncio.ensure_future(prompt.wants_more(terminal.environment, "3 more: "))
    async with asyncio.timeout(10):
        while terminal.stderr.getvalue() != "3 more: ":
            await asyncio.sleep(0)
        terminal.type(typed)
        assert await asked is more


async def test_a_question_that_is_cancelled_leaves_the_cursor_at_the_begin_of_a_line(
    terminal: Terminal,
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await ask(terminal.environment, "Receive this? ")
    assert terminal.stderr.getvalue() == "Receive this? \n"
    terminal.type(b"late\n")  # lets the thread that reads go


def with_input(monkeypatch: pytest.MonkeyPatch, *lines: str | BaseException) -> list[str]:
    prompts: list[str] = []
    left = list(lines)

    def fake_input(text: str = "") -> str:
        prompts.append(text)
        line = left.pop(0)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr(builtins, "input", fake_input)
    return prompts


def environment(*, terminal_output: bool) -> Environment:
    return Environment(Stream(terminal=True), Stream(terminal=terminal_output), Stream(terminal=True), {})


def test_the_code_is_asked_for_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = with_input(monkeypatch, "", "  ", " 12-acorn-blend-crisp ")
    assert ask_code(environment(terminal_output=True), str.strip) == "12-acorn-blend-crisp"
    assert prompts == ["Code: "] * 3


def test_a_slip_is_explained_and_the_code_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = with_input(monkeypatch, "12-acorn-blend-crips", "tallow recv", "12-acorn-blend-crisp")
    surroundings = environment(terminal_output=True)
    code = ask_code(surroundings, lambda text: parse_entered(text, shown=True))
    assert str(code) == "12-acorn-blend-crisp"
    assert prompts == ["Code: "] * 3
    assert isinstance(surroundings.stderr, Stream)
    told = surroundings.stderr.getvalue().splitlines()
    assert len(told) == 2
    assert "did you mean crisp?" in told[0]


def test_the_prompt_never_goes_into_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = with_input(monkeypatch, "12-acorn-blend-crisp")
    surroundings = environment(terminal_output=False)
    ask_code(surroundings, str)
    assert prompts == [""]
    assert isinstance(surroundings.stderr, Stream)
    assert surroundings.stderr.getvalue() == "Code: "


@pytest.mark.parametrize(("how", "error"), [(EOFError(), InputNeeded), (KeyboardInterrupt(), Interrupted)])
def test_leaving_the_prompt_ends_with_a_sentence_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, how: BaseException, error: type[Exception]
) -> None:
    with_input(monkeypatch, how)
    surroundings = environment(terminal_output=True)
    with pytest.raises(error):
        ask_code(surroundings, str)
    assert isinstance(surroundings.stderr, Stream)
    assert surroundings.stderr.getvalue().endswith("\n")


def test_without_readline_the_code_can_still_be_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "readline", None)
    with_input(monkeypatch, "12-acorn-blend-crisp")
    assert ask_code(environment(terminal_output=True), str) == "12-acorn-blend-crisp"


def test_tab_completes_the_words_of_a_code() -> None:
    readline = pytest.importorskip("readline")
    prompt._complete_words()
    completer = readline.get_completer()
    try:
        assert completer("12-aco", 0) == "12-acorn"
        assert completer("12-aco", 1) is None
        assert completer("nonsense", 0) is None
    finally:
        readline.set_completer(None)
