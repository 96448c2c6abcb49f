"""cli.drive: from a session to an exit code, whatever the session does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from tallow_cli.cli.drive import drive
from tallow_cli.errors import ExitCode, NoPathError, WrongCodeError
from tallow_cli.session.events import Connected, Failed, LastWords, Notice, SessionEvent
from tallow_cli.ui.renderer import Renderer
from tests.support.events import CONNECTED

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


def test_a_signal_before_the_connection_claims_to_have_told_nobody() -> None:
    async def session(_emit: Emit) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(30)

    failed = run(session)[1].events[0]
    assert isinstance(failed, Failed)
    assert failed.error.sentence == "Interrupted."


@pytest.mark.parametrize(
    ("heard", "said"), [(True, "was told"), (False, "did not confirm"), (None, "did not confirm")]
)
def test_a_signal_after_it_says_that_the_other_side_was_told_only_if_it_is_known_to_be(
    heard: bool | None, said: str
) -> None:
    async def session(emit: Emit) -> None:
        emit(CONNECTED)
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(30)
        finally:
            if heard is not None:
                emit(LastWords(heard=heard))

    recorder = run(session)[1]
    assert [type(event) for event in recorder.events] == [Connected, Failed], (
        "the last words are nobody's to show"
    )
    failed = recorder.events[-1]
    assert isinstance(failed, Failed)
    assert f"The other side {said}" in failed.error.sentence


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            LastWords(heard=True, can_go_on=True),
            "Send the same again to go on: what it has kept is not sent twice.",
        ),
        (
            LastWords(heard=True, is_stream=True),
            "Standard input cannot be resumed: what is sent next begins anew.",
        ),
    ],
)
def test_a_sender_that_is_stopped_is_told_how_to_go_on(words: LastWords, said: str) -> None:
    async def session(emit: Emit) -> None:
        emit(CONNECTED)
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(30)
        finally:
            emit(words)

    failed = run(session)[1].events[-1]
    assert isinstance(failed, Failed)
    assert failed.error.sentence == f"Interrupted. The other side was told. {said}"


def test_an_output_that_cannot_be_written_ends_the_session_and_is_told_where_it_can_be() -> None:
    class Full(Recorder):
        def handle(self, event: SessionEvent) -> None:
            raise OSError(28, "No space left on device")

    async def session(emit: Emit) -> None:
        emit(Notice("hello"))
        raise AssertionError("went on")

    full, people = Full(), Recorder()
    assert drive(session, Renderer([full, people])) == ExitCode.LOCAL_FILE
    assert [type(event) for event in people.events] == [Notice, Failed]


def test_once_bytes_move_an_output_that_cannot_be_written_stops_nothing() -> None:
    class Full(Recorder):
        def handle(self, event: SessionEvent) -> None:
            super().handle(event)
            if len(self.events) > 1:
                raise OSError(28, "No space left on device")

    async def session(emit: Emit) -> None:
        emit(CONNECTED)
        emit(Notice("hello"))
        emit(Notice("still here"))

    full, people = Full(), Recorder()
    assert drive(session, Renderer([full, people])) == ExitCode.DONE
    assert people.events[1:] == [Notice("hello"), Notice("still here")]


STUBBORN = """
import asyncio, os, signal, sys
from signaling import process
from tallow_cli.cli import drive as module
from tallow_cli.ui.renderer import Renderer

process.PATIENCE_S = float(sys.argv[1])

async def session(emit):
    print("ready", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("cancelled", flush=True)

sys.exit(module.drive(session, Renderer([])))
"""


@pytest.mark.parametrize(
    ("cleanup_s", "signals", "expected"),
    [("60", [signal.SIGINT, signal.SIGINT], 130), ("0.05", [signal.SIGTERM], 143)],
    ids=["the second Ctrl-C", "a cleanup that hangs"],
)
def test_a_session_that_does_not_end_is_left_behind(
    cleanup_s: str, signals: list[signal.Signals], expected: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN, cleanup_s], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for each in signals:
            process.send_signal(each)
            process.stdout.readline()  # "cancelled", or the end
        assert process.wait(10) == expected


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal")
def test_a_terminal_that_goes_away_ends_the_session_unless_nohup_wants_it_to_go_on() -> None:
    async def session(_emit: Emit) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.2)

    assert run(session)[0] == ExitCode.TERMINATED
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(session)[0] == ExitCode.DONE
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_in_a_callback_is_a_notice_and_neither_the_end_nor_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TALLOW_DEBUG", raising=False)

    async def session(_emit: Emit) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(0.01)

    code, recorder = run(session)
    assert code == ExitCode.DONE
    [notice] = recorder.events
    assert isinstance(notice, Notice)
    assert notice.detail
    assert "ZeroDivisionError" in notice.message
    assert capsys.readouterr().err == ""
