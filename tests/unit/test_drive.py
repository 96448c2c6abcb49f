"""cli.drive: from a session to an exit code, whatever the session does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from tallow_cli.cli.drive import drive
from tallow_cli.errors import ExitCode, NoPathError, WrongCodeError
from tallow_cli.session.events import Failed, Notice, SessionEvent
from tallow_cli.ui.renderer import Renderer

Emit = Callable[[SessionEvent], None]


class Recorder:
    """An event sink that remembers."""

    def __init__(self) -> None:
        self.events: list[SessionEvent] = []
        self.closed = False

    def start(self) -> None:
        """Nothing to set up."""

    def handle(self, event: SessionEvent) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed = True


def run(session: Callable[[Emit], Awaitable[object]]) -> tuple[ExitCode, Recorder]:
    recorder = Recorder()
    code = drive(session, Renderer([recorder]))
    assert recorder.closed
    return code, recorder


def test_a_session_that_returns_is_done() -> None:
    async def session(emit: Emit) -> None:
        emit(Notice("hello"))

    code, recorder = run(session)
    assert code == ExitCode.DONE
    assert recorder.events == [Notice("hello")]


def test_a_known_error_becomes_its_exit_code_and_one_event() -> None:
    async def session(_emit: Emit) -> None:
        raise NoPathError("none")

    code, recorder = run(session)
    assert code == ExitCode.NO_PATH
    assert [type(event) for event in recorder.events] == [Failed]


def test_an_error_inside_a_task_group_is_the_one_that_says_most() -> None:
    async def session(_emit: Emit) -> None:
        async def fail(error: Exception) -> None:
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(fail(OSError("detail")))
            group.create_task(fail(WrongCodeError()))

    assert run(session)[0] == ExitCode.WRONG_CODE


def test_an_unforeseen_error_is_a_sentence_and_not_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    async def session(_emit: Emit) -> None:
        raise ZeroDivisionError("oops")

    code, recorder = run(session)
    assert code == ExitCode.UNEXPECTED
    failed = recorder.events[0]
    assert isinstance(failed, Failed)
    assert "ZeroDivisionError" in failed.error.sentence
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_a_signal_cancels_the_session_which_may_clean_up(number: int, expected: ExitCode) -> None:
    cleaned: list[bool] = []

    async def session(_emit: Emit) -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.sleep(30)
        finally:
            cleaned.append(True)

    assert run(session)[0] == expected
    assert cleaned == [True]
