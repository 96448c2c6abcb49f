from __future__ import annotations

from collections.abc import Callable

import pytest

from tallow_cli.errors import BadOption, PeerVanished
from tallow_cli.link.channels import (
    Channel,
    ChannelState,
    ChannelStats,
    DataChannels,
)


class FakeChannel:
    """A channel whose buffer empties only when the test says so."""

    def __init__(self, label: str = "tallow-group-transfer") -> None:
        self.label = label
        self.state: ChannelState = "open"
        self.buffered_amount = 0
        self.low_threshold = 0
        self.sent: list[bytes] = []
        self.on_message: Callable[[bytes], None] | None = None
        self.on_low: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None

    def send(self, message: bytes) -> None:
        if self.state != "open":
            raise PeerVanished("closed")
        self.sent.append(message)
        self.buffered_amount += len(message)

    def drain_to(self, size_bytes: int) -> None:
        before, self.buffered_amount = self.buffered_amount, size_bytes
        if before > self.low_threshold >= size_bytes and self.on_low is not None:
            self.on_low()

    def close(self) -> None:
        if self.state != "closed":
            self.state = "closed"
            if self.on_close is not None:
                self.on_close()


def manager(count: int = 3, *, high: int = 1000, low: int = 200) -> tuple[DataChannels, list[FakeChannel]]:
    fakes = [FakeChannel() for _ in range(count)]
    channels: list[Channel] = list(fakes)
    return DataChannels(channels, buffer_high=high, buffer_low=low), fakes


@pytest.mark.parametrize("count", [0, 1, 5])
def test_fewer_than_two_or_more_than_four_channels_are_refused(count: int) -> None:
    with pytest.raises(BadOption, match="--channels"):
        manager(count)


@pytest.mark.parametrize(("high", "low"), [(100, 100), (100, 200), (100, 0), (100, -1)])
def test_marks_out_of_order_are_refused(high: int, low: int) -> None:
    with pytest.raises(BadOption, match="--buffer"):
        manager(high=high, low=low)


def test_a_channel_at_its_high_mark_is_paused_until_it_drains_to_the_low_mark() -> None:
    channels, fakes = manager(3, high=1000, low=200)
    drained: list[int] = []
    channels.on_drain = drained.append
    assert channels.send(2, b"x" * 999)
    assert not channels.send(2, b"x")
    assert [each.paused for each in channels.stats()] == [False, True, False]
    assert channels.send(1, b"x"), "each is paused alone"
    fakes[1].drain_to(201)
    assert drained == []
    fakes[1].drain_to(200)
    assert drained == [2]
    assert channels.send(2, b"x")


def test_a_paused_channel_still_takes_the_rest_of_its_chunk() -> None:
    channels, fakes = manager(2)
    channels.send(1, b"x" * 1000)
    assert not channels.send(1, b"tail")
    assert fakes[0].sent[-1] == b"tail"


def test_the_low_mark_is_handed_to_the_channels() -> None:
    _, fakes = manager(3, low=123)
    assert [fake.low_threshold for fake in fakes] == [123] * 3


def test_a_dead_channel_is_reported_once_and_the_others_carry_on() -> None:
    channels, fakes = manager(3)
    dead: list[int] = []
    channels.on_close = dead.append
    channels.send(2, b"x" * 1000)
    fakes[1].close()
    fakes[1].close()
    assert dead == [2]
    assert [each.state for each in channels.stats()] == ["open", "closed", "open"]
    assert not channels.stats()[1].paused
    assert channels.send(1, b"x")
    assert channels.send(3, b"x")
    with pytest.raises(PeerVanished):
        channels.send(2, b"x")


def test_a_channel_that_drains_after_its_death_is_not_reported_drained() -> None:
    channels, fakes = manager(2)
    drained: list[int] = []
    channels.on_drain = drained.append
    channels.send(1, b"x" * 1000)
    fakes[0].close()
    fakes[0].drain_to(0)
    assert drained == []


def test_messages_come_in_with_the_number_of_their_channel() -> None:
    channels, fakes = manager(3)
    got: list[tuple[int, bytes]] = []
    channels.on_message = lambda index, message: got.append((index, message))
    for fake, message in zip(fakes, (b"a", b"b", b"c"), strict=True):
        assert fake.on_message is not None
        fake.on_message(message)
    assert got == [(1, b"a"), (2, b"b"), (3, b"c")]


def test_statistics_count_bytes_both_ways_per_channel() -> None:
    channels, fakes = manager(3, high=100, low=10)
    channels.send(1, b"x" * 60)
    channels.send(1, b"x" * 60)
    channels.send(3, b"x" * 5)
    assert fakes[2].on_message is not None
    fakes[2].on_message(b"y" * 7)
    fakes[1].close()
    assert channels.stats() == (
        ChannelStats("tallow-group-transfer", 1, "open", True, 120, 120, 0),
        ChannelStats("tallow-group-transfer", 2, "closed", False, 0, 0, 0),
        ChannelStats("tallow-group-transfer", 3, "open", False, 5, 5, 7),
    )


def test_an_index_that_does_not_exist_is_an_error_not_another_channel() -> None:
    channels, _ = manager(2)
    for index in (0, -1, 3):
        with pytest.raises(IndexError):
            channels.send(index, b"x")
