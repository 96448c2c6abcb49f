from __future__ import annotations

from dataclasses import replace

import pytest

from tallow_cli.session.events import Offered, OfferedEntry, Progress, SessionEvent
from tallow_cli.ui.sanitize import columns
from tallow_cli.ui.view import TransferView
from tests.support.events import (
    CODE_READY,
    CONNECTED,
    EVERY_EVENT,
    FILE,
    OFFER,
    PROGRESS,
    RECONNECTED,
    RECONNECTING,
    STATS,
)


def view(*events: SessionEvent) -> TransferView:
    result = TransferView()
    for event in events:
        result.take(event)
    return result


def test_an_empty_view_has_a_title_and_nothing_else() -> None:
    empty = view()
    assert empty.title == "Receiving"
    assert [empty.what, empty.path, empty.percent, empty.amount, empty.remaining, empty.files] == [""] * 6
    assert empty.one_line(40) == "Receiving"
    assert empty.channels == ()


def test_whoever_has_a_code_is_sending() -> None:
    assert view(CODE_READY).title == "Sending"


def test_one_line_holds_the_most_wanted_that_fits() -> None:
    full = view(CODE_READY, CONNECTED, OFFER, PROGRESS, STATS)
    assert (
        full.one_line(80) == "Sending · 62 % · 212 Mbit/s · 18 s left · 1 of 2 files · direct, local network"
    )
    assert full.one_line(45) == "Sending · 62 % · 212 Mbit/s · 18 s left"
    assert full.one_line(10) == "Sending"


@pytest.mark.parametrize("width", range(0, 90, 7))
def test_one_line_never_grows_past_its_width(width: int) -> None:
    assert columns(view(*EVERY_EVENT).one_line(width)) <= max(width, len("Receiving"))


def test_a_hundred_percent_means_all_of_it() -> None:
    assert view(Progress(999_999, 1_000_000)).percent == "99 %"
    assert view(Progress(1_000_000, 1_000_000, eta_s=0.0)).percent == "100 %"
    assert view(Progress(1_000_000, 1_000_000, eta_s=0.0)).remaining == ""
    assert view(Progress(0, 0)).percent == "100 %"


def test_a_stream_of_unknown_length_shows_what_has_moved() -> None:
    stream = view(Progress(3 * 2**20, None))
    assert (stream.percent, stream.amount, stream.fraction) == ("", "3 MiB", None)
    assert stream.one_line(40) == "Receiving · 3 MiB"


def test_names_in_the_view_are_fit_for_the_screen() -> None:
    hostile = view(Offered("files", (OfferedEntry("a\x1b[2J.txt", "file", 1),), 1), FILE)
    assert hostile.what == "a\\x1b[2J.txt, 1 B"
    assert "\x1b" not in hostile.latest_file(80)
    assert columns(hostile.latest_file(12)) <= 12


def test_without_a_connection_nothing_that_moves_is_shown() -> None:
    lost = view(CODE_READY, CONNECTED, OFFER, PROGRESS, STATS, RECONNECTING)
    assert lost.title == "Reconnecting"
    assert lost.one_line(80) == "Reconnecting · 62 % · 1 of 2 files"
    assert (lost.remaining, lost.path, lost.stats) == ("", "", None)
    again = view(CODE_READY, CONNECTED, OFFER, PROGRESS, STATS, RECONNECTING, RECONNECTED)
    assert (again.title, again.path) == ("Sending", "direct")


def test_a_silence_is_shown_in_place_of_a_rate_and_of_the_time_left() -> None:
    silent = view(CODE_READY, CONNECTED, OFFER, PROGRESS, replace(STATS, silent_s=6.4))
    assert silent.one_line(80).startswith("Sending · 62 % · the other side has not answered for 6 s")
    assert silent.remaining == ""
    assert list(silent.rates_mbps) == []
