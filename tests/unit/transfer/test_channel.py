"""The one record of a channel: its state, and the numbers of what goes out on it."""

import pytest

from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.driving import ChannelState
from tallow_cli.transfer.frames import HEADER_BYTES, SEAL_BYTES, parse_header_untrusted


def test_packets_are_numbered_from_nothing_and_say_so_in_their_headers():
    channel = Channel(3, sealed=True)
    packets = [channel.packet(payload) for payload in (b"a", b"b", b"c")]
    assert [packet.number for packet in packets] == [0, 1, 2]
    assert channel.next_number == 3
    for packet in packets:
        header = parse_header_untrusted(packet.header + packet.payload)
        assert (header.sealed, header.channel, header.number) == (True, 3, packet.number)


def test_a_channel_without_numbers_left_sends_nothing_under_an_old_one():
    channel = Channel(1, sealed=True, max_number=1)
    channel.packet(b"a")
    channel.packet(b"b")
    for _ in range(2):
        with pytest.raises(ValueError, match="no packet numbers left"):
            channel.packet(b"c")


def test_a_channel_is_gone_when_it_was_open_and_is_not():
    channel = Channel(1, sealed=False)
    assert channel.state is ChannelState.CLOSED
    assert not channel.is_gone
    channel.become(ChannelState.PAUSED)
    assert not channel.is_gone
    channel.become(ChannelState.CLOSED)
    assert channel.is_gone
    assert channel.has_been_open


@pytest.mark.parametrize(("sealed", "overhead"), [(True, HEADER_BYTES + SEAL_BYTES), (False, HEADER_BYTES)])
def test_whole_messages_are_counted_both_ways(sealed, overhead):
    channel = Channel(1, sealed=sealed)
    channel.packet(b"abc")
    channel.packet(b"")
    channel.received(7)
    counters = channel.counters
    assert (counters.messages_sent, counters.bytes_sent) == (2, 2 * overhead + 3)
    assert (counters.messages_received, counters.bytes_received) == (1, overhead + 7)


def test_nothing_waits_in_a_channel_that_has_closed():
    channel = Channel(1, sealed=True)
    channel.become(ChannelState.OPEN)
    channel.buffered_bytes = 5
    channel.become(ChannelState.CLOSED)
    assert channel.buffered_bytes == 0
