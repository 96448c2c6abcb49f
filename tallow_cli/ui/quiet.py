"""Nothing but the reason of a failure, for `--quiet` and beside `--json`."""

from __future__ import annotations

from tallow_cli.session.events import Failed, SessionEvent
from tallow_cli.ui.output import Output
from tallow_cli.ui.sanitize import one_line


class QuietRenderer:
    """Writes the sentence of an error to `output`, and nothing else."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def start(self) -> None:
        """Nothing to set up."""

    def handle(self, event: SessionEvent) -> None:
        if isinstance(event, Failed):
            self._output.line(f"tallow: {one_line(event.error.sentence)}")

    def close(self) -> None:
        """Nothing to tear down."""
