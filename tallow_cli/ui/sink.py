"""What takes the events of a session and shows them, one way or another."""

from __future__ import annotations

from tallow_cli.session.events import Failed, SessionEvent


class EventSink:
    """One way to show events. Nothing here waits for whoever reads what is shown.

    All but `leave` are called on one thread. `close` may be called more than once, and at any time.
    """

    def start(self) -> None:
        """Before the first event."""

    def handle(self, event: SessionEvent) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """After the last one."""

    def suspend(self) -> None:
        """The process is about to be stopped (Ctrl-Z): give the terminal back meanwhile."""

    def resume(self) -> None:
        """It goes on, and others have written to the terminal."""

    def leave(self, failed: Failed) -> None:
        """The last word of a process that is left at once, on another thread while `handle` may hang."""
        self.handle(failed)
