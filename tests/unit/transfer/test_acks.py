"""When the receiver acknowledges, and what."""

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.acks import ACK_EVERY_PACKETS, EARLY_PACKETS, AckTracker
from tallow_cli.transfer.frames import MAX_ACK_RANGES, Ack, parse_frames_untrusted
from tallow_cli.transfer.recovery import MAX_ACK_DELAY_S


def acknowledged(tracker, now=0.0):
    (ack,) = parse_frames_untrusted(tracker.acknowledge(now, 1))
    assert isinstance(ack, Ack)
    return ack


@pytest.fixture
def tracker():
    """A channel that is past its early packets, with nothing pending."""
    tracker = AckTracker()
    for number in range(EARLY_PACKETS):
        tracker.arrived(0.0, number, 100, at_once=False)
    tracker.acknowledge(0.0, 1)
    return tracker


def test_a_lone_packet_is_acknowledged_within_the_promised_delay(tracker):
    tracker.arrived(1.0, EARLY_PACKETS, 100, at_once=False)
    assert tracker.due_at == 1.0 + MAX_ACK_DELAY_S
    assert acknowledged(tracker, 1.02).delay_us == pytest.approx(20_000, abs=1)
    assert tracker.due_at is None


def test_one_ack_answers_many_packets(tracker):
    for n in range(ACK_EVERY_PACKETS - 1):
        tracker.arrived(1.0, EARLY_PACKETS + n, 100, at_once=False)
    assert tracker.due_at == 1.0 + MAX_ACK_DELAY_S
    tracker.arrived(1.0, EARLY_PACKETS + ACK_EVERY_PACKETS - 1, 100, at_once=False)
    assert tracker.due_at == 1.0


def test_large_messages_are_acknowledged_by_their_bytes(tracker):
    tracker.arrived(1.0, EARLY_PACKETS, 600_000, at_once=False)
    tracker.arrived(1.0, EARLY_PACKETS + 1, 600_000, at_once=False)
    assert tracker.due_at == 1.0


def test_the_first_packets_of_a_channel_are_acknowledged_by_twos():
    tracker = AckTracker()
    tracker.arrived(1.0, 0, 100, at_once=False)
    assert tracker.due_at == 1.0 + MAX_ACK_DELAY_S
    tracker.arrived(1.0, 1, 100, at_once=False)
    assert tracker.due_at == 1.0


def test_a_gap_and_its_filling_are_told_at_once(tracker):
    tracker.arrived(1.0, EARLY_PACKETS + 1, 100, at_once=False)
    assert tracker.due_at == 1.0
    assert acknowledged(tracker).ranges == ((EARLY_PACKETS + 1, EARLY_PACKETS + 1), (0, EARLY_PACKETS - 1))
    assert tracker.missing_packets == 1
    tracker.arrived(2.0, EARLY_PACKETS, 100, at_once=False)
    assert tracker.due_at == 2.0
    assert acknowledged(tracker).ranges == ((0, EARLY_PACKETS + 1),)


def test_nothing_below_the_floor_is_named(tracker):
    tracker.floor(EARLY_PACKETS, 10)
    tracker.arrived(1.0, EARLY_PACKETS, 100, at_once=True)
    assert acknowledged(tracker).ranges == ((10, EARLY_PACKETS),)
    tracker.floor(EARLY_PACKETS + 1, 5)
    assert acknowledged(tracker).ranges == ((10, EARLY_PACKETS),), "a floor does not sink"


def test_a_packet_below_the_floor_is_taken_but_not_named():
    tracker = AckTracker()
    tracker.floor(7, 7)
    tracker.arrived(1.0, 3, 100, at_once=False)
    assert tracker.acknowledge(1.0, 1) == b""


def test_a_floor_above_its_own_packet_is_a_protocol_error():
    with pytest.raises(PeerProtocolError):
        AckTracker().floor(3, 4)


def test_a_flood_of_gaps_costs_bounded_memory():
    tracker = AckTracker()
    for number in range(0, 100_000, 2):
        tracker.arrived(0.0, number, 100, at_once=False)
    assert len(tracker._received) <= MAX_ACK_RANGES
    assert acknowledged(tracker).largest == 99_998


def test_a_packet_number_no_sender_could_have_reached_breaks_the_protocol(tracker):
    with pytest.raises(PeerProtocolError, match="far ahead"):
        tracker.arrived(1.0, 2**40, 100, at_once=False)
