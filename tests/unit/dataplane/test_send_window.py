from collections.abc import Sequence

from tallow_cli.dataplane.congestion.delivery_rate import DeliveryRateEstimator
from tallow_cli.dataplane.outbound import OutboundMessage
from tallow_cli.dataplane.packets import Sack
from tallow_cli.dataplane.rack import Rack, RttEstimator
from tallow_cli.dataplane.runs import Run
from tallow_cli.dataplane.send_window import SendWindow

FIRST = 2**32 - 3  # most tests cross the wrap
COST = 100 + 28


class Sending:
    """A window with an estimator, and short words for what tests do to it."""

    def __init__(self) -> None:
        self.estimator = DeliveryRateEstimator()
        self.window = SendWindow(FIRST, self.estimator)
        rtt = RttEstimator()
        rtt.add(0.0, 0.1)
        self.rack = Rack(rtt)
        self.now = 0.0

    def message(
        self,
        packets: int = 4,
        *,
        ordered: bool = False,
        max_retransmits: int | None = None,
        stream_id: int = 1,
        ssn: int = 0,
        expires_at: float | None = None,
    ) -> OutboundMessage:
        message = OutboundMessage(
            stream_id,
            53,
            bytes(packets * 100),
            ordered=ordered,
            max_retransmits=max_retransmits,
            expires_at=expires_at,
        )
        message.ssn = ssn
        return message

    def send(self, message: OutboundMessage, count: int | None = None) -> Run:
        run = self.window.assign(message, count or message.size // 100, 100)
        message.sent_bytes += (run.end - run.first) * 100
        run.stamp = self.estimator.on_sent(self.now, run.cost_bytes, 0)
        return run

    def resend(self, limit: int = 99) -> Run | None:
        run = self.window.take_lost(limit, self.now)
        if run is not None:
            run.stamp = self.estimator.on_sent(self.now, run.cost_bytes, 0)
        return run

    def resend_all(self) -> None:
        while self.resend():
            pass

    def sack(self, cumulative: int, gaps: Sequence[int] = (), duplicates: Sequence[int] = ()) -> bool:
        """`cumulative`: how many of our TSNs from the first are acknowledged."""
        sack = Sack((FIRST + cumulative - 1) % 2**32, 1_000_000, tuple(gaps), tuple(duplicates))
        taken = self.window.on_sack(sack)
        newest = self.window.take_newest()
        if newest is not None:
            run, end, was_hidden = newest
            self.rack.on_delivered(
                self.now, run.stamp.sent_at, end, retransmitted=run.transmissions > 1, was_hidden=was_hidden
            )
        return taken

    def detect(self) -> float | None:
        return self.window.detect_lost(self.now, self.rack)


def test_cumulative_acks_empty_the_window() -> None:
    s = Sending()
    s.send(s.message(4))
    s.send(s.message(4))
    assert s.window.inflight_bytes == 8 * COST
    assert s.sack(5)
    assert s.window.inflight_bytes == 3 * COST
    assert s.sack(8)
    assert (s.window.inflight_bytes, s.window.is_settled, s.window.retained_bytes) == (0, True, 0)


def test_gap_acks_count_once_however_often_they_are_repeated() -> None:
    s = Sending()
    s.send(s.message(10))
    s.sack(0, (2, 3, 6, 6))
    s.sack(0, (2, 3, 6, 6))
    s.sack(0, (2, 4, 6, 6))
    assert s.window.inflight_bytes == 6 * COST
    assert s.estimator.finish(1.0, 0, None).acked_bytes == 4 * COST


def test_old_sacks_and_acks_of_what_was_never_sent_are_ignored() -> None:
    s = Sending()
    s.send(s.message(10))
    assert s.sack(5)
    assert not s.sack(3)
    assert not s.sack(11)
    s.sack(5, (3, 9))  # reaches beyond what was sent
    s.sack(5, (9, 3))  # backwards
    s.sack(5, (0, 0))
    assert s.window.inflight_bytes == 5 * COST


def test_a_hole_is_lost_once_three_packets_above_it_are_reported_and_is_sent_again() -> None:
    s = Sending()
    s.send(s.message(10))
    s.now = 0.1
    s.sack(2, (2, 3))
    deadline = s.detect()
    assert not s.window.has_lost
    assert deadline is not None
    s.sack(2, (2, 4))
    s.detect()
    assert s.window.has_lost
    assert s.window.inflight_bytes == 4 * COST
    run = s.resend()
    assert run is not None
    assert (run.first, run.end, run.offset, run.transmissions) == (FIRST + 2, FIRST + 3, 200, 2)
    s.sack(10)
    assert s.window.is_settled


def test_the_rest_of_a_run_above_the_highest_ack_is_not_lost_with_its_hole() -> None:
    s = Sending()
    s.send(s.message(10))
    s.now = 0.1
    s.sack(0, (2, 5))
    s.detect()
    assert s.window.lost_packets == 1


def test_a_retransmission_lost_again_is_found_by_time() -> None:
    s = Sending()
    s.send(s.message(6))
    s.now = 0.1
    s.sack(0, (2, 6))
    s.detect()
    s.resend()
    s.now = 0.11
    s.send(s.message(4))
    s.now = 0.22
    s.sack(0, (2, 10))
    s.detect()
    assert s.window.lost_packets == 2
    assert s.resend() is not None


def test_reordering_is_noticed_when_a_hole_fills_by_itself() -> None:
    s = Sending()
    s.send(s.message(6))
    s.sack(0, (2, 3))
    assert not s.window.saw_reordering
    s.sack(3)
    assert s.window.saw_reordering


def test_lost_data_acknowledged_late_is_not_sent_again() -> None:
    s = Sending()
    s.send(s.message(6))
    s.now = 0.1
    s.sack(0, (2, 6))
    s.detect()
    s.estimator.finish(s.now, 0, None)
    s.sack(6)
    assert not s.window.has_lost
    assert s.window.inflight_bytes == 0
    assert s.estimator.finish(s.now, 0, None).spurious_bytes == COST


def test_long_gap_lists_may_be_cut_so_nothing_above_them_is_lost() -> None:
    s = Sending()
    s.send(s.message(40))
    s.now = 0.05
    s.send(s.message(10))
    s.now = 0.1
    gaps = [offset for block in range(20) for offset in (2 * block + 2, 2 * block + 2)]
    s.sack(0, gaps[:-2])
    s.sack(0, gaps)
    s.rack.on_delivered(
        s.now, 0.06, FIRST + 99, retransmitted=False
    )  # something sent last of all was delivered
    s.now = 1.0
    s.detect()
    assert s.window.lost_packets == 20


def holes(blocks: int) -> list[int]:
    """Gap blocks of one TSN each, every second one missing."""
    return [offset for block in range(blocks) for offset in (2 * block + 2, 2 * block + 2)]


def test_what_a_peer_cannot_report_is_not_in_flight_any_more_once_it_is_old() -> None:
    # dcSCTP reports 20 blocks. Counted as in flight, what lies above filled the window for good.
    s = Sending()
    s.send(s.message(100))
    s.now = 0.1
    s.sack(0, holes(20))
    s.detect()
    s.resend_all()
    s.now = 0.2
    s.sack(1, [*(offset - 1 for offset in holes(20)[2:]), 41, 41])
    assert s.window.inflight_bytes == 59 * COST + 19 * COST
    s.detect()
    assert s.window.inflight_bytes == 19 * COST, "only what was sent again"
    assert s.window.lost_packets == 21, "the hole that could be seen now, and none of what could not"
    s.sack(100)
    assert (s.window.inflight_bytes, s.window.is_settled) == (0, True)


def test_what_was_hidden_and_is_then_reported_missing_is_lost() -> None:
    s = Sending()
    s.send(s.message(100))
    s.now = 0.1
    s.sack(0, holes(20))
    s.detect()
    s.resend_all()
    s.now = 0.2
    s.sack(40, holes(20))
    s.detect()
    s.resend_all()
    s.now = 0.3
    s.sack(80, [2, 20])
    s.detect()
    assert s.window.lost_packets == 41
    sample = s.estimator.finish(s.now, s.window.inflight_bytes, None)
    assert sample.late_lost_bytes == COST, "the last one is news of long ago"


def test_resent_packets_above_what_the_peer_can_report_are_not_lost_again() -> None:
    s = Sending()
    s.send(s.message(100))
    s.now = 0.1
    s.sack(0, [90, 100])
    s.detect()
    s.resend_all()
    s.now = 0.2
    s.sack(1, holes(20))
    s.now = 0.4
    s.sack(2, [*(offset - 1 for offset in holes(20)[2:]), 41, 41])
    s.detect()
    lost_again = s.window.lost_packets - 89
    assert lost_again <= 21, "above the last block nothing is known"


def test_a_peer_that_has_reported_more_blocks_reports_all() -> None:
    s = Sending()
    s.send(s.message(100))
    s.now = 0.1
    s.sack(0, holes(30))
    s.detect()
    s.resend()
    s.now = 0.2
    s.sack(0, holes(20))
    s.send(s.message(4))
    s.now = 0.3
    s.sack(0, [*holes(20), 104, 104])
    s.now = 0.5
    s.detect()
    assert s.window.lost_packets > 60, "above its last block is lost, and not unknown"


def test_retransmissions_leave_in_pieces_no_larger_than_allowed() -> None:
    s = Sending()
    s.send(s.message(10))
    s.window.mark_all_lost(0.0)
    runs = [s.resend(4), s.resend(4), s.resend(4)]
    assert [(r.first - FIRST, r.end - FIRST, r.offset) for r in runs if r] == [
        (0, 4, 0),
        (4, 8, 400),
        (8, 10, 800),
    ]
    assert s.resend() is None


def test_with_no_retransmissions_allowed_a_message_is_abandoned_when_one_would_happen() -> None:
    s = Sending()
    message = s.message(6, max_retransmits=0)
    s.send(message)
    s.now = 0.1
    s.sack(0, (2, 4))
    assert s.window.forward_tsn() is None
    s.detect()
    assert message.abandoned
    assert not s.window.has_lost
    assert s.window.inflight_bytes == 2 * COST, "what is still under way is still in flight"
    assert s.window.forward_tsn() == (FIRST + 5, [])
    s.sack(6)
    assert s.window.forward_tsn() is None
    assert s.window.inflight_bytes == 0


def test_so_many_retransmissions_are_made_and_no_more() -> None:
    s = Sending()
    message = s.message(1, max_retransmits=2)
    s.send(message)
    for _ in range(2):
        s.window.mark_all_lost(s.now)
        assert s.resend() is not None
    assert not message.abandoned
    s.window.mark_all_lost(s.now)
    assert message.abandoned


def test_an_expired_message_is_abandoned_instead_of_resent() -> None:
    s = Sending()
    message = s.message(3, expires_at=1.0)
    s.send(message)
    s.window.mark_all_lost(0.5)
    s.now = 1.5
    assert s.resend() is None
    assert message.abandoned


def test_the_unsent_rest_of_an_abandoned_message_takes_one_tsn_that_is_never_sent() -> None:
    s = Sending()
    message = s.message(6, max_retransmits=0)
    s.send(message, 3)
    s.window.mark_all_lost(0.0)
    assert s.window.next_tsn == FIRST + 4
    assert s.window.forward_tsn() == (FIRST + 3, [])


def test_forward_tsn_names_the_last_ssn_of_each_ordered_stream_skipped() -> None:
    s = Sending()
    for ssn in (4, 5):
        s.send(s.message(1, ordered=True, max_retransmits=0, ssn=ssn))
    s.send(s.message(1, ordered=True, max_retransmits=0, ssn=9, stream_id=2))
    s.window.mark_all_lost(0.0)
    assert s.window.forward_tsn() == (FIRST + 2, [(1, 5), (2, 9)])
    s.window.reset_stream(1)
    assert s.window.forward_tsn() == (FIRST + 2, [(2, 9)])


def test_forward_tsn_passes_over_unordered_messages_the_peer_has_whole() -> None:
    # RFC 3758 would stop at the first: one hole a round trip.
    s = Sending()
    s.send(s.message(1, max_retransmits=0))
    s.send(s.message(2, max_retransmits=0))
    s.send(s.message(1, max_retransmits=0))
    s.send(s.message(2, max_retransmits=0))
    s.sack(0, (2, 3, 5, 6))
    s.window.mark_all_lost(0.0)
    assert s.window.forward_tsn() == (FIRST + 3, [])


def test_forward_tsn_stops_before_an_ordered_message_that_may_wait_behind_a_skipped_one() -> None:
    s = Sending()
    s.send(s.message(1, ordered=True, max_retransmits=0, ssn=0))
    s.send(s.message(1, ordered=True, max_retransmits=0, ssn=1))
    s.send(s.message(1, ordered=True, max_retransmits=0, ssn=2))
    s.sack(0, (2, 2))
    s.window.mark_all_lost(0.0)
    assert s.window.forward_tsn() == (FIRST, [(1, 0)])


def test_forward_tsn_stops_before_a_reliable_message_that_is_not_acknowledged() -> None:
    s = Sending()
    s.send(s.message(1, max_retransmits=0))
    s.send(s.message(1))
    s.send(s.message(1, max_retransmits=0))
    s.window.mark_all_lost(0.0)
    assert s.window.forward_tsn() == (FIRST, [])


def test_a_tail_loss_probe_takes_the_last_packet_only() -> None:
    s = Sending()
    s.send(s.message(5))
    assert s.window.take_last(0.0)
    run = s.resend()
    assert run is not None
    assert (run.first, run.end) == (FIRST + 4, FIRST + 5)
    assert s.window.inflight_bytes == 5 * COST


def test_a_tail_loss_probe_never_resends_what_may_not_be_resent() -> None:
    s = Sending()
    assert not s.window.take_last(0.0)
    s.send(s.message(5, max_retransmits=0))
    assert not s.window.take_last(0.0)


def test_gap_acks_taken_back_are_sent_again() -> None:
    s = Sending()
    message = s.message(6)
    s.send(message, 2)
    s.window.assign(message, 8, 50).stamp = s.estimator.on_sent(0.0, 1, 1)  # the path MTU shrank meanwhile
    message.sent_bytes = 600
    s.sack(1, (2, 9))
    s.window.mark_all_lost(0.0)
    s.window.revive()
    runs = []
    while run := s.resend():
        runs.append((run.first - FIRST, run.end - FIRST, run.offset, run.fragment_bytes, run.last_bytes))
    assert runs == [(1, 2, 100, 100, 100), (2, 10, 200, 50, 50)]
    s.sack(10)
    assert s.window.is_settled
