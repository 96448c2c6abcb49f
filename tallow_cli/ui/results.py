"""Standard output: the result and nothing else, so that it can be piped or captured."""

from __future__ import annotations

from tallow_cli.session.events import CodeReady, SessionEvent, TextReceived
from tallow_cli.ui.output import Output
from tallow_cli.ui.sanitize import paragraphs
from tallow_cli.ui.sink import EventSink


class ResultRenderer(EventSink):
    """Writes a received text, and with `shows_code` each code on a line of its own: `CODE=$(tallow send …)`. Not one
    that was given: whoever gave it has it, and the log of a CI job that keeps it secret should not.

    A text goes to a pipe or a file as it was sent; to a terminal it goes sanitized, with a last line break.
    """

    def __init__(self, output: Output, *, shows_code: bool) -> None:
        self._output = output
        self._shows_code = shows_code

    def handle(self, event: SessionEvent) -> None:
        if isinstance(event, CodeReady) and self._shows_code and not event.given:
            self._output.line(event.code)
        elif isinstance(event, TextReceived):
            if self._output.is_terminal:
                self._output.line(paragraphs(event.text).removesuffix("\n"))
            else:
                self._output.write(event.text)
