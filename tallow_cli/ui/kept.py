"""What a receiver keeps although the transfer failed: counted from the events, and told with the error."""

from __future__ import annotations

import os
from dataclasses import replace

from tallow_cli.session.events import (
    CodeReady,
    Failed,
    FileFinished,
    Kept,
    Progress,
    SessionEvent,
    Unfinished,
)


class KeptTally:
    """Pass it every event; what comes back is the event to show.

    A `file` event of a receiver says that a file stands complete under its name. So their sum is true at any
    moment, in whatever way the process ends.
    """

    def __init__(self, go_on: str | None = None) -> None:
        """`go_on`: the command that receives into the same place."""
        self._go_on = go_on
        self._receiving = True
        self._files = 0
        self._bytes = 0
        self._offered = 0
        self._unfinished_files = 0
        self._unfinished_bytes = 0
        self._place: str | None = None  # of one file: the file; of more: the directory that holds them all

    def complete(self, event: SessionEvent) -> SessionEvent:
        """`event`, and if it is the receiver's failure, with what is kept."""
        if isinstance(event, FileFinished):
            self._count(event)
        elif isinstance(event, Progress):
            self._offered = event.files_total
        elif isinstance(event, Unfinished):
            self._unfinished_files, self._unfinished_bytes = event.files, event.bytes
        elif isinstance(event, CodeReady):
            self._receiving = False
        elif isinstance(event, Failed) and event.kept is None and self._receiving:
            return replace(
                event,
                kept=Kept(
                    self._files,
                    self._bytes,
                    self._offered,
                    self._place,
                    self._unfinished_files,
                    self._unfinished_bytes,
                    self._go_on if self._unfinished_files else None,
                ),
            )
        return event

    def _count(self, event: FileFinished) -> None:
        if event.saved_as is None:
            return
        self._files += 1
        self._bytes += event.size
        try:
            place = os.path.abspath(event.saved_as)
        except OSError:  # the current directory was removed
            place = event.saved_as
        if self._place is None:
            self._place = place
        elif not place.startswith(self._place + os.sep):
            self._place = os.path.commonpath((os.path.dirname(self._place), os.path.dirname(place)))
