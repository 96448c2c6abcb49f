"""The control channel's packets and the signs of life."""

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.control import ControlLink, Liveness
from tallow_cli.transfer.driving import ChannelState
from tallow_cli.transfer.frames import Control, parse_frames_untrusted, parse_header_untrusted
from tallow_cli.transfer.messages import Bye, Cancel, ControlAssembler, Offer


@pytest.fixture
def link():
    link = ControlLink(sealed=False, max_message_bytes=262_144, assembly_limit_bytes=1 << 20)
    link.channel.become(ChannelState.OPEN)
    return link


def messages(packets):
    assembler = ControlAssembler()
    found = []
    for packet in packets:
        for frame in parse_frames_untrusted(packet.payload):
            if isinstance(frame, Control) and (message := assembler.feed(frame.data, more=frame.more)):
                found.append(message)
    return found


def test_nothing_goes_out_before_the_channel_opens():
    link = ControlLink(sealed=False, max_message_bytes=262_144, assembly_limit_bytes=1 << 20)
    link.send(Bye())
    assert link.packets(1 << 20) == []
    link.channel.become(ChannelState.PAUSED)
    assert link.packets(1 << 20) == []
    link.channel.become(ChannelState.OPEN)
    assert messages(link.packets(1 << 20)) == [Bye()]


def test_a_large_offer_goes_out_in_portions_with_rising_numbers(link):
    offer = Offer(1, bytes(3_000_000))
    link.send(offer)
    packets = []
    while portion := link.packets(1 << 20):
        assert sum(len(packet.payload) for packet in portion) <= (1 << 20) + 20_000
        packets += portion
    assert [packet.number for packet in packets] == list(range(len(packets)))
    assert messages(packets) == [offer]


def test_a_farewell_follows_the_message_already_begun_and_nothing_else(link):
    offer = Offer(1, bytes(100_000))
    link.send(offer)
    link.send(Bye())
    packets = link.packets(20_000)
    link.discard()
    link.send(Cancel())
    packets += link.packets(1 << 20)
    assert messages(packets) == [offer, Cancel()]


def test_other_frames_overtake_messages_that_wait(link):
    link.send(Bye())
    link.send_frames(b"\x01")
    assert [packet.payload[:1] for packet in link.packets(1 << 20)] == [b"\x01", b"\x06"]


def test_a_small_message_limit_of_the_peer_is_kept():
    link = ControlLink(sealed=True, max_message_bytes=1200, assembly_limit_bytes=1 << 20)
    link.channel.become(ChannelState.OPEN)
    link.send(Offer(1, bytes(10_000)))
    packets = link.packets(1 << 20)
    assert max(len(packet.header) + len(packet.payload) + 16 for packet in packets) <= 1200
    assert parse_header_untrusted(packets[0].header + b"x").sealed


def test_numbers_that_do_not_rise_are_a_protocol_error(link):
    link.check_number(0)
    link.check_number(5)
    with pytest.raises(PeerProtocolError):
        link.check_number(5)


def test_silence_brings_a_ping_and_in_the_end_the_verdict():
    life = Liveness(0.0, 40.0)
    assert life.deadline(may_speak=True) == 5.0
    assert life.deadline(may_speak=False) == 40.0
    assert life.keepalive(4.9) is None
    assert life.keepalive(5.0) == b"\x01"
    assert life.keepalive(5.1) is None
    life.spoke(39.0)
    assert not life.vanished(39.9)
    assert life.vanished(40.0)
    life.heard(40.0)
    assert not life.vanished(79.9)


def test_a_short_idle_timeout_is_kept_alive_by_quicker_pings():
    assert Liveness(0.0, 4.0).deadline(may_speak=True) == 1.0
