"""What a receiver answers: on which channel, when, and with how much credit."""

from tallow_cli.transfer.answers import Answers
from tallow_cli.transfer.control import ControlLink
from tallow_cli.transfer.driving import ChannelState
from tallow_cli.transfer.frames import Ack, Credit, parse_frames_untrusted

MIB = 1024 * 1024


def start(channels=2):
    answers = Answers(channels=channels, sealed=False, window_bytes=MIB)
    control = ControlLink(sealed=False, max_message_bytes=65_536, assembly_limit_bytes=65_536)
    for channel in (*answers.channels, control.channel):
        channel.become(ChannelState.OPEN)
    return answers, control


def frames(packet):
    return list(parse_frames_untrusted(packet.payload))


def test_nothing_is_said_of_nothing():
    answers, control = start()
    assert answers.packet(1.0, control.channel) is None
    assert list(answers.deadlines()) == []


def test_one_packet_acknowledges_every_channel_and_goes_over_the_one_that_is_due():
    answers, control = start()
    answers.arrived(0.0, 1, 0, 100, at_once=False)
    answers.arrived(0.0, 2, 0, 100, at_once=True)
    packet = answers.packet(0.0, control.channel)
    assert packet.channel == 2
    acks = [frame for frame in frames(packet) if isinstance(frame, Ack)]
    assert {ack.channel for ack in acks} == {1, 2}
    assert [frame.limit for frame in frames(packet) if isinstance(frame, Credit)] == [MIB]
    assert answers.packet(0.0, control.channel) is None


def test_a_closed_channel_is_answered_over_another_and_in_the_end_over_control():
    answers, control = start()
    answers.channels[0].become(ChannelState.CLOSED)
    answers.arrived(0.0, 1, 0, 100, at_once=True)
    assert answers.packet(0.0, control.channel).channel == 2
    answers.channels[1].become(ChannelState.CLOSED)
    answers.arrived(0.0, 2, 0, 100, at_once=True)
    assert answers.packet(0.0, control.channel).channel == 0


def test_what_is_out_of_the_way_is_granted_once_it_is_a_quarter_of_the_window():
    answers, control = start()
    answers.window.advertise(0.0, reliably=True)
    answers.grant(0.0, MIB // 8, control)
    assert control.packets(1000) == []
    answers.grant(0.0, MIB // 8, control)
    [packet] = control.packets(1000)
    assert [frame.limit for frame in frames(packet)] == [MIB + MIB // 4]


def test_gaps_are_counted_over_all_channels():
    answers, _ = start()
    answers.arrived(0.0, 1, 2, 100, at_once=False)
    answers.arrived(0.0, 2, 1, 100, at_once=False)
    assert answers.missing_packets == 3
    answers.floor(1, 3, 2)
    assert answers.missing_packets == 1
