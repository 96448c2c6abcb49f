"""Run one session to its exit code: the event loop, the signals, the renderer, the last word.

Ctrl-C (or SIGTERM) once cancels the session, which tells the peer and cleans up; twice ends the process at once, and so
does a session that has not ended some seconds after the first (`signaling.process`). Ctrl-Z gives the terminal back
until the process goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from signaling.process import Ending
from tallow_cli.cli.environment import Environment
from tallow_cli.cli.last_words import EXIT_CODES, cause, unexpected
from tallow_cli.cli.terminal import Keyboard
from tallow_cli.errors import ExitCode, OutputUnwritable, Stopped, TallowError
from tallow_cli.session.task_groups import first_error
from tallow_cli.store import unfinished

if TYPE_CHECKING:
    from tallow_cli.session.events import SessionEvent
    from tallow_cli.ui.renderer import Renderer

Emit = Callable[["SessionEvent"], None]
Session = Callable[[Emit], Awaitable[object]]  # of a transfer: its `Done`

# The reader of the last words, and the disk for the removal of what is unfinished, where the process is left at once.
_LAST_WORDS_S = 0.4
_REMOVAL_S = 0.3


def drive(session: Session, renderer: Renderer, environment: Environment | None = None) -> ExitCode:
    """Run `session(emit)` with `renderer` showing its events. Returns the exit code; raises nothing.

    Signals are heard by the environment's `ending`, or by one of its own where that does not hear.
    """
    environment = environment or Environment()
    with _hearing(environment) as ending:
        return _Drive(session, renderer, environment, ending).run()


@contextmanager
def _hearing(environment: Environment) -> Iterator[Ending]:
    if environment.ending.is_hearing:
        yield environment.ending
        return
    with Ending(codes=EXIT_CODES) as ending:
        yield ending


class _Drive:
    """One run of a session."""

    def __init__(
        self, session: Session, renderer: Renderer, environment: Environment, ending: Ending
    ) -> None:
        self._session = session
        self._renderer = renderer
        self._environment = environment
        self._ending = ending
        self._keyboard = Keyboard(environment.stdin)
        self._is_connected = False
        self._result: object = None
        self._is_done = False
        self._causes: list[Stopped] = []

    def run(self) -> ExitCode:
        with (
            self._ending.spoken_for_by(self._leave),
            self._ending.last_act(lambda _number: unfinished.remove_all(_REMOVAL_S)),
            self._keyboard.without_control_echo(),
            self._renderer,
        ):
            failure = self._run_loop()
            if failure is None:
                self._ending.speaker = None
                return _code_of(self._result)
            self._show_failure(failure)
        return failure.exit_code

    def _run_loop(self) -> TallowError | None:
        """What the session failed with, if it did."""
        try:
            with asyncio.Runner(loop_factory=_loop_factory(self._environment.variables)) as runner:
                runner.run(self._supervise())
        except TallowError as error:
            return error
        except KeyboardInterrupt:  # the loop had ended, or has no signal handlers
            return None if self._is_done else cause(self._ending.asked_by or signal.SIGINT)
        except Exception as error:  # noqa: BLE001 - the last line of defence: a sentence, never a traceback
            if self._environment.debugging:
                self._environment.people.write(traceback.format_exc())
            return unexpected(error)
        return None

    async def _supervise(self) -> None:
        """Run the session as a task that signals can cancel. Raises what it raises, or the signal's error."""
        loop = asyncio.get_running_loop()
        if not self._environment.debugging:
            loop.set_exception_handler(_pass_over(self._emit))
        task = asyncio.ensure_future(self._session(self._emit))

        def on_signal(number: int) -> None:
            self._causes.append(cause(number, connected=self._is_connected))
            self._environment.people.cut_lists()
            task.cancel()

        causes = self._causes
        with (
            self._ending.handed_over(lambda number: _call_soon(loop, partial(on_signal, number))),
            self._stoppable(loop),
        ):
            try:
                self._result = await task
            except asyncio.CancelledError:
                if causes:
                    raise causes[0] from None
                raise
            except BaseExceptionGroup as group:
                raise (causes[0] if causes else first_error(group)) from group
            self._is_done = True

    def _emit(self, event: SessionEvent) -> None:
        from tallow_cli.session.events import LastWords

        if isinstance(event, LastWords):
            for stopped in self._causes:
                stopped.peer_told, stopped.all_arrived = event.heard, event.all_arrived
                stopped.can_go_on, stopped.is_stream = event.can_go_on, event.is_stream
            return
        self._is_connected = self._is_connected or event.event == "connected"
        self._keyboard.keep_hidden()
        try:
            self._renderer.handle(event)
        except OSError as error:
            # What moves already goes on moving; the exit code will tell.
            if not self._is_connected:
                raise OutputUnwritable(error.strerror or str(error)) from error

    def _show_failure(self, failure: TallowError) -> None:
        from tallow_cli.session.events import Failed

        self._ending.speaker = None
        with contextlib.suppress(OSError):  # the failure may be that one stream cannot be written
            self._renderer.handle(Failed(failure))

    def _leave(self, number: int) -> None:
        """The last words of a process that is left at once, on a thread of its own."""
        from tallow_cli.session.events import Failed

        self._renderer.leave(Failed(cause(number)))
        for output in (self._environment.people, self._environment.results):
            output.finish(_LAST_WORDS_S, _LAST_WORDS_S)

    # Ctrl-Z

    @contextmanager
    def _stoppable(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """At a terminal, give it back before a stop, and draw anew after it."""
        stop, go_on = getattr(signal, "SIGTSTP", None), getattr(signal, "SIGCONT", None)
        is_wanted = self._environment.people.is_terminal and self._ending.is_hearing
        if stop is None or go_on is None or not is_wanted or signal.getsignal(stop) is signal.SIG_IGN:
            yield
            return

        def soon(step: Callable[[], None]) -> Callable[[], None]:
            return lambda: _call_soon(loop, step)

        with (
            self._ending.listening(stop, soon(lambda: self._stop(stop))),
            self._ending.listening(go_on, soon(self._go_on)),
        ):
            yield

    def _stop(self, number: int) -> None:
        """On the main thread: give the terminal back, and stop as if nobody had listened."""
        self._renderer.suspend()
        self._environment.people.finish(_LAST_WORDS_S, _LAST_WORDS_S)
        self._keyboard.show_controls()
        before = signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # returns when the process goes on
        signal.signal(number, before)
        self._go_on()

    def _go_on(self) -> None:
        self._keyboard.hide_controls()
        self._renderer.resume()


def _code_of(result: object) -> ExitCode:
    """Of a session that did not fail: a transfer may be done and not whole."""
    from tallow_cli.session.events import Done

    return ExitCode.PARTIAL if isinstance(result, Done) and result.missed else ExitCode.DONE


def _call_soon(loop: asyncio.AbstractEventLoop, step: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(step)


def _loop_factory(variables: Mapping[str, str]) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed: it moves 1.8 times as much through the stock engine."""
    if variables.get("TALLOW_LOOP") == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


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
