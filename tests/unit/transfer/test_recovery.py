"""Round-trip times and loss detection in RFC 9002's terms."""

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.frames import Ack
from tallow_cli.transfer.messagesize import NETWORK_PACKET_BYTES
from tallow_cli.transfer.recovery import (
    MAX_ACK_DELAY_S,
    MAX_PTO_S,
    RETRANSMISSION_RTTS,
    ChannelRecovery,
    LossEstimator,
    RttEstimator,
)


def ack(*ranges, delay_us=0):
    return Ack(1, delay_us, tuple(ranges))


def send(recovery, count, *, at=0.0, size=1000):
    return [recovery.handed(at, recovery.channel.packet(b"\x01").number, size, None) for _ in range(count)]


def numbers(packets):
    return [packet.number for packet in packets]


@pytest.fixture
def recovery():
    return ChannelRecovery(Channel(1, sealed=True))


@pytest.fixture
def rtt():
    estimator = RttEstimator()
    estimator.update(0.1, 0.0)
    return estimator


def test_an_ack_of_a_packet_never_sent_is_a_protocol_error(recovery):
    send(recovery, 3)
    with pytest.raises(PeerProtocolError):
        recovery.on_ack(0.1, ack((0, 3)))


def test_an_ack_says_which_packets_are_news(recovery):
    send(recovery, 6)
    assert numbers(recovery.on_ack(0.1, ack((4, 5), (0, 1))).acked) == [0, 1, 4, 5]
    assert numbers(recovery.on_ack(0.1, ack((0, 5))).acked) == [2, 3]
    assert recovery.on_ack(0.1, ack((0, 5))).acked == []


def test_three_later_packets_make_one_lost(recovery, rtt):
    send(recovery, 5, at=1.0)
    recovery.on_ack(1.0, ack((2, 2)))
    assert recovery.detect_lost(1.0, rtt) == []
    recovery.on_ack(1.0, ack((2, 3)))
    assert numbers(recovery.detect_lost(1.0, rtt)) == [0]


def test_nine_eighths_of_a_round_trip_make_an_older_packet_lost(recovery, rtt):
    send(recovery, 2, at=1.0)
    recovery.on_ack(1.1, ack((1, 1)))
    assert recovery.detect_lost(1.1, rtt) == []
    deadline = recovery.deadline(rtt)
    assert deadline == pytest.approx(1.1125)
    assert numbers(recovery.detect_lost(deadline, rtt)) == [0]
    assert recovery.deadline(rtt) is None


def test_where_the_channel_sends_again_by_itself_only_age_makes_a_packet_lost(rtt):
    recovery = ChannelRecovery(Channel(1, sealed=True), retransmissions=2)
    send(recovery, 9, at=1.0)
    recovery.on_ack(1.1, ack((1, 8)))
    assert recovery.detect_lost(1.1, rtt) == []
    deadline = recovery.deadline(rtt)
    assert deadline == pytest.approx(1.0 + (9 / 8 + 2 * RETRANSMISSION_RTTS) * 0.1)
    assert recovery.detect_lost(deadline - 0.001, rtt) == []
    assert numbers(recovery.detect_lost(deadline, rtt)) == [0]


def test_a_packet_newer_than_every_ack_is_never_lost_but_probed(recovery, rtt):
    send(recovery, 1, at=1.0)
    assert recovery.detect_lost(100.0, rtt) == []
    assert recovery.deadline(rtt) == pytest.approx(1.0 + rtt.pto_s)
    assert not recovery.probe_due(1.0 + rtt.pto_s - 0.001, rtt)
    assert recovery.probe_due(1.0 + rtt.pto_s, rtt)


def test_probes_back_off_to_a_bound_and_start_anew_with_an_ack(recovery, rtt):
    send(recovery, 2, at=0.0)
    now, waits = 0.0, []
    for _ in range(8):
        deadline = recovery.deadline(rtt)
        waits.append(deadline - now)
        now = deadline
        assert recovery.probe_due(now, rtt)
    assert waits[1] == pytest.approx(2 * waits[0])
    assert waits[-1] == pytest.approx(MAX_PTO_S)
    recovery.on_ack(now, ack((0, 0)))
    assert recovery.deadline(rtt) == pytest.approx(now + rtt.pto_s)


def test_a_lost_packet_that_arrives_late_is_recognised(recovery, rtt):
    send(recovery, 5, at=1.0)
    recovery.on_ack(1.1, ack((4, 4)))
    assert numbers(recovery.detect_lost(1.1, rtt)) == [0, 1]
    outcome = recovery.on_ack(1.2, ack((0, 4)))
    assert numbers(outcome.late) == [0, 1]
    assert numbers(outcome.acked) == [2, 3]


def test_the_floor_waits_for_late_acks_and_then_moves_on(recovery, rtt):
    send(recovery, 5, at=1.0)
    recovery.on_ack(1.1, ack((1, 4)))
    recovery.detect_lost(1.2, rtt)
    assert recovery.floor == 0
    recovery.detect_lost(10.0, rtt)
    assert recovery.floor == 5


def test_a_message_still_in_the_local_stack_is_neither_old_nor_probed(recovery, rtt):
    recovery.buffered(0.0, 0)
    send(recovery, 3, at=1.0)
    recovery.buffered(1.0, 2000)
    recovery.on_ack(1.1, ack((0, 0)))
    assert recovery.deadline(rtt) == pytest.approx(1.025), "the shell is asked again"
    assert not recovery.probe_due(1.025, rtt)
    assert recovery.deadline(rtt) == pytest.approx(1.05), "but not without end at once"
    recovery.buffered(5.0, 0)
    assert recovery.deadline(rtt) == pytest.approx(5.0 + rtt.pto_s)


def test_a_round_trip_is_counted_from_the_departure(recovery):
    recovery.buffered(0.0, 0)
    send(recovery, 2, at=1.0)
    recovery.buffered(1.0, 1000)
    recovery.buffered(3.0, 1000)
    recovery.buffered(3.1, 0)
    assert recovery.on_ack(3.15, ack((0, 1))).rtt_sample_s == pytest.approx(0.15), (
        "since it was last seen queued"
    )


def test_an_ack_that_comes_before_the_report_of_departure_still_gives_a_round_trip(recovery):
    recovery.buffered(0.0, 0)
    send(recovery, 1, at=1.0)
    recovery.buffered(1.0, 1000)
    recovery.buffered(2.9, 1000)
    assert recovery.on_ack(3.0, ack((0, 0))).rtt_sample_s == pytest.approx(0.1)


def test_a_closed_channel_gives_back_everything_outstanding(recovery, rtt):
    send(recovery, 3)
    recovery.on_ack(0.1, ack((1, 1)))
    assert numbers(recovery.abandon()) == [0, 2]
    assert recovery.deadline(rtt) is None
    assert recovery.floor == 3


def test_the_first_round_trip_sets_the_estimate_and_later_ones_smooth_it():
    rtt = RttEstimator()
    assert rtt.pto_s == pytest.approx(0.333 + 4 * 0.1665 + MAX_ACK_DELAY_S)
    rtt.update(0.1, 0.0)
    assert (rtt.smoothed_s, rtt.variation_s, rtt.min_s) == (0.1, 0.05, 0.1)
    rtt.update(0.18, 0.0)
    assert rtt.smoothed_s == pytest.approx(0.11)
    assert rtt.variation_s == pytest.approx(0.0575)
    assert rtt.jitter.value_s == pytest.approx(0.08)


def test_the_ack_delay_is_taken_off_but_never_below_the_minimum():
    rtt = RttEstimator()
    rtt.update(0.1, 0.05)
    assert rtt.smoothed_s == 0.1, "the first sample is the minimum itself"
    rtt.update(0.14, 0.02)
    assert rtt.latest_s == pytest.approx(0.12)
    rtt.update(0.14, 10.0)
    assert rtt.latest_s == pytest.approx(0.14), "a lie about the delay changes nothing"


def test_the_packet_loss_follows_from_the_message_loss():
    loss = LossEstimator()
    for n in range(2000):
        loss.record(20 * NETWORK_PACKET_BYTES, lost=n % 5 == 0)
    assert loss.message_loss == pytest.approx(0.2, abs=0.05)
    assert loss.packet_loss == pytest.approx(1 - 0.8 ** (1 / 20), rel=0.3)


def test_a_loss_that_was_none_is_taken_back():
    loss = LossEstimator()
    loss.record(1000, lost=True)
    assert loss.message_loss > 0
    loss.undo_loss()
    assert loss.message_loss == 0
    loss.undo_loss()
    assert loss.packet_loss == 0


def test_total_loss_is_an_estimate_and_no_error():
    loss = LossEstimator()
    for _ in range(1000):
        loss.record(100_000, lost=True)
    assert 0 < loss.packet_loss < 1
