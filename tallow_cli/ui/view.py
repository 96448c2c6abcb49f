"""What a screen needs to know of a transfer, gathered from its events. Knows nothing of rich."""

from __future__ import annotations

from collections import deque
from typing import Final

from tallow_cli.session.events import (
    ChannelStats,
    CodeReady,
    Connected,
    Done,
    FileFinished,
    Offered,
    Progress,
    Reconnected,
    Reconnecting,
    SessionEvent,
    Stats,
)
from tallow_cli.ui import wording
from tallow_cli.ui.format import format_bytes, format_remaining, format_throughput
from tallow_cli.ui.sanitize import columns, name

RATES_KEPT: Final = 240  # more than the widest sparkline
FILES_KEPT: Final = 8
_WAYS: Final = {
    "same-machine": "same machine",
    "local-network": "direct, local network",
    "tunnel": "direct, through a tunnel",
    "across-nats": "direct, across NATs",
    "direct": "direct",
}


class TransferView:
    """The latest of everything. Texts in it are as the peer sent them; its methods return sanitized ones."""

    def __init__(self) -> None:
        self.sending = False
        self.connected: Connected | Reconnected | None = None
        self.is_reconnecting = False
        self.progress: Progress | None = None
        self.stats: Stats | None = None
        self.rates_mbps: deque[float] = deque(maxlen=RATES_KEPT)
        self.finished: deque[FileFinished] = deque(maxlen=FILES_KEPT)
        self.offer: Offered | None = None
        self.what = ""  # what is being moved: a file's name, or how many files

    def take(self, event: SessionEvent) -> None:
        match event:
            case CodeReady():
                self.sending = True
            case Connected() | Reconnected():
                self.connected = event
                self.is_reconnecting = False
            case Reconnecting():
                self.is_reconnecting = True
                self.stats = None
            case Offered():
                self.offer = event
                self.what = wording.offer_summary(event)
            case Progress():
                self.progress = event
            case Stats():
                self.stats = event
                if not event.silent_s:
                    self.rates_mbps.append(event.benchmark.current_mbps)
            case FileFinished():
                self.finished.append(event)
            case Done() if event.benchmark is not None:
                self.rates_mbps.append(event.benchmark.current_mbps)
            case _:
                pass

    @property
    def title(self) -> str:
        if self.is_reconnecting:
            return "Reconnecting"
        return "Sending" if self.sending else "Receiving"

    @property
    def silence(self) -> str:
        """That the other side does not answer, and for how long; empty while it does."""
        return wording.silent(self.stats)

    @property
    def path(self) -> str:
        """`direct, local network`, `relayed by 203.0.113.1:3478 over UDP`; empty while unknown."""
        if self.connected is None or self.is_reconnecting:
            return ""
        event = self.connected
        if event.path == "relayed":
            return "relayed" if event.relay is None else f"relayed by {wording.relay_name(event.relay)}"
        return _WAYS[event.way]

    @property
    def fraction(self) -> float | None:
        """The part that is done, 0-1; None where the total is unknown."""
        if self.progress is None or self.progress.total is None:
            return None
        return self.progress.bytes / self.progress.total if self.progress.total else 1.0

    @property
    def percent(self) -> str:
        """Rounded down: 100 % means all of it."""
        return "" if self.fraction is None else f"{int(self.fraction * 100)} %"

    @property
    def amount(self) -> str:
        if self.progress is None:
            return ""
        if self.progress.total == 0 and self.offer is not None:
            return wording.amount(0, self.offer.hole_bytes)
        moved = format_bytes(self.progress.bytes)
        return moved if self.progress.total is None else f"{moved} of {format_bytes(self.progress.total)}"

    @property
    def remaining(self) -> str:
        if (
            self.progress is None
            or self.progress.eta_s is None
            or self.fraction == 1.0
            or self.is_reconnecting
            or self.silence
        ):
            return ""
        return f"{format_remaining(self.progress.eta_s)} left"

    @property
    def files(self) -> str:
        if self.progress is None or self.progress.files_total < 2:
            return ""
        return f"{self.progress.files_done:,} of {self.progress.files_total:,} files"

    @property
    def comparing(self) -> str:
        """What of what was there before is still being compared."""
        return "" if self.progress is None else wording.comparing(self.progress, sending=self.sending)

    @property
    def channels(self) -> tuple[ChannelStats, ...]:
        return self.stats.channels if self.stats else ()

    def latest_file(self, max_columns: int) -> str:
        """The file finished last, shortened."""
        return name(self.finished[-1].path, max_columns) if self.finished else ""

    def one_line(self, max_columns: int) -> str:
        """The transfer in one line: what fits, the most wanted first."""
        rate = self.silence
        if self.stats is not None and not rate:
            rate = format_throughput(self.stats.benchmark.current_mbps)
        line = self.title[:max_columns]
        for part in (
            self.percent or self.amount,
            rate,
            self.remaining,
            self.comparing,
            self.files,
            self.path,
        ):
            longer = f"{line} · {part}" if part else line
            if columns(longer) > max_columns:
                break
            line = longer
        return line
