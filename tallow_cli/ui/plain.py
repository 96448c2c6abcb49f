"""Plain lines on standard error, for logs, pipes, CI and dumb terminals: no colour, no cursor movement."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tallow_cli.measure.throughput import format_throughput, mbps
from tallow_cli.measure.verdict_words import headline
from tallow_cli.session.events import (
    CodeReady,
    Connected,
    Done,
    Failed,
    FileFinished,
    LeftOut,
    Notice,
    Offered,
    PeerAuthenticated,
    Progress,
    Reconnected,
    Reconnecting,
    Resuming,
    SessionEvent,
    Stats,
    Waiting,
)
from tallow_cli.ui import wording
from tallow_cli.ui.format import (
    format_bytes,
    format_fraction,
    format_milliseconds,
    format_remaining,
)
from tallow_cli.ui.output import Output
from tallow_cli.ui.sanitize import one_line
from tallow_cli.ui.sink import EventSink

FIRST_INTERVAL_S: Final = 1.0
# A long transfer must not fill a log: after every ten lines the interval doubles, up to half a minute.
LINES_PER_INTERVAL: Final = 10
LONGEST_INTERVAL_S: Final = 30.0


class PlainRenderer(EventSink):
    """Writes a line per event that a person should know of, and progress at a calm pace.

    `verbose` adds details and every file; `lists_offer` says that somebody reads the offer before consenting.
    """

    def __init__(
        self,
        output: Output,
        *,
        verbose: bool = False,
        lists_offer: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._output = output
        self._verbose = verbose
        self._most_offered = wording.most_offered(to_consent=lists_offer, verbose=verbose)
        self._clock = clock
        self._sending = False
        self._is_told_here = False  # with the offer: what of it is here
        self._files = 0
        self._pace = _Pace()
        self._reported: tuple[float, int] | None = None  # when, and how many bytes, at the last progress line
        self._figures: Stats | None = None

    def handle(self, event: SessionEvent) -> None:
        match event:
            case CodeReady():
                self._sending = True
                self._code(event)
            case Waiting():
                self._output.line(wording.waiting(event))
            case PeerAuthenticated():
                self._detail(f"The other side knows the code; it runs Tallow {one_line(event.version)}.")
            case Connected():
                self._output.line(wording.connected(event))
                for detail in wording.connection_details(event):
                    self._detail(detail)
            case Reconnecting():
                self._reported = self._figures = None
                self._output.line(wording.reconnecting(event))
            case Reconnected():
                self._output.line(wording.reconnected(event))
            case Offered():
                self._offer(event)
            case Resuming():
                if not self._is_told_here:
                    self._output.line(wording.resuming(event, sending=self._sending))
            case Progress():
                self._progress(event)
            case Stats():
                self._figures = event
            case FileFinished():
                few = not self._sending and self._files <= wording.MOST_IN_A_LOG
                if self._verbose or few or wording.is_renamed(event):
                    self._output.line(wording.file_finished(event))
            case LeftOut():
                for line in wording.left_out(event, most=None if self._verbose else wording.MOST_LEFT_OUT):
                    self._output.line(line)
            case Notice():
                if self._verbose or not event.detail:
                    self._output.line(one_line(event.message))
            case Done():
                self._output.line(wording.done(event, sending=self._sending))
                for line in wording.done_details(event, sending=self._sending):
                    self._output.line(line)
            case Failed():
                self._output.line(wording.failure(event))
            case _:
                pass  # a received text is a result: it goes to standard output

    def _detail(self, text: str) -> None:
        if self._verbose:
            self._output.line(text)

    def _code(self, event: CodeReady) -> None:
        if (
            event.given and not self._output.is_terminal
        ):  # a log is no place for what somebody keeps in a variable
            self._output.line(
                f"Code: the one that was given, number {one_line(event.code.partition('-')[0])}"
            )
            event = replace(event, code="CODE")
        else:
            self._output.line(f"Code: {one_line(event.code)}")
        self._output.line(f"On the other machine: {wording.receive_command(event)}")
        elsewhere = wording.receive_command_without_discovery(event)
        if elsewhere:
            self._output.line(f"If it is not found there: {elsewhere}")

    def _offer(self, event: Offered) -> None:
        self._files = sum(entry.kind == "file" for entry in event.entries)
        self._is_told_here = wording.tells_what_is_here(event)
        columns = self._output.columns
        self._output.put(
            wording.offer(event, sending=self._sending, most=self._most_offered, columns=columns)
        )

    def _progress(self, event: Progress) -> None:
        now = self._clock()
        if self._reported is None:
            self._reported = now, event.bytes
            return
        at, byte_count = self._reported
        if not self._pace.is_due(now - at):
            return
        self._reported = now, event.bytes
        parts = [format_bytes(event.bytes)]
        if event.total:
            parts = [f"{event.bytes * 100 // event.total:3d} %", f"{parts[0]} of {format_bytes(event.total)}"]
        comparing = wording.comparing(event, sending=self._sending)
        silence = wording.silent(self._figures)
        if silence and event.bytes == byte_count:
            parts.append(silence)
        elif event.bytes > byte_count or not comparing:
            parts.append(format_throughput(mbps(event.bytes - byte_count, now - at)))
        if comparing:
            parts.append(comparing)
        if event.files_total > 1:
            parts.append(f"{event.files_done:,} of {event.files_total:,} files")
        if event.eta_s is not None:
            parts.append(f"{format_remaining(event.eta_s)} left")
        if event.verdict is not None:
            words = headline(event.verdict, sending=self._sending)
            parts.append(f"{words[0].lower()}{words[1:]} ({100 * event.verdict.share:.0f} %)")
        if self._verbose and self._figures is not None:
            figures = self._figures.benchmark
            parts.append(f"RTT {format_milliseconds(figures.current_rtt_ms)}")
            parts.append(f"loss {format_fraction(figures.avg_loss)}")
        self._output.line(", ".join(parts), replaces="progress")


class _Pace:
    """When the next progress line is due."""

    def __init__(self) -> None:
        self._interval_s = FIRST_INTERVAL_S
        self._lines = 0

    def is_due(self, elapsed_s: float) -> bool:
        if elapsed_s < self._interval_s:
            return False
        self._lines += 1
        if self._lines % LINES_PER_INTERVAL == 0:
            self._interval_s = min(2 * self._interval_s, LONGEST_INTERVAL_S)
        return True
