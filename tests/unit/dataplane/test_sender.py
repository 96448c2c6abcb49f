from typing import Any

import pytest

from tallow_cli.dataplane.batches import BatchBuilder
from tallow_cli.dataplane.outbound import OutboundMessage
from tallow_cli.dataplane.packets import FLAG_IMMEDIATE, PacketWriter, Sack, chunks_untrusted
from tallow_cli.dataplane.rack import RTO_INITIAL_S, RTO_MAX_S, RTO_MIN_S
from tallow_cli.dataplane.sender import Sender

FIRST = 2**32 - 2
RTT_S = 0.1
FRAGMENT = 1_160


class Sending:
    """A sender, and a peer that answers what the test says after one round trip."""

    def __init__(self, *, rwnd: int = 1_000_000, congestion: str = "newreno", **options: Any) -> None:
        self.sender = Sender(
            writer=PacketWriter(1, 2, 3, zero_checksum=True),
            initial_tsn=FIRST,
            peer_rwnd_bytes=rwnd,
            packet_bytes=1_191,
            congestion=congestion,
            initial_rtt_s=options.get("initial_rtt_s"),
            max_quantum_bytes=65_000,
            max_saved_bytes=128 * 1024,
            peer_ack_delay_s=options.get("peer_ack_delay_s", 0.004),
            peer_joins_parts=options.get("peer_joins_parts", False),
            uniform=None,
        )
        self.rwnd = rwnd
        self.now = 0.0

    def queue(self, packets: int = 1, **options: Any) -> None:
        arguments = {"ordered": False, "max_retransmits": None, "expires_at": None, **options}
        self.sender.queue.push(OutboundMessage(1, 53, bytes(packets * FRAGMENT), **arguments))

    def poll(self) -> list[int]:
        """Send what may leave; the offsets from the first TSN."""
        return [(int.from_bytes(packet[16:20]) - FIRST) % 2**32 for packet in self.packets()]

    def poll_all(self) -> list[int]:
        """The same, again and again until everything has left once: after silence the pacer gives two packets."""
        sent = self.poll()
        while self.sender.queue:
            self.now += 0.01
            sent += self.poll()
        return sent

    def packets(self) -> list[bytes]:
        builder = BatchBuilder(64, 65_000, 37)
        self.sender.poll_data(self.now, builder)
        return [packet for batch in builder.batches for packet in batch]

    def sack(self, cumulative: int, *gaps: int, rwnd: int | None = None) -> None:
        sack = Sack((FIRST + cumulative - 1) % 2**32, self.rwnd if rwnd is None else rwnd, gaps, ())
        self.sender.on_sacks(self.now, [sack])

    def next_timeout(self) -> float:
        return min(at for at in self.sender.timers(self.now) if at is not None)

    def fire(self) -> None:
        """Wait for the next timer and let it happen."""
        self.now = max(self.now + 0.001, self.next_timeout())
        self.sender.handle_timeout(self.now)

    def warm_up(self) -> None:
        """One packet there and back, so that the round trip is known."""
        self.queue()
        assert self.poll() == [0]
        self.now += RTT_S
        self.sack(1)


def test_before_the_first_round_trip_only_t3_watches() -> None:
    s = Sending()
    s.queue()
    s.poll()
    assert s.next_timeout() == RTO_INITIAL_S


def test_t3_gives_everything_up_for_lost_sends_one_packet_and_doubles() -> None:
    s = Sending()
    s.warm_up()
    s.queue(5, max_retransmits=5)
    s.now += 1.0
    last = s.now  # T3 runs from the first of them
    assert len(s.poll_all()) == 5
    waits = []
    for _ in range(6):
        while s.sender.timeouts == len(waits):
            s.fire()
        waits.append(s.now - last)
        last = s.now
        assert len(s.poll()) >= 1
    assert waits[0] >= RTO_MIN_S
    assert waits == pytest.approx(sorted(waits))
    assert waits[-1] <= RTO_MAX_S + 0.01
    assert s.sender.is_black_holed
    s.sack(6)
    assert not s.sender.is_black_holed


def test_a_tail_loss_probe_sends_the_last_packet_again_within_a_few_round_trips() -> None:
    s = Sending()
    s.warm_up()
    s.queue(3)
    assert s.poll_all() == [1, 2, 3]
    sent_at = s.now
    s.fire()
    assert s.now - sent_at < 3 * RTT_S
    assert s.poll() == [3]
    assert s.sender.timeouts == 0
    s.now += RTT_S + 0.001
    s.sack(1, 3, 3)  # the probe's answer shows what is missing
    assert s.poll() == [1, 2]


def test_a_tail_loss_probe_prefers_new_data() -> None:
    s = Sending(rwnd=1_188 * 4)
    s.warm_up()
    s.queue(3)
    assert s.poll_all() == [1, 2, 3]
    s.queue(1)
    s.sender._peer_rwnd_bytes = 1_000_000
    s.sender.controller._cwnd = 1_188.0  # no room but for the probe
    s.fire()
    assert s.poll() == [4]


def test_what_may_not_be_resent_waits_for_t3_and_is_given_up_there() -> None:
    s = Sending()
    s.warm_up()
    s.queue(2, max_retransmits=0)
    s.poll()
    while not s.sender.timeouts:
        s.fire()
        assert s.poll() == []
    assert [message.size for message in s.sender.given_up] == [2 * FRAGMENT]
    assert s.sender.poll_forward_tsn(s.now) is not None
    assert s.sender.poll_forward_tsn(s.now) is None, "not twice at once"


def test_a_message_that_expires_while_it_is_sent_is_cut_off() -> None:
    s = Sending()
    s.warm_up()
    s.queue(100, expires_at=s.now + 0.05)
    sent = len(s.poll())
    assert 0 < sent < 100
    s.now += RTT_S
    s.sack(1 + sent)
    assert s.poll() == []
    assert not s.sender.queue
    assert s.sender.window.next_tsn == FIRST + 1 + sent + 1, "one TSN stands for the rest"


def test_the_peers_window_is_respected_with_an_eighth_to_spare() -> None:
    s = Sending(rwnd=8 * 1_188)
    s.queue(100)
    sent = 0
    for _ in range(200):
        sent += len(s.poll())
        s.now += 0.001
    assert sent == 7


def test_a_closed_window_is_probed_with_one_packet_and_not_called_congestion() -> None:
    s = Sending(rwnd=0)
    s.queue(100)
    cwnd = s.sender.controller.cwnd_bytes
    sent = []
    while s.now < 30.0:
        sent.append(len(s.poll()))
        s.fire()
    assert set(sent) <= {0, 1}
    assert 10 < sum(sent) < 40
    assert s.sender.controller.cwnd_bytes == cwnd
    s.sack(0, rwnd=1_000_000)
    s.now += 3.0
    s.sender.handle_timeout(s.now)
    assert sum(len(s.poll()) for _ in range(3)) >= 1


def test_the_last_packet_before_silence_asks_for_a_sack_at_once() -> None:
    s = Sending()
    s.queue(3)
    packets = s.packets()
    flags = [chunks_untrusted(packet)[0].flags & FLAG_IMMEDIATE for packet in packets]
    assert [bool(flag) for flag in flags] == [False, False, True]


def test_silence_marks_the_rate_as_the_applications() -> None:
    s = Sending()
    s.warm_up()
    s.queue(1)
    s.poll()
    assert s.sender._estimator.is_app_limited


def test_acks_of_retransmissions_alone_give_no_rate_and_no_round_trip() -> None:
    s = Sending(congestion="bbr")
    s.queue(2)
    s.poll()
    while not s.sender.timeouts:
        s.fire()
    s.poll()
    s.now += 0.05
    s.sack(2)
    assert s.sender.rtt.srtt_s == 0.0
    assert s.sender.controller.pacing_rate > 0


def test_larger_packets_apply_to_what_is_sent_next() -> None:
    s = Sending()
    s.queue(20)
    first = s.packets()
    s.sender.set_packet_bytes(1_435)
    s.now += RTT_S
    s.sack(len(first))
    assert {len(packet) for packet in first} == {1_188}
    assert max(len(packet) for packet in s.packets()) == 1_432
    assert s.sender.fragment_bytes == 1_404
