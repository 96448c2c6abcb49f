"""The live panels: from a TransferView to what rich draws. Pure; text is `Text`, never markup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.box import ASCII, ROUNDED
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tallow_cli.measure.benchmark import BenchmarkSnapshot, Bottleneck
from tallow_cli.measure.quality import BANDWIDTH_LOSS
from tallow_cli.ui.format import (
    format_bytes,
    format_fraction,
    format_milliseconds,
    format_throughput,
    sparkline,
)
from tallow_cli.ui.sanitize import name, one_line
from tallow_cli.ui.view import TransferView

NARROWEST: Final = 60  # columns; below, a single line
LOWEST: Final = 12  # rows; below, a single line
_ROWS_FOR_CHANNELS: Final = 22
_ROWS_FOR_FILES: Final = 32

_SPREAD_FROM = 78  # columns; below, the spread would take the room of the figure itself
_GOOD_QUALITY: Final = 90
_FAIR_QUALITY: Final = 70


@dataclass(frozen=True, slots=True)
class Screen:
    width: int
    height: int
    utf8: bool = True


def draw(view: TransferView, screen: Screen) -> RenderableType:
    """Return what to show now on a screen of this size."""
    if screen.width < NARROWEST or screen.height < LOWEST:
        # One column short of the edge: some terminals wrap a line that fills it.
        return Text(view.one_line(screen.width - 1), no_wrap=True, overflow="crop")
    parts: list[RenderableType] = [_progress(view, screen), _measurements(view, screen)]
    if view.stats is not None:
        parts.append(_quality(view.stats.benchmark, screen))
    if view.channels and screen.height >= _ROWS_FOR_CHANNELS:
        parts.append(_channels(view, screen))
    if len(view.finished) > 1 and screen.height >= _ROWS_FOR_FILES:
        parts.append(_files(view, screen))
    return Group(*parts)


def _progress(view: TransferView, screen: Screen) -> Panel:
    inner = screen.width - 4
    top = Table.grid(expand=True)
    top.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    top.add_column(justify="right", no_wrap=True)
    top.add_row(Text(_what(view, inner)), Text(view.remaining, style="bold"))
    bar = Table.grid(expand=True, padding=(0, 1))
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    amount = " · ".join(part for part in (view.percent, view.amount) if part)
    if view.fraction is None:
        bar.add_row(Text("until the sender's stream ends", style="dim"), Text(amount))
    else:
        bar.add_row(_Bar(view.fraction, utf8=screen.utf8), Text(amount))
    return _panel(Group(top, bar), view.title, screen, note=_connection(view))


@dataclass(frozen=True, slots=True)
class _Bar:
    """How much is done, in letters that tell it without colours too; as wide as there is room."""

    fraction: float
    utf8: bool

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        done_letter, rest_letter = "━─" if self.utf8 else "#-"
        done = int(min(self.fraction, 1.0) * options.max_width)
        style = "green" if self.fraction >= 1.0 else "cyan"
        yield Text.assemble(
            (done_letter * done, style), (rest_letter * (options.max_width - done), "bright_black")
        )


def _what(view: TransferView, width: int) -> str:
    """What is moved; with many files also how many are done and which was the last. Or what else is done."""
    if view.comparing:
        return f"{view.files or view.what} · {view.comparing}"
    if not view.files:
        return view.what
    room = max(12, width // 2 - 4)
    latest = view.latest_file(room)
    return f"{view.files} · {latest}" if latest else view.files


def _connection(view: TransferView) -> str:
    if view.is_reconnecting:
        return "no connection"
    if view.connected is None:
        return ""
    return f"{view.path} · {one_line(view.connected.engine)}"


def _measurements(view: TransferView, screen: Screen) -> Table:
    row = Table.grid(expand=True)
    row.add_column(ratio=1)
    row.add_column(ratio=1)
    figures = view.stats.benchmark if view.stats else None
    half = screen.width // 2
    row.add_row(_throughput(view, figures, half, screen), _network(view, figures, screen))
    return row


def _throughput(view: TransferView, figures: BenchmarkSnapshot | None, width: int, screen: Screen) -> Panel:
    text = Text(no_wrap=True, overflow="ellipsis")
    if figures is not None:
        if view.silence:
            text.append(view.silence, style="bold yellow")
        else:
            text.append(format_throughput(figures.current_mbps), style="bold cyan")
        text.append("\n")
        text.append(sparkline(view.rates_mbps, width - 4, ascii_only=not screen.utf8), style="cyan")
        text.append("\n")
        text.append(f"average {format_throughput(figures.avg_mbps)}", style="dim")
        peak = f" · peak {format_throughput(figures.peak_mbps)}"
        if len(text.plain.rpartition("\n")[2]) + len(peak) <= width - 4:
            text.append(peak, style="dim")
    return _panel(text, "Throughput", screen, height=5)


def _network(view: TransferView, figures: BenchmarkSnapshot | None, screen: Screen) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(style="dim", no_wrap=True, overflow="ellipsis")
    if figures is not None and figures.avg_rtt_ms is None and not view.sending:
        return _panel(Text("measured at the sending end", style="dim"), "Network", screen, height=5)
    if figures is not None:
        spread = ""
        if figures.min_rtt_ms is not None and screen.width >= _SPREAD_FROM:
            spread = f"{format_milliseconds(figures.min_rtt_ms)} to {format_milliseconds(figures.max_rtt_ms)}"
        grid.add_row("RTT", Text(format_milliseconds(figures.current_rtt_ms), style="bold"), Text(spread))
        grid.add_row("Jitter", Text(format_milliseconds(figures.jitter_ms), style="bold"), Text(""))
        worst = f"worst {format_fraction(figures.max_loss)}" if figures.max_loss else ""
        style = "bold red" if (figures.avg_loss or 0.0) > BANDWIDTH_LOSS else "bold"
        grid.add_row("Loss", Text(format_fraction(figures.avg_loss), style=style), Text(worst))
    return _panel(grid, "Network", screen, height=5)


def _quality(figures: BenchmarkSnapshot, screen: Screen) -> Panel:
    score = figures.quality_score
    colour = "green"
    if score is not None and score < _GOOD_QUALITY:
        colour = "yellow" if score >= _FAIR_QUALITY else "red"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    words = Text()
    if figures.bottleneck is not Bottleneck.NONE:
        words.append(f"{figures.bottleneck.value}: ", style="bold yellow")
    words.append(one_line(figures.recommendation))
    shown = Text(
        f"{score}/100" if figures.sample_count and score is not None else "–", style=f"bold {colour}"
    )
    grid.add_row(shown, words)
    return _panel(grid, "Quality", screen)


def _channels(view: TransferView, screen: Screen) -> Panel:
    table = Table(box=None, expand=True, padding=(0, 1), show_edge=False, header_style="dim")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("queued", justify="right", no_wrap=True)
    table.add_column("sent" if view.sending else "received", justify="right", no_wrap=True)
    table.add_column("chunks", justify="right", no_wrap=True)
    for channel in view.channels:
        state, style = ("paused", "yellow") if channel.paused else (channel.state, "")
        if channel.state == "closed":
            state, style = "closed", "red"
        table.add_row(
            str(channel.index),
            Text(state, style=style),
            format_bytes(channel.buffered_amount),
            format_bytes(channel.bytes_sent if view.sending else channel.bytes_received),
            f"{channel.chunks_sent if view.sending else channel.chunks_received:,}",
        )
    sizes = ""
    if view.stats is not None and view.stats.chunk_bytes:
        sizes = (
            f"chunk {format_bytes(view.stats.chunk_bytes)} · message {format_bytes(view.stats.message_bytes)}"
        )
    return _panel(table, "Channels", screen, note=sizes)


def _files(view: TransferView, screen: Screen) -> Panel:
    table = Table.grid(expand=True)
    table.add_column(ratio=1, no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for file in list(view.finished)[-5:]:
        table.add_row(Text(name(file.path, screen.width - 20)), Text(format_bytes(file.size), style="dim"))
    return _panel(table, "Verified", screen)


def _panel(
    content: RenderableType, title: str, screen: Screen, *, note: str = "", height: int | None = None
) -> Panel:
    return Panel(
        content,
        title=Text(title, style="bold"),
        title_align="left",
        subtitle=Text(note, style="dim") if note else None,
        subtitle_align="right",
        box=ROUNDED if screen.utf8 else ASCII,
        border_style="bright_black",
        height=height,
    )
