"""Run one session to its exit code: the event loop, the signals, the renderer, the last word.

Ctrl-C (or SIGTERM) once cancels the session, which tells the peer and cleans up; twice ends the process at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

from tallow_cli.cli.terminal import without_control_echo
from tallow_cli.errors import ExitCode, Interrupted, Stopped, TallowError, TargetUnwritable, Terminated
from tallow_cli.session.task_groups import first_error
from tallow_cli.store import unfinished

if TYPE_CHECKING:
    from tallow_cli.session.events import SessionEvent
    from tallow_cli.ui.renderer import Renderer

Emit = Callable[["SessionEvent"], None]
Session = Callable[[Emit], Awaitable[object]]  # of a transfer: its `Done`

_REMOVAL_S = 0.3  # for the disk to remove what is unfinished, where the process is left at once
_CLEANUP_S = 4.5  # a cancelled session that has not finished by then is left behind


def drive(session: Session, renderer: Renderer, *, debug: bool = False) -> ExitCode:
    """Run `session(emit)` with `renderer` showing its events. Returns the exit code; raises nothing."""
    with without_control_echo(sys.stdin) as restore, renderer:

        def leave_at_once(cause: TallowError) -> NoReturn:
            unfinished.remove_all(_REMOVAL_S)
            _show_failure(renderer, cause)
            renderer.close()
            restore()
            os._exit(cause.exit_code)

        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                result = runner.run(_supervise(session, renderer, leave_at_once))
        except TallowError as error:
            failure = error
        except KeyboardInterrupt:  # where the loop has no signal handlers
            failure = Interrupted()
        except Exception as error:  # noqa: BLE001 - the last line of defence: a sentence, never a traceback
            if debug:
                traceback.print_exc(file=sys.stderr)
            failure = unexpected(error)
        else:
            return _code_of(result)
        _show_failure(renderer, failure)
    return failure.exit_code


def _code_of(result: object) -> ExitCode:
    """Of a session that did not fail: a transfer may be done and not whole."""
    from tallow_cli.session.events import Done

    return ExitCode.PARTIAL if isinstance(result, Done) and result.missed else ExitCode.DONE


def _show_failure(renderer: Renderer, failure: TallowError) -> None:
    """On every stream that can still be written: the failure may be that one cannot."""
    from tallow_cli.session.events import Failed

    failed = renderer.completed(Failed(failure))
    for sink in renderer.sinks:
        with contextlib.suppress(OSError):
            sink.handle(failed)


def debugging() -> bool:
    """Whether `TALLOW_DEBUG` asks for tracebacks."""
    return bool(os.environ.get("TALLOW_DEBUG"))


def unexpected(error: Exception) -> TallowError:
    """What to say of an error nobody foresaw."""
    if isinstance(error, ExceptionGroup):
        return unexpected(error.exceptions[0])
    if isinstance(error, TallowError):
        return error
    return TallowError(
        f"Something unexpected happened ({type(error).__name__}: {error}). "
        "Run the command again with TALLOW_DEBUG=1 and report what it prints."
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed: it moves 1.8 times as much through the stock engine."""
    if os.environ.get("TALLOW_LOOP") == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _supervise(
    session: Session, renderer: Renderer, leave_at_once: Callable[[TallowError], None]
) -> object:
    """Run the session as a task that signals can cancel. Raises what it raises, or the signal's error."""
    from tallow_cli.session.events import LastWords

    loop = asyncio.get_running_loop()
    causes: list[Stopped] = []
    connected = False

    def emit(event: SessionEvent) -> None:
        nonlocal connected
        if isinstance(event, LastWords):
            for cause in causes:
                cause.peer_told = event.heard
            return
        connected = connected or event.event == "connected"
        try:
            renderer.handle(event)
        except OSError as error:
            raise TargetUnwritable("standard output", error.strerror or str(error)) from error

    def on_signal(kind: type[Interrupted] | type[Terminated]) -> None:
        if causes:
            leave_at_once(causes[0])
        causes.append(kind(connected=connected))
        task.cancel()
        loop.call_later(_CLEANUP_S, leave_at_once, causes[0])

    if not debugging():
        loop.set_exception_handler(_pass_over(emit))
    task = asyncio.ensure_future(session(emit))
    with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt instead
        for number, kind in _endings().items():
            loop.add_signal_handler(number, on_signal, kind)
    try:
        return await task
    except asyncio.CancelledError:
        if causes:
            raise causes[0] from None
        raise
    except BaseExceptionGroup as group:
        raise (causes[0] if causes else first_error(group)) from group


def _pass_over(emit: Emit) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """What the event loop does with an error in a callback: a defect, said once of each kind, and not the end.

    The idle timeouts end what it broke for good; a datagram of a stranger that caused it must not end anything.
    """
    from tallow_cli.session.events import Notice

    said: set[str] = set()

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        kind = type(error).__name__
        if kind not in said:
            said.add(kind)
            with contextlib.suppress(TallowError):
                emit(Notice(f"An internal error was passed over ({kind}: {error}).", detail=True))

    return handle


def _endings() -> dict[int, type[Interrupted] | type[Terminated]]:
    """The signals that end a session, which gets to clean up; not those that `nohup` has us ignore."""
    endings: dict[int, type[Interrupted] | type[Terminated]] = {
        signal.SIGINT: Interrupted,
        signal.SIGTERM: Terminated,
    }
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        endings[hangup] = Terminated
    return endings
