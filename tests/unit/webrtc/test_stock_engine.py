"""An RTCDataChannel as one of ours: early messages, the end, and what a closed one says."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiortc import RTCDataChannel
from aiortc.exceptions import InvalidStateError
from pyee.base import EventEmitter

from tallow_cli.errors import PeerVanished
from tallow_cli.webrtc.stock_engine import MAX_EARLY_BYTES, MAX_EARLY_MESSAGES, StockChannel, StockEngine


class Rtc(EventEmitter):
    """What of RTCDataChannel a StockChannel uses."""

    label = "tallow"
    readyState = "open"
    bufferedAmount = 0
    bufferedAmountLowThreshold = 0

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def send(self, message: bytes) -> None:
        if self.readyState != "open":
            raise InvalidStateError
        self.sent.append(message)

    def close(self) -> None:
        self.readyState = "closed"
        self.emit("close")


def channel() -> tuple[Rtc, StockChannel]:
    rtc = Rtc()
    return rtc, StockChannel(cast(RTCDataChannel, rtc))


def test_what_came_before_anyone_listened_is_delivered_first() -> None:
    rtc, ours = channel()
    heard: list[bytes] = []
    rtc.emit("message", b"one")
    rtc.emit("message", "two")
    ours.on_message = heard.append
    rtc.emit("message", b"three")
    assert heard == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    ("size", "kept"), [(1, MAX_EARLY_MESSAGES), (MAX_EARLY_BYTES // 4, 4), (MAX_EARLY_BYTES + 1, 0)]
)
def test_a_peer_that_talks_early_fills_a_bounded_memory(size: int, kept: int) -> None:
    rtc, ours = channel()
    for _ in range(MAX_EARLY_MESSAGES + 10):
        rtc.emit("message", bytes(size))
    heard: list[bytes] = []
    ours.on_message = heard.append
    assert len(heard) == kept


def test_the_end_is_told_once_and_sending_afterwards_fails_as_a_lost_peer() -> None:
    rtc, ours = channel()
    ends: list[None] = []
    ours.on_close = lambda: ends.append(None)
    ours.send(b"x")
    ours.close()
    ours.lost()
    assert len(ends) == 1
    assert ours.state == "closed"
    assert rtc.sent == [b"x"]
    with pytest.raises(PeerVanished):
        ours.send(b"y")


def test_a_channel_that_is_not_open_yet_fails_the_same_way() -> None:
    rtc, ours = channel()
    rtc.readyState = "connecting"
    with pytest.raises(PeerVanished):
        ours.send(b"x")


def test_room_is_told_while_the_channel_lives() -> None:
    rtc, ours = channel()
    told: list[Any] = []
    ours.on_low = lambda: told.append(None)
    rtc.emit("bufferedamountlow")
    ours.lost()
    rtc.emit("bufferedamountlow")
    assert len(told) == 1


def test_an_engine_without_an_association_has_nothing_under_way() -> None:
    engine = StockEngine()
    assert engine.all_acknowledged()
    engine.path_figures()
    engine.close()
    assert engine.all_acknowledged()
