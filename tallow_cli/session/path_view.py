"""What the sending side knows of the path: its round trip, jitter and loss.

An engine that measures packets is asked first: its round trips do not contain the transfer's own queue, and its losses
are those of packets. Else the transfer's own estimates, from messages, are what there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tallow_cli.link.link import PathFigures
from tallow_cli.transfer.driving import SendFigures

_LOSS_TICKS = 10  # the loss shown is that of the last two seconds
_SILENT_TICKS = 3  # without an answer for so long: what counted as lost waited with the other side


class PathView:
    """Call `look` at an even pace; the properties say what was last seen. Times in seconds, loss as a fraction."""

    def __init__(self, engine_figures: Callable[[], PathFigures | None]) -> None:
        self._engine_figures = engine_figures
        self._counts: deque[tuple[int, int]] = deque([(0, 0)], maxlen=_LOSS_TICKS)
        self._unanswered = 0  # looks in a row
        self.rtt_s: float | None = None
        self.jitter_s = 0.0
        self.loss: float | None = None
        self.own_loss: float | None = None  # of `loss`, what is not the answer to our sending too much
        self.is_growing = False  # how much the path carries is still being found out

    def look(self, transfer: SendFigures, *, is_unanswered: bool = False) -> None:
        """Take in the present state of both. What was lost while nobody answers is no figure of the path."""
        engine = self._engine_figures()
        if engine is None or engine.rtt_s <= 0.0:
            self.rtt_s, self.jitter_s = transfer.latest_rtt_s, transfer.jitter_s
            self.loss = self.own_loss = transfer.packet_loss if transfer.latest_rtt_s is not None else None
            return
        self.rtt_s, self.jitter_s, self.is_growing = engine.rtt_s, engine.jitter_s, engine.is_growing
        if is_unanswered:
            self._unanswered += 1
            return
        if self._unanswered >= _SILENT_TICKS:
            self._counts.clear()
        self._unanswered = 0
        self._counts.append((engine.sent_packets, engine.lost_packets))
        (sent_before, lost_before), (sent, lost) = self._counts[0], self._counts[-1]
        self.loss = min((lost - lost_before) / (sent - sent_before), 1.0) if sent > sent_before else 0.0
        self.own_loss = self.loss if engine.path_loss is None else min(self.loss, engine.path_loss)
