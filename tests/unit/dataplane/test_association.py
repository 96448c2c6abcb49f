import random
import struct
from typing import Any

import pytest

from tallow_cli.dataplane.association import Association
from tallow_cli.dataplane.association_words import BytesDrained, MessageAbandoned
from tallow_cli.dataplane.packets import FORWARD_TSN, SACK, chunks_untrusted
from tallow_cli.dataplane.reassembly import MessageReceived
from tests.sim.associations import make_configs


def pair(**options: Any) -> tuple[Association, Association]:
    left, right = make_configs(random.Random(1), **options)
    return Association(left), Association(right)


def packets_of(association: Association, now: float) -> list[bytes]:
    return [packet for batch in association.packets(now) for packet in batch]


def exchange(left: Association, right: Association, now: float, turns: int = 20) -> float:
    """Both talk over a perfect path of 10 ms each way."""
    for _ in range(turns):
        for one, other in ((left, right), (right, left)):
            now += 0.01
            one.handle_timeout(now)
            sent = packets_of(one, now)
            other.receive_packets(now + 0.005, sent)
    return now


def test_a_message_goes_over_and_both_applications_are_told() -> None:
    left, right = pair()
    left.send_message(3, 51, b"hello" * 1_000)
    assert left.buffered_bytes(3) == 5_000
    exchange(left, right, 0.0)
    assert right.events() == [MessageReceived(3, 51, b"hello" * 1_000)]
    assert left.events() == [BytesDrained(3, 5_000)]
    assert left.is_flushed
    assert left.next_timeout() is None
    assert right.next_timeout() is None


def test_an_empty_message_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="empty"):
        pair()[0].send_message(1, 56, b"")


def test_the_first_flight_is_ten_packets() -> None:
    left, _ = pair(congestion="newreno")
    left.send_message(1, 53, bytes(100_000))
    now, sent = 0.0, 0
    while now < 0.2:
        sent += len(packets_of(left, now))
        now += 0.001
    assert sent == 10


def test_a_sack_comes_before_data_and_alone() -> None:
    left, right = pair()
    right.send_message(1, 53, bytes(5_000))
    left.send_message(1, 53, bytes(30_000))
    right.receive_packets(0.0, packets_of(left, 0.0))
    first, *rest = right.packets(0.01)
    assert [chunk.type for chunk in chunks_untrusted(first[0])] == [SACK]
    assert rest


def test_without_partial_reliability_nothing_is_ever_abandoned() -> None:
    left, _right = pair(partial_reliability=False)
    left.send_message(1, 53, b"x", max_retransmits=0, expires_at=0.0)
    packets_of(left, 0.0)
    for second in range(1, 30):
        left.handle_timeout(float(second))
        packets_of(left, float(second))
    assert [type(event) for event in left.events()] == [BytesDrained]
    assert left.stats.resent_packets > 5


def test_a_forward_tsn_is_repeated_until_it_is_acknowledged_and_ever_more_slowly() -> None:
    left, right = pair()
    left.send_message(1, 53, bytes(3_000), ordered=False, max_retransmits=0)
    packets_of(left, 0.0)
    now, seen = 0.0, 0
    while now < 20.0:
        now = max(now + 0.01, left.next_timeout() or now)
        left.handle_timeout(now)
        for packet in packets_of(left, now):
            assert [chunk.type for chunk in chunks_untrusted(packet)] == [FORWARD_TSN]
            seen += 1
            last = packet
    assert 5 < seen < 30
    assert MessageAbandoned(1, 3_000) in left.events()
    right.receive_packets(now, [last])
    left.receive_packets(now, packets_of(right, now))
    assert left.cumulative_tsn_acked == (left.next_tsn - 1) % 2**32
    assert left.next_timeout() is None


def test_what_a_reset_needs_to_know_is_there() -> None:
    left, right = pair(first_tsns=(2**32 - 1, 7))
    assert left.next_tsn == 2**32 - 1
    assert right.cumulative_tsn_received == 2**32 - 2
    left.send_message(1, 53, b"a")
    now = exchange(left, right, 0.0)
    assert (left.next_tsn, left.cumulative_tsn_acked, right.cumulative_tsn_received) == (
        0,
        2**32 - 1,
        2**32 - 1,
    )
    left.reset_outgoing_stream(1)
    right.reset_incoming_stream(1)
    left.send_message(1, 53, b"b")
    left.send_message(2, 53, b"c")
    left.drop_queued(2)
    exchange(left, right, now)
    assert [event.data for event in right.events() if isinstance(event, MessageReceived)] == [b"a", b"b"]


@pytest.mark.parametrize("retransmits", [None, 0, 2])
@pytest.mark.parametrize("window", [16 * 1024 * 1024, 4_000], ids=["cwnd full", "peer's window full"])
def test_the_last_words_leave_at_once_though_every_window_is_full(
    retransmits: int | None, window: int
) -> None:
    left, right = pair(remote_rwnd_bytes=window)
    for _ in range(100):
        left.send_message(1, 53, bytes(50_000), ordered=False, max_retransmits=retransmits)
    while packets_of(left, 0.0):  # nobody answers: the peer is stopped
        pass
    left.send_message(0, 53, b"cancel")
    assert not packets_of(left, 0.0)
    left.keep_only_stream(0)
    (packet,) = [packet for packet in packets_of(left, 0.0) if b"cancel" in packet]
    assert not left.is_flushed
    right.receive_packets(5.0, [packet])  # it runs again, and finds this behind the rest
    assert right.events() == [MessageReceived(0, 53, b"cancel")]
    left.receive_packets(5.0, packets_of(right, 5.1))
    assert left.is_flushed
    assert left.buffered_bytes(1) == 0


def test_the_last_words_are_repeated_until_they_are_heard() -> None:
    left, right = pair()
    for _ in range(100):
        left.send_message(1, 53, bytes(50_000), ordered=False)
    while packets_of(left, 0.0):
        pass
    left.send_message(0, 53, b"cancel")
    left.keep_only_stream(0)
    packets_of(left, 0.0)  # lost
    now = 0.0
    while not right.events():
        now = left.next_timeout()
        assert now is not None
        assert now < 2.0
        left.handle_timeout(now)
        right.receive_packets(now, packets_of(left, now))
    left.receive_packets(now, packets_of(right, now + 0.1))
    assert left.is_flushed


def test_a_heartbeat_ack_of_the_shell_reaches_the_shell() -> None:
    left, right = pair()
    writer = right._writer
    ack = writer.control(b"\5\0\0\x0c\0\1\0\x08mine")
    assert [chunk.type for chunk in left.receive_packets(0.0, [ack])] == [5]


def test_a_malformed_sack_is_dropped() -> None:
    left, right = pair()
    left.send_message(1, 53, b"x")
    packets_of(left, 0.0)
    left.receive_packets(0.0, [right._writer.control(b"\3\0\0\x08\0\0\0\0")])
    assert left.stats.dropped_packets == 1
    assert not left.is_flushed


def test_a_stock_peer_is_acknowledged_every_second_packet() -> None:
    left, right = pair(ack_every_packets=2, congestion="newreno")
    left.send_message(1, 53, bytes(100_000))
    sent = packets_of(left, 0.0)
    right.receive_packets(0.0, sent[:1])
    assert packets_of(right, 0.0) == []
    right.receive_packets(0.0, sent[1:2])
    assert len(packets_of(right, 0.0)) == 1


def test_peers_that_skip_our_turn_cannot_make_timers_spin() -> None:
    left, _ = pair()
    left.send_message(1, 53, bytes(1_000_000))
    now, turns = 0.0, 0
    while now < 30.0:
        left.handle_timeout(now)
        packets_of(left, now)
        at = left.next_timeout()
        assert at is not None
        now = max(at, now + 1e-9)
        turns += 1
    assert turns < 500


def test_a_peer_that_never_moves_its_cumulative_ack_cannot_make_us_keep_everything() -> None:
    left, right = pair(max_retained_bytes=100_000)
    for _ in range(500):
        left.send_message(1, 53, bytes(3_000), ordered=False)
    now, first_tsn = 0.0, struct.pack("!L", left.next_tsn)
    for _ in range(200):
        now += 0.02
        left.handle_timeout(now)
        packets = packets_of(left, now)
        right.receive_packets(now + 0.01, [p for p in packets if p[16:20] != first_tsn])
        right.events()
        left.receive_packets(now + 0.02, packets_of(right, now + 0.015))
    assert 1_500_000 - left.total_buffered_bytes <= 100_000 + 3_000


def test_one_message_larger_than_all_we_would_keep_still_goes_over() -> None:
    left, right = pair(max_retained_bytes=100_000)
    left.send_message(1, 53, bytes(400_000))
    exchange(left, right, 0.0, turns=200)
    assert left.is_flushed
