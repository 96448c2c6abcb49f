from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tallow_cli.link.channels import MAX_CHANNELS
from tallow_cli.measure.benchmark import Bottleneck
from tallow_cli.session.events import FileFinished, Offered, OfferedEntry, Progress, SessionEvent
from tallow_cli.ui.panels import Screen, draw
from tallow_cli.ui.view import TransferView
from tests.support.events import (
    CODE_READY,
    CONNECTED,
    OFFER,
    PROGRESS,
    RECONNECTING,
    SNAPSHOT,
    STATS,
    channel,
)

RUNNING: tuple[SessionEvent, ...] = (CODE_READY, CONNECTED, OFFER, PROGRESS, STATS)
WORDY = replace(
    SNAPSHOT,
    quality_score=61,
    bottleneck=Bottleneck.NETWORK_LATENCY,
    recommendation="Round trips take 400 ms, although the path itself takes 20 ms: data is queueing on the way. "
    "Send with --limit just below the rate reached.",
)


def picture(*events: SessionEvent, width: int, height: int, utf8: bool = True) -> list[str]:
    view = TransferView()
    for event in events:
        view.take(event)
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, markup=False, emoji=False, highlight=False)
    console.print(draw(view, Screen(width, height, utf8=utf8)))
    return stream.getvalue().splitlines()


def test_everything_promised_is_on_a_screen_of_80_by_24() -> None:
    text = "\n".join(picture(*RUNNING, width=80, height=24))
    for promised in (
        "Sending",
        "62 %",
        "745 MiB of 1.17 GiB",
        "18 s left",
        "1 of 2 files",
        "212 Mbit/s",
        "█",
        "8.2 ms",
        "2.3 ms",
        "0.2 %",
        "95/100",
        "Nothing measured here holds the transfer back.",
        "paused",
        "chunk 256 KiB",
        "direct, local network · aiortc",
    ):
        assert promised in text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("height", [12, 22, 24, 40])
def test_the_panels_fit_the_screen_even_at_their_fullest(width: int, height: int) -> None:
    fullest = replace(STATS, benchmark=WORDY, channels=tuple(channel(n) for n in range(1, MAX_CHANNELS + 1)))
    files = [FileFinished(f"{n}" * 200, 1) for n in range(9)]
    lines = picture(*RUNNING[:-1], fullest, *files, width=width, height=height)
    assert max(len(line) for line in lines) <= width
    if height >= 22:
        assert len(lines) <= height
        assert any("network-latency" in line for line in lines)


@pytest.mark.parametrize(("width", "height"), [(59, 24), (50, 15), (20, 10), (80, 11), (1, 1)])
def test_a_small_screen_gets_a_single_line(width: int, height: int) -> None:
    lines = picture(*RUNNING, width=width, height=height)
    assert len(lines) == 1
    assert len(lines[0]) <= width


def test_no_peer_text_reaches_the_panels_raw_or_as_markup() -> None:
    offer = Offered("files", (OfferedEntry("[red]a\x1b[2J[/red]:smile:", "file", 1),), 1)
    text = "\n".join(picture(CONNECTED, offer, PROGRESS, STATS, width=120, height=40))
    text += "\n".join(
        picture(CONNECTED, offer, replace(PROGRESS, files_total=1), STATS, width=120, height=40)
    )
    assert "[red]a\\x1b[2J[/red]:smile:" in text
    assert "\x1b" not in text


def test_a_terminal_without_utf8_gets_ascii_boxes_and_sparks() -> None:
    text = "\n".join(picture(*RUNNING, width=80, height=24, utf8=False))
    assert "╭" not in text
    assert "█" not in text
    assert "@" in text


def test_a_stream_of_unknown_length_has_no_bar() -> None:
    text = "\n".join(picture(Progress(3 * 2**20, None), STATS, width=80, height=24))
    assert "3 MiB" in text
    assert "%" not in text.split("Throughput")[0]


def test_a_receiver_says_that_the_network_is_measured_at_the_other_end() -> None:
    blind = replace(SNAPSHOT, avg_rtt_ms=None, current_rtt_ms=None, avg_loss=None, max_loss=None)
    text = "\n".join(picture(PROGRESS, replace(STATS, benchmark=blind), width=80, height=24))
    assert "measured at the sending end" in text


def test_before_the_first_figures_the_panels_stand_empty() -> None:
    assert picture(Progress(0, 100), width=80, height=24)


@pytest.mark.parametrize(("utf8", "done", "rest"), [(True, "━", "─"), (False, "#", "-")])
def test_the_bar_tells_how_much_is_done_without_colours(utf8: bool, done: str, rest: str) -> None:
    bar = picture(*RUNNING, width=80, height=24, utf8=utf8)[2]
    letters = bar.strip("│|").split()[0]
    assert set(letters) == {done, rest}
    assert letters.count(done) / len(letters) == pytest.approx(0.62, abs=0.03)


def test_the_panel_says_that_there_is_no_connection_and_keeps_how_far_it_is() -> None:
    text = "\n".join(picture(*RUNNING, RECONNECTING, width=80, height=24))
    for promised in ("Reconnecting", "no connection", "62 %", "745 MiB of 1.17 GiB"):
        assert promised in text
    assert "Mbit/s" not in text
    assert "left" not in text
