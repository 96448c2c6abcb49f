"""What shows the events of a session, and the choice of it.

    with choose_renderer(results=…, people=…, environ=…, …) as renderer:
        renderer.handle(event)      # for each, on one thread; never waits for whoever reads

Standard output carries the result only: JSON lines under `--json`; otherwise a received text and, where it is
not a terminal or under `--quiet`, the code alone. Everything for people goes to standard error: panels on a
terminal that can show them, else plain lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from tallow_cli.session.events import Failed, SessionEvent, Unfinished
from tallow_cli.ui.jsonlines import JsonLinesRenderer
from tallow_cli.ui.kept import KeptTally
from tallow_cli.ui.output import Output
from tallow_cli.ui.plain import PlainRenderer
from tallow_cli.ui.quiet import QuietRenderer
from tallow_cli.ui.results import ResultRenderer
from tallow_cli.ui.sink import EventSink


class Renderer:
    """Shows each event on all its sinks; a context manager that starts and closes them."""

    def __init__(
        self, sinks: Sequence[EventSink], *, keeps_files: bool = True, go_on: str | None = None
    ) -> None:
        """`keeps_files`: what is received, if anything is, becomes files, and a failure tells which are there, and
        that the command `go_on` goes on with those that are unfinished."""
        self._sinks = tuple(sinks)
        self._kept = KeptTally(go_on) if keeps_files else None

    @property
    def sinks(self) -> tuple[EventSink, ...]:
        return self._sinks

    def start(self) -> None:
        for sink in self._sinks:
            sink.start()

    def handle(self, event: SessionEvent) -> None:
        """Raises OSError, once all have shown the event, if results cannot be written (`Output`)."""
        event = self.completed(event)
        if isinstance(event, Unfinished):
            return
        problem: OSError | None = None
        for sink in self._sinks:
            try:
                sink.handle(event)
            except OSError as error:
                problem = problem or error
        if problem is not None:
            raise problem

    def completed(self, event: SessionEvent) -> SessionEvent:
        """The event as it is shown: a failure with what is kept."""
        return event if self._kept is None else self._kept.complete(event)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    def suspend(self) -> None:
        for sink in self._sinks:
            sink.suspend()

    def resume(self) -> None:
        for sink in self._sinks:
            sink.resume()

    def leave(self, failed: Failed) -> None:
        """The last word of a process that is left at once; from any thread."""
        completed = self._kept.complete(failed) if self._kept is not None else failed
        failed = completed if isinstance(completed, Failed) else failed
        for sink in self._sinks:
            with suppress(OSError):
                sink.leave(failed)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def choose_renderer(
    *,
    results: Output,
    people: Output,
    environ: Mapping[str, str],
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    stdout_is_data: bool = False,
    go_on: str | None = None,
) -> Renderer:
    """Return the renderer for standard output (`results`), standard error (`people`) and these flags.

    `stdout_is_data` says that the payload itself goes to standard output (`--output -`), so nothing else may; `go_on`
    is the command that goes on with what a receive leaves unfinished.
    """
    sinks: list[EventSink] = []
    if json:
        sinks.append(JsonLinesRenderer(results))
    elif not stdout_is_data:
        sinks.append(ResultRenderer(results, shows_code=quiet or not results.is_terminal))
    sinks.append(_for_people(people, environ, json=json, quiet=quiet, verbose=verbose))
    return Renderer(sinks, keeps_files=not stdout_is_data, go_on=go_on)


def _for_people(
    output: Output, environ: Mapping[str, str], *, json: bool, quiet: bool, verbose: bool
) -> EventSink:
    if quiet or (json and not verbose):
        return QuietRenderer(output)
    if json or not output.is_terminal or environ.get("TERM", "") in ("", "dumb"):
        return PlainRenderer(output, verbose=verbose, lists_offer=output.is_terminal)
    from tallow_cli.ui.live import LiveRenderer  # rich costs 60 ms; only this branch pays

    return LiveRenderer(output, verbose=verbose, colour=not environ.get("NO_COLOR"))
