"""Data on its way, below the sender's states: turns, bounds and what becomes of a message."""

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.measure.causes import Stop
from tallow_cli.transfer.driving import ChannelState
from tallow_cli.transfer.frames import SEAL_BYTES, Ack, Data, Ping, parse_frames_untrusted
from tallow_cli.transfer.options import SendOptions
from tallow_cli.transfer.parallel_channels import ParallelChannelManager
from tallow_cli.transfer.sendbuffer import SendBuffer

BUDGET = 1 << 20


def start(total=200_000, *, channels=2, chunk=40_000, credit=1 << 30, **changes):
    """A transmission whose stream is read already, all channels open."""
    buffer = SendBuffer(total, 1 << 25)
    while (request := buffer.next_read(chunk, 1 << 30)) is not None:
        buffer.chunk_read(request.offset, bytes(request.size))
    options = SendOptions(**{"memory_bytes": 1 << 25, **changes})
    way = ParallelChannelManager(buffer, channels=channels, now=0.0, options=options)
    for record in way.channels:
        record.become(ChannelState.OPEN)
    way.credit.granted(credit)
    return way, buffer


def sent(packets, kind=Data):
    return [
        (packet.channel, packet.number, frame)
        for packet in packets
        for frame in parse_frames_untrusted(packet.payload)
        if isinstance(frame, kind)
    ]


def ack(channel, *ranges):
    return Ack(channel, 0, ranges)


def test_the_memory_bound_holds_whatever_the_rate():
    way, _ = start(1_000_000, memory_bytes=50_000)
    way.packets(0.0, BUDGET)
    assert way.in_flight_bytes < 50_000 + 20_000


def test_one_call_gives_about_its_budget():
    way, _ = start(1_000_000)
    assert sum(len(packet.payload) for packet in way.packets(0.0, 30_000)) < 30_000 + 20_000


def test_until_a_round_trip_is_known_a_ping_follows_each_batch():
    way, _ = start()
    packets = way.packets(0.0, BUDGET)
    assert [channel for channel, _, _ in sent(packets, Ping)] == [1, 2]
    way.on_ack(0.1, ack(1, (0, 0)))
    assert sent(way.packets(0.1, BUDGET), Ping) == []


def test_the_ping_behind_a_lost_first_batch_has_it_sent_again_after_one_round_trip():
    way, _ = start(40_000, channels=1)
    first = sent(way.packets(0.0, BUDGET))
    way.on_ack(0.1, ack(1, (len(first), len(first))))
    way.handle_timeout(0.1125)
    again = sent(way.packets(0.1125, BUDGET))
    assert [frame.offset for _, _, frame in again][:1] == [0]
    assert sum(len(frame.data) for _, _, frame in again) == 40_000


def test_retransmissions_take_turns_over_the_channels_too():
    way, _ = start(200_000, channels=2)
    way.packets(0.0, BUDGET)
    way.abandon(1)
    channels = [channel for channel, _, _ in sent(way.packets(0.0, BUDGET))]
    assert channels[:4] in ([1, 2, 1, 2], [2, 1, 2, 1])


def test_a_window_smaller_than_a_message_still_lets_data_through():
    way, _ = start(credit=1000)
    assert [len(frame.data) for _, _, frame in sent(way.packets(0.0, BUDGET))] == [1000]
    way.credit.granted(1500)
    assert sent(way.packets(0.0, BUDGET)) == [], (
        "a small message is not worth it while others are on their way"
    )
    way.on_ack(0.1, ack(1, (0, 1)))
    assert [len(frame.data) for _, _, frame in sent(way.packets(0.1, BUDGET))] == [500]


def test_nothing_goes_out_while_every_channel_is_paused():
    way, buffer = start()
    for lane in way.lanes:
        lane.channel.become(ChannelState.PAUSED)
    assert way.packets(0.0, BUDGET) == []
    assert buffer.unsent_bytes == 200_000


def test_an_ack_of_no_channel_of_ours_is_a_protocol_error():
    way, _ = start()
    with pytest.raises(PeerProtocolError):
        way.on_ack(0.0, ack(3, (0, 0)))


def test_settling_leaves_nothing_to_wait_for():
    way, buffer = start()
    way.packets(0.0, BUDGET)
    way.settle()
    assert way.in_flight_bytes == 0
    assert buffer.all_acked
    assert list(way.deadlines()) == []


def test_reliable_channels_set_no_timers():
    way, _ = start(reliable=True)
    way.packets(0.0, BUDGET)
    assert list(way.deadlines()) == []
    way.handle_timeout(100.0)
    assert way.packets(100.0, BUDGET) == []


@pytest.mark.parametrize(("limit", "largest"), [(1_000, 512), (125_000, 1_250), (5e6, 50_000)])
@pytest.mark.parametrize("packet_bytes", [1_160, 16_300])
def test_a_limit_keeps_messages_small_enough_to_hold_it(limit: float, largest: int, packet_bytes: int):
    way, _ = start(1_000_000, limit_bytes_per_s=limit)
    way.set_packet_bytes(packet_bytes)
    now, sizes = 0.0, []
    while now < 1.0:
        sizes += [len(frame.data) for _, _, frame in sent(way.packets(now, BUDGET))]
        for channel in (lane.channel for lane in way.lanes):
            if channel.next_number:
                way.on_ack(now, ack(channel.index, (0, channel.next_number - 1)))
        now += 0.001
    assert max(sizes) <= largest
    assert sum(sizes) <= max(1.05 * limit, limit + 512)


def through(way, now, *, swallowed=()):
    """Let packets go and be acknowledged a moment later, but on `swallowed` channels; what was sent on each."""
    used = {lane.channel.index: 0 for lane in way.lanes}
    for packet in way.packets(now, BUDGET):
        used[packet.channel] += any(
            isinstance(frame, Data) for frame in parse_frames_untrusted(packet.payload)
        )
        if packet.channel not in swallowed:
            way.on_ack(now + 0.01, ack(packet.channel, (packet.number, packet.number)))
    return used


def test_a_channel_that_swallows_everything_hands_its_load_to_the_others():
    way, buffer = start(2_000_000, channels=3)
    now = 0.0
    assert through(way, now, swallowed=(2,))[2] > 0
    for _ in range(2_000):
        now += 0.01
        way.handle_timeout(now)
        through(way, now, swallowed=(2,))
        if buffer.acked_bytes == 2_000_000:
            break
    assert buffer.acked_bytes == 2_000_000
    assert now < 10.0
    assert way.lanes[1].is_stalled


def test_a_channel_that_answers_again_is_used_again():
    way, _buffer = start(20_000_000, channels=2, memory_bytes=300_000)
    now, used = 0.0, {}
    while not way.lanes[1].is_stalled:
        now += 0.01
        way.handle_timeout(now)
        through(way, now, swallowed=(2,))
        assert now < 10.0
    for _ in range(500):
        now += 0.01
        way.handle_timeout(now)
        used = through(way, now)
        if used[2]:
            break
    assert used[2] > 0


def test_where_nothing_is_answered_at_all_no_channel_is_blamed():
    way, _buffer = start(2_000_000, channels=3)
    now = 0.0
    for _ in range(2_000):
        now += 0.01
        way.handle_timeout(now)
        through(way, now, swallowed=(1, 2, 3))
    assert not any(lane.is_stalled for lane in way.lanes)


def handed(packets):
    """Bytes on each channel, as a shell counts them that sends nothing yet."""
    sizes = {1: 0, 2: 0}
    for packet in packets:
        sizes[packet.channel] += len(packet.header) + len(packet.payload) + SEAL_BYTES
    return sizes


def report(way, now, channel, size_bytes):
    way.channels[channel - 1].buffered_bytes = size_bytes
    way.buffered(now, channel)


def test_a_channel_at_its_high_mark_is_paused_until_it_has_drained_to_the_low_mark():
    way, _ = start(2_000_000, buffer_high=50_000, buffer_low=20_000)
    for channel in (1, 2):
        report(way, 0.0, channel, 0)
    sizes = handed(way.packets(0.0, BUDGET))
    assert all(50_000 <= size < 70_000 for size in sizes.values()), "one message beyond the mark, at most"
    assert [record.state for record in way.channels] == [ChannelState.PAUSED] * 2
    assert way.packets(0.0, BUDGET) == []
    report(way, 0.1, 1, 20_001)
    assert way.packets(0.1, BUDGET) == []
    report(way, 0.2, 2, 20_000)
    assert {packet.channel for packet in way.packets(0.2, BUDGET)} == {2}, "each is paused alone"


def test_a_paused_channel_that_closes_hands_its_load_to_the_others():
    way, _ = start(400_000, buffer_high=30_000, buffer_low=10_000)
    for channel in (1, 2):
        report(way, 0.0, channel, 0)
    gone = [frame.offset for channel, _, frame in sent(way.packets(0.0, BUDGET)) if channel == 1]
    way.channels[0].become(ChannelState.CLOSED)
    way.abandon(1)
    report(way, 0.1, 2, 0)
    again = sent(way.packets(0.1, BUDGET))
    assert {channel for channel, _, _ in again} == {2}
    assert again[0][2].offset == gone[0]


def test_a_shell_that_reports_nothing_pauses_nothing():
    way, _ = start(400_000, buffer_high=30_000, buffer_low=10_000)
    assert sum(len(frame.data) for _, _, frame in sent(way.packets(0.0, BUDGET))) > 100_000


def test_what_stopped_it_is_told_with_the_time_that_it_took() -> None:
    buffer = SendBuffer(40_000, 1 << 20)
    manager = ParallelChannelManager(buffer, channels=1, now=0.0, options=SendOptions())
    manager.lanes[0].channel.become(ChannelState.OPEN)
    manager.packets(0.0, 1 << 18)  # nothing was read
    request = buffer.next_read(40_000, 1 << 19)
    assert request is not None
    buffer.chunk_read(request.offset, bytes(40_000))
    assert manager.packets(1.0, 1 << 18) == []  # nor did the receiver grant anything
    manager.credit.granted(1 << 20)
    assert manager.packets(3.0, 1 << 18)  # all of it goes
    assert manager.stops.take(3.5) == {Stop.DATA: 1.0, Stop.CREDIT: 2.0, Stop.ALL_SENT: 0.5}
    manager.settle()
    manager.packets(4.0, 1 << 18)
    assert manager.stops.take(5.0) == {Stop.ALL_SENT: 0.5, Stop.ALL_ACKNOWLEDGED: 1.0}
