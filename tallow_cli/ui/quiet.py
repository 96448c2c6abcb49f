"""Only what a person cannot do without, for `--quiet` and beside `--json`: why it failed, what is offered."""

from __future__ import annotations

from tallow_cli.session.events import MISSED, CodeReady, Done, Failed, LeftOut, Offered, SessionEvent
from tallow_cli.ui import wording
from tallow_cli.ui.output import Output
from tallow_cli.ui.sink import EventSink


class QuietRenderer(EventSink):
    """Writes the sentence of an error to `output`.

    Where a person may be asked for consent (`output` is a terminal), an offer is shown to them too.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._sending = False

    def handle(self, event: SessionEvent) -> None:
        if isinstance(event, Failed):
            self._output.line(wording.failure(event))
        elif isinstance(event, Done) and event.missed:
            self._output.line(f"tallow: {wording.missed(event)}")
        elif isinstance(event, LeftOut) and any(item.why in MISSED for item in event.items):
            for line in wording.left_out(event):
                self._output.line(line)
        elif isinstance(event, CodeReady):
            self._sending = True
        elif isinstance(event, Offered) and self._output.is_terminal and not self._sending:
            most = wording.most_offered(to_consent=True, verbose=False)
            columns = self._output.columns
            self._output.put(wording.offer(event, sending=False, most=most, columns=columns))
