"""Panels on a terminal: lines before and after the transfer, a live display while bytes move."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO, Final, cast

from rich.console import Console, RenderableType
from rich.text import Text

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
from tallow_cli.ui.display import Display
from tallow_cli.ui.output import Output, encodable
from tallow_cli.ui.panels import Screen, draw
from tallow_cli.ui.sanitize import one_line
from tallow_cli.ui.sink import EventSink
from tallow_cli.ui.view import TransferView

# At most ten a second by specification. Drawing takes some 10 ms of the thread that also moves the data, and the
# figures change five times a second, so no more than that.
REDRAW_INTERVAL_S: Final = 0.2


class LiveRenderer(EventSink):
    """Shows a session on a terminal with rich. Everything is drawn by `handle`, on the caller's thread, and written
    on another: a terminal that takes nothing is not drawn for.

    The display begins with the first progress, so that a question asked before it stands undisturbed, and it
    disappears at the end, leaving two or three lines of summary.
    """

    def __init__(
        self,
        output: Output,
        *,
        verbose: bool = False,
        colour: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = Console(
            file=cast("IO[str]", output),
            force_terminal=True,
            no_color=not colour,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._output = output
        self._display = Display(output, lambda: self._console.size)
        self._verbose = verbose
        self._clock = clock
        self._view = TransferView()
        self._drawn_at = float("-inf")
        self._files = 0
        self._is_told_here = False  # with the offer: what of it is here

    def close(self) -> None:
        """Give the terminal back, its cursor shown."""
        self._display.close()

    def suspend(self) -> None:
        self._display.close()

    def resume(self) -> None:
        self._display.forget()
        self._wait_to_draw()

    def _wait_to_draw(self) -> None:
        """For a moment: that the terminal is ours again is seen, and told by a signal, in no fixed order, and what is
        drawn between the two would stay there."""
        self._drawn_at = self._clock() + REDRAW_INTERVAL_S

    def leave(self, failed: Failed) -> None:
        self._display.leave()
        self._output.line(wording.failure(failed))

    def handle(self, event: SessionEvent) -> None:
        self._view.take(event)
        match event:
            case CodeReady():
                self._code(event)
            case Waiting():
                self._say(wording.waiting(event), style="dim")
            case PeerAuthenticated() if self._verbose:
                self._say(
                    f"The other side knows the code; it runs Tallow {one_line(event.version)}.", style="dim"
                )
            case Connected():
                self._say(wording.connected(event), style="green")
                if self._verbose:
                    for detail in wording.connection_details(event):
                        self._say(detail, style="dim")
            case Reconnecting():
                self._say(wording.reconnecting(event), style="yellow")
                self._redraw(at_once=True)
            case Reconnected():
                self._say(wording.reconnected(event), style="green")
            case Offered():
                self._offer(event)
            case Resuming():
                if not self._is_told_here:
                    self._say(wording.resuming(event, sending=self._view.sending), style="cyan")
            case Progress() | Stats():
                self._redraw()
            case FileFinished():
                few = not self._view.sending and self._files <= wording.MOST_IN_A_LOG
                if self._verbose or few or wording.is_renamed(event):
                    self._say(wording.file_finished(event))
            case LeftOut():
                for line in wording.left_out(event, most=None if self._verbose else wording.MOST_LEFT_OUT):
                    self._say(line, style="yellow")
            case Notice() if self._verbose or not event.detail:
                self._say(one_line(event.message), style="yellow")
            case Done():
                self.close()
                self._say(f"✓ {wording.done(event, sending=self._view.sending)}", style="bold green")
                for line in wording.done_details(event, sending=self._view.sending):
                    self._say(f"  {line}", style="dim")
            case Failed():
                self.close()
                has_command = event.kept is not None and event.kept.go_on is not None
                self._say(wording.failure(event), style="bold red", to_copy=has_command)
            case _:
                pass

    def _say(self, text: str, style: str = "", *, to_copy: bool = False) -> None:
        """Print a line, above the live display if there is one. What is `to_copy` is not broken into lines."""
        self._print(Text(text, style=style), to_copy=to_copy)

    def _print(self, text: Text, *, to_copy: bool) -> None:
        text.plain = encodable(text.plain, self._output.encoding)
        self._display.say(self._drawn(text, soft_wrap=to_copy))

    def _drawn(self, picture: RenderableType, *, soft_wrap: bool = False) -> str:
        with self._console.capture() as capture:
            self._console.print(picture, soft_wrap=soft_wrap)
        return capture.get()

    def _code(self, event: CodeReady) -> None:
        self._say("")
        self._print(Text.assemble("  Code     ", (one_line(event.code), "bold cyan")), to_copy=True)
        self._say("")
        self._say("  On the other machine, run:", style="dim")
        self._say("")
        self._say(f"      {wording.receive_command(event)}", style="bold", to_copy=True)
        elsewhere = wording.receive_command_without_discovery(event)
        if elsewhere:
            self._say("")
            self._say("  If it is not found there:", style="dim")
            self._say("")
            self._say(f"      {elsewhere}", to_copy=True)
        self._say("")

    def _offer(self, event: Offered) -> None:
        self._files = sum(entry.kind == "file" for entry in event.entries)
        self._is_told_here = wording.tells_what_is_here(event)
        most = wording.most_offered(to_consent=True, verbose=self._verbose)
        columns = self._console.width
        self._output.put(wording.offer(event, sending=self._view.sending, most=most, columns=columns))

    def _redraw(self, *, at_once: bool = False) -> None:
        """`at_once`: nothing else is coming that would draw it, so it is drawn whatever waits before it."""
        if not self._output.is_in_front:
            self._wait_to_draw()
            return
        now = self._clock()
        if at_once and self._view.progress is None:
            return
        is_due = now - self._drawn_at >= REDRAW_INTERVAL_S and self._display.takes_frames
        if not (is_due or at_once):
            return
        self._drawn_at = now
        width, height = self._console.size
        picture = draw(self._view, Screen(width, height, utf8=self._output.is_utf8))
        self._display.show(self._output.columns_kept(self._drawn(picture)))
