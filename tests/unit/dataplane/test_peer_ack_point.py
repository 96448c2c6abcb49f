"""RFC 3758's point over a window of messages; what the whole window makes of it is in test_send_window.py."""

from __future__ import annotations

from collections import deque

from tallow_cli.dataplane.outbound import OutboundMessage
from tallow_cli.dataplane.peer_ack_point import MAX_FORWARD_TSN_STREAMS, PeerAckPoint

FIRST = 100


class Window:
    """Messages of one TSN each."""

    def __init__(self) -> None:
        self.messages: deque[OutboundMessage] = deque()
        self.point = PeerAckPoint(self.messages, FIRST)

    def add(
        self, *, abandoned: bool = False, acked: bool = False, ordered: bool = False, stream: int = 1
    ) -> None:
        message = OutboundMessage(stream, 53, b"x", ordered=ordered, max_retransmits=0, expires_at=None)
        message.first_tsn = FIRST + len(self.messages)
        message.end_tsn = message.first_tsn + 1
        message.ssn = len(self.messages)
        message.is_complete = True
        message.unacked_tsns = 0 if acked else 1
        message.abandoned = abandoned
        self.messages.append(message)
        if abandoned:
            self.point.on_abandoned()


def test_without_an_abandoned_message_there_is_nothing_to_tell() -> None:
    window = Window()
    window.add(acked=True)
    assert window.point.forward_tsn(FIRST) is None


def test_it_moves_over_what_was_abandoned_and_over_what_arrived_between() -> None:
    window = Window()
    for state in ("abandoned", "acked", "abandoned", "waiting", "abandoned"):
        window.add(abandoned=state == "abandoned", acked=state == "acked")
    assert window.point.forward_tsn(FIRST) == (FIRST + 2, [])


def test_each_ordered_stream_is_named_with_its_last_ssn_until_the_peer_is_there() -> None:
    window = Window()
    window.add(abandoned=True, ordered=True, stream=3)
    window.add(abandoned=True, ordered=True, stream=3)
    window.add(abandoned=True, ordered=True, stream=4)
    assert window.point.forward_tsn(FIRST) == (FIRST + 2, [(3, 1), (4, 2)])
    window.point.reset_stream(4)
    assert window.point.forward_tsn(FIRST) == (FIRST + 2, [(3, 1)])
    while window.messages:
        window.point.on_forgotten(window.messages.popleft())
    window.point.on_cumulative(FIRST + 3)
    assert window.point.forward_tsn(FIRST + 3) is None


def test_an_ordered_message_that_may_wait_behind_a_skipped_one_stops_it() -> None:
    window = Window()
    window.add(abandoned=True, ordered=True)
    window.add(acked=True, ordered=True)
    window.add(abandoned=True, ordered=True)
    assert window.point.forward_tsn(FIRST) == (FIRST, [(1, 0)])


def test_what_it_names_fits_a_packet() -> None:
    window = Window()
    for stream in range(MAX_FORWARD_TSN_STREAMS + 5):
        window.add(abandoned=True, ordered=True, stream=stream)
    told = window.point.forward_tsn(FIRST)
    assert told is not None
    assert len(told[1]) == MAX_FORWARD_TSN_STREAMS
    assert told[0] == FIRST + MAX_FORWARD_TSN_STREAMS - 1


def test_acks_that_were_taken_back_are_looked_at_again() -> None:
    window = Window()
    window.add(acked=True)
    window.add(abandoned=True)
    assert window.point.forward_tsn(FIRST) == (FIRST + 1, [])
    window.messages[0].unacked_tsns = 1
    window.point.look_again()
    window.add(abandoned=True)
    assert window.point.forward_tsn(FIRST) == (FIRST + 1, []), "no further than it was"
