"""What a session tells the world, as events of a trace: the connection, its path, and how the transfer went.

Names of files, the code, and whatever else is the users' business stay out: a trace is made to be shown to others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from tallow_cli.errors import NoPathError, PeerVanished, TallowError, TransferStalled
from tallow_cli.session.events import (
    ChannelStats,
    CodeReady,
    Connected,
    Done,
    LastWords,
    LeftOut,
    Offered,
    PeerAuthenticated,
    Reconnected,
    Reconnecting,
    SessionEvent,
    Stats,
    Waiting,
)
from tallow_cli.tracing import Trace

# Errors whose sentences name no file and quote nobody.
_ABOUT_THE_PATH: Final = (NoPathError, PeerVanished, TransferStalled)

Emit = Callable[[SessionEvent], None]


@contextmanager
def traced(emit: Emit, trace: Trace | None, clock: Callable[[], float] = monotonic) -> Iterator[Emit]:
    """`emit`, whose events are traced too, and how the session ended; just `emit` without a trace."""
    if trace is None:
        yield emit
        return
    session = SessionTrace(trace)

    def both(event: SessionEvent) -> None:
        session.tell(clock(), event)
        emit(event)

    try:
        yield both
    except TallowError as error:
        message = error.sentence if isinstance(error, _ABOUT_THE_PATH) else None
        data = {"kind": error.kind, "exit_code": int(error.exit_code), "message": message}
        trace(clock(), "session:failed", data)
        raise
    except BaseException as error:
        trace(clock(), "session:failed", {"kind": type(error).__name__})
        raise


class SessionTrace:
    """Turns events into those of a trace."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._connections = 0
        self._channels: dict[int, str] = {}

    def tell(self, now: float, event: SessionEvent) -> None:
        match event:
            case CodeReady(server=server, attempt=attempt):
                data: dict[str, object] = {"attempt": attempt, "own_server": server is None}
                self._trace(now, "session:code_ready", data)
            case Waiting(what=what, timeout_s=timeout_s):
                ms = None if timeout_s is None else round(timeout_s * 1e3)
                self._trace(now, "session:waiting", {"what": what, "timeout": ms})
            case PeerAuthenticated(version=version):
                self._trace(now, "session:peer_authenticated", {"version": version})
            case Connected():
                self._connected(now, event)
            case Reconnecting():
                self._lost(now, event)
            case Reconnected():
                self._assign_path(now, event)
                data = {"new": "reconnected", "engine": event.engine, "after": round(event.after_s * 1e3)}
                self._trace(now, "connectivity:connection_state_updated", data)
            case Offered():
                self._offered(now, event)
            case LeftOut(items=items):
                self._trace(now, "transfer:left_out", {"items": Counter(item.why for item in items)})
            case Stats():
                self._stats(now, event)
            case LastWords(heard=heard):
                self._trace(now, "session:last_words", {"heard": heard})
            case Done():
                self._done(now, event)
            case _:  # shown or counted by another event
                return

    def _lost(self, now: float, event: Reconnecting) -> None:
        data = {
            "new": "lost",
            "message": event.reason,
            "reconnect_for": None if event.for_s is None else round(event.for_s * 1e3),
        }
        self._trace(now, "connectivity:connection_state_updated", data)

    def _assign_path(self, now: float, event: Connected | Reconnected) -> None:
        self._connections += 1
        self._channels.clear()
        self._trace(
            now,
            "connectivity:path_assigned",
            {
                "path_id": self._connections,
                "kind": event.path,
                "local_address": event.local_address,
                "remote_address": event.remote_address,
                "is_lan": event.is_lan,
                "way": event.way,
            },
        )

    def _connected(self, now: float, event: Connected) -> None:
        self._assign_path(now, event)
        self._trace(
            now,
            "connectivity:connection_state_updated",
            {
                "new": "connected",
                "engine": event.engine,
                "channels": event.channels,
                "reliable": event.reliable,
                "max_retransmits": event.max_retransmits,
                "sealed": event.encrypted,
                "notes": list(event.notes),
            },
        )

    def _offered(self, now: float, event: Offered) -> None:
        kinds = Counter(entry.kind for entry in event.entries)
        data = {
            "kind": event.kind,
            "entries": kinds,
            "bytes": event.total_bytes,
            "hole_bytes": event.hole_bytes,
        }
        self._trace(now, "transfer:offered", data)

    def _stats(self, now: float, event: Stats) -> None:
        for channel in event.channels:
            self._channel(now, channel)
        figures = event.benchmark
        self._trace(
            now,
            "transfer:metrics_updated",
            {
                "bytes": figures.total_bytes,
                "rate": round(figures.current_mbps * 1e6),
                "rtt": figures.current_rtt_ms,
                "jitter": figures.jitter_ms,
                "loss": figures.avg_loss,
                "bottleneck": figures.bottleneck.value,
                "chunk_bytes": event.chunk_bytes,
                "message_bytes": event.message_bytes,
                "buffered": {str(channel.index): channel.buffered_amount for channel in event.channels},
            },
        )

    def _channel(self, now: float, channel: ChannelStats) -> None:
        state = "paused" if channel.paused and channel.state == "open" else channel.state
        old = self._channels.get(channel.index)
        if state != old:
            self._channels[channel.index] = state
            data = {"channel": channel.index, "old": old, "new": state}
            self._trace(now, "transfer:channel_state_updated", data)

    def _done(self, now: float, event: Done) -> None:
        data = {
            "bytes": event.bytes,
            "files": event.files,
            "duration": round(event.seconds * 1e3),
            "rate": round(event.mbps * 1e6),
            "left_out": event.left_out,
            "missed": event.missed,
        }
        self._trace(now, "session:done", data)
