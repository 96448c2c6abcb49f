"""What was sent and not yet cumulatively acknowledged, kept as runs of consecutive TSNs, never per packet.

A `Run` is a stretch of one message's fragments that left in one send call. Three lists sorted by TSN hold those the
peer has not reported: `_flight` (sent once; TSN order is time order), `_resent`, and `_lost` (to be sent again). An
acknowledged range trims, splits or removes runs, so a byte is counted once however often SACKs repeat it, and one
SACK costs O(changed blocks x log runs) however large the window is.

Messages stay until the cumulative TSN passes them, for a receiver may take back gap acks (RFC 9260 section 6.3.3).
Abandonment follows RFC 3758 and RFC 7496: a message is given up when it would have to be retransmitted, or sent on,
and may not be; not before.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from tallow_cli.dataplane.congestion.delivery_rate import DeliveryRateEstimator
from tallow_cli.dataplane.outbound import OutboundMessage
from tallow_cli.dataplane.packets import Sack
from tallow_cli.dataplane.peer_ack_point import PeerAckPoint
from tallow_cli.dataplane.rack import Rack
from tallow_cli.dataplane.runs import Run, whole_runs
from tallow_cli.dataplane.serial import unwrap_tsn

# Gap block offsets have 16 bits: a TSN further ahead of the cumulative ack could not be reported.
MAX_TSN_SPAN: Final = 65_000
# dcSCTP reports the 20 lowest gap blocks only, others as many as fit a packet (usrsctp, ours: 290): what lies above the
# last block of such a list is unknown, not lost.
FEW_GAP_BLOCKS: Final = 20
PACKET_OF_GAP_BLOCKS: Final = 250
# Fast retransmit's threshold (RFC 9260 section 7.2.4), which RACK keeps while it has seen no reordering.
DUP_THRESH: Final = 3

_run_first = attrgetter("first")
_run_end = attrgetter("end")


class SendWindow:
    """Driver: `assign` and `take_lost` for what is being sent (then set `run.stamp`), `on_sack` for what came back,
    `detect_lost` / `mark_all_lost` for timers. Acks and losses go to the delivery rate estimator on the way."""

    def __init__(self, initial_tsn: int, estimator: DeliveryRateEstimator) -> None:
        self.next_tsn = initial_tsn
        self.cumulative_end = initial_tsn  # the first TSN not cumulatively acknowledged
        self.inflight_bytes = 0
        self.retained_bytes = 0
        self.lost_packets = 0
        self.saw_reordering = False  # a hole was filled without a retransmission
        self.abandoned: list[OutboundMessage] = []  # drained by the sender
        self._estimator = estimator
        self._messages: deque[OutboundMessage] = deque()
        self._ack_point = PeerAckPoint(self._messages, initial_tsn)
        self._flight: list[Run] = []
        self._resent: list[Run] = []
        self._lost: list[Run] = []
        self._blocks: set[tuple[int, int]] = set()
        self._highest_acked_end = initial_tsn
        # The peer reports nothing from here on: what lies above is judged when it does. None if it reports all.
        self._hidden_from: int | None = None
        self._most_blocks = 0
        self._left_end = initial_tsn  # what is hidden below this has left
        self._sacked_packets = 0
        # The latest sent of what the SACKs since `take_newest` acknowledged.
        self._newest: Run | None = None
        self._newest_end = 0
        self._newest_was_hidden = False

    # sending

    @property
    def has_inflight(self) -> bool:
        return bool(self._flight or self._resent)

    @property
    def has_lost(self) -> bool:
        return bool(self._lost)

    @property
    def is_recovering(self) -> bool:
        return bool(self._lost or self._resent)

    @property
    def is_settled(self) -> bool:
        """Nothing sent awaits an ack or a retransmission."""
        return not (self._flight or self._resent or self._lost)

    @property
    def has_room(self) -> bool:
        """Whether the TSN space the peer can report on allows new data."""
        return self.next_tsn - self.cumulative_end < MAX_TSN_SPAN

    def assign(self, message: OutboundMessage, count: int, fragment_bytes: int) -> Run:
        """Give TSNs to the message's next `count` fragments."""
        first, offset = self.next_tsn, message.sent_bytes
        self.next_tsn = end = first + count
        if offset == 0:
            message.first_tsn = first
            self._messages.append(message)
            self.retained_bytes += message.size
        if not message.layout or message.layout[-1][2] != fragment_bytes:
            message.layout.append((first, offset, fragment_bytes))
        left = message.size - offset - (count - 1) * fragment_bytes
        run = Run(message, first, end, offset, fragment_bytes, min(left, fragment_bytes), 1)
        message.end_tsn = end
        message.unacked_tsns += count
        message.is_complete = left <= fragment_bytes
        self._flight.append(run)
        self.inflight_bytes += run.cost_bytes
        return run

    def take_lost(self, max_packets: int, now: float) -> Run | None:
        """The lowest lost run, at most so many packets of it, now in flight again. Its stamp is to be set anew.

        Messages that may not be retransmitted any more are abandoned on the way.
        """
        while self._lost:
            run = self._lost[0]
            if not self._may_resend(run, now):
                self.abandon(run.message)
                continue
            if run.end - run.first > max_packets:
                cut = run.first + max_packets
                self._lost[0] = run.part(cut, run.end)
                run = run.part(run.first, cut)
            else:
                del self._lost[0]
            run.transmissions += 1
            run.has_left = False
            insort(self._resent, run, key=_run_first)
            self.inflight_bytes += run.cost_bytes
            return run
        return None

    def take_last(self, now: float) -> bool:
        """Tail loss probe: put the last packet in flight up for retransmission. False if none may be."""
        runs = self._flight or self._resent
        if not runs or not self._may_resend(runs[-1], now):
            return False
        run = runs.pop()
        if run.end - run.first > 1:
            runs.append(run.part(run.first, run.end - 1))
            run = run.part(run.end - 1, run.end)
        if not run.has_left:
            self.inflight_bytes -= run.cost_bytes
        insort(self._lost, run, key=_run_first)
        return True

    # acknowledgements

    def on_sack(self, sack: Sack) -> bool:
        """Take a SACK. False if it is older than what we know or acknowledges what was never sent: ignored."""
        cumulative_end = unwrap_tsn(sack.cumulative_tsn, self.cumulative_end - 1) + 1
        if cumulative_end < self.cumulative_end or cumulative_end > self.next_tsn:
            return False
        if cumulative_end > self.cumulative_end:
            self.cumulative_end = cumulative_end
            for runs in (self._flight, self._resent, self._lost):
                if runs and runs[0].first < cumulative_end:
                    self._ack_range(runs, 0, cumulative_end)
            self._forget_messages()
        highest_end = cumulative_end
        if sack.gaps:
            highest_end = max(highest_end, self._ack_gaps(sack.gaps, cumulative_end - 1))
        elif self._blocks:
            self._blocks = set()
        gap_blocks = len(sack.gaps) // 2
        self._most_blocks = max(self._most_blocks, gap_blocks)
        # A list as long as the longest ever, and as long as a limit that is known, has been cut.
        is_cut = gap_blocks == self._most_blocks and (
            gap_blocks == FEW_GAP_BLOCKS or gap_blocks >= PACKET_OF_GAP_BLOCKS
        )
        self._hidden_from = highest_end if is_cut else None
        self._sacked_packets = sum(sack.gaps[1::2]) - sum(sack.gaps[::2]) + gap_blocks
        self._highest_acked_end = max(self._highest_acked_end, highest_end)
        return True

    def take_newest(self) -> tuple[Run, int, bool] | None:
        """The run sent last among those newly acknowledged, the end of its acknowledged part, and whether the peer
        may have had it for long without being able to say so: then its age is no round trip."""
        newest, self._newest = self._newest, None
        return None if newest is None else (newest, self._newest_end, self._newest_was_hidden)

    def _ack_gaps(self, gaps: Sequence[int], base: int) -> int:
        """Acknowledge blocks not reported before; returns the end of the highest believable one."""
        next_tsn, highest_end = self.next_tsn, 0
        blocks = {(base + start, base + last + 1) for start, last in zip(gaps[::2], gaps[1::2], strict=True)}
        for first, end in sorted(blocks - self._blocks):
            if first < end <= next_tsn:
                for runs in (self._flight, self._resent, self._lost):
                    if runs:
                        self._ack_range(runs, first, end)
        self._blocks = blocks
        for _, end in blocks:
            if highest_end < end <= next_tsn:
                highest_end = end
        return highest_end

    def _ack_range(self, runs: list[Run], first: int, end: int) -> None:
        low = bisect_right(runs, first, key=_run_end)
        high, left_over = low, []
        while high < len(runs) and runs[high].first < end:
            run = runs[high]
            from_tsn, to_tsn = max(run.first, first), min(run.end, end)
            self._credit(run, from_tsn, to_tsn, was_lost=runs is self._lost)
            if run.first < from_tsn:
                left_over.append(run.part(run.first, from_tsn))
            if to_tsn < run.end:
                left_over.append(run.part(to_tsn, run.end))
            high += 1
        if high > low:
            runs[low:high] = left_over

    def _credit(self, run: Run, first: int, end: int, *, was_lost: bool) -> None:
        cost = run.cost_of(first, end)
        run.message.unacked_tsns -= end - first
        if not (was_lost or run.has_left):
            self.inflight_bytes -= cost
        hidden = self._hidden_from is not None and first >= self._hidden_from
        self._estimator.on_acked(run.stamp, cost, spurious=was_lost, hidden=hidden)
        newest = self._newest
        if (
            newest is None
            or run.stamp.sent_at > newest.stamp.sent_at
            or (run.stamp.sent_at == newest.stamp.sent_at and end > self._newest_end)
        ):
            self._newest, self._newest_end = run, end
            self._newest_was_hidden = hidden
        if run.transmissions == 1 and end <= self._highest_acked_end and not run.message.abandoned:
            self.saw_reordering = True

    def _forget_messages(self) -> None:
        messages, cumulative_end = self._messages, self.cumulative_end
        while messages and messages[0].is_complete and messages[0].end_tsn <= cumulative_end:
            message = messages.popleft()
            self.retained_bytes -= message.size
            self._ack_point.on_forgotten(message)
        self._ack_point.on_cumulative(cumulative_end)

    # losses

    def detect_lost(self, now: float, rack: Rack) -> float | None:
        """RFC 8985 section 6.2 step 5: give up for lost what was sent long enough before something delivered.

        Returns when to look again if more would be lost by then, else None.
        """
        reorder_window_s = rack.reorder_window_s(duplicate_threshold=self._sacked_packets >= DUP_THRESH)
        delay_s = rack.rtt_s + reorder_window_s
        ceiling = self.next_tsn if self._hidden_from is None else self._hidden_from
        deadline: float | None = None
        late = 0
        for run in self._flight:
            if run.first >= ceiling or not rack.was_sent_before(run.stamp.sent_at, run.first):
                break
            if run.stamp.sent_at + delay_s > now:
                deadline = run.stamp.sent_at + delay_s
                break
            late += 1
        if late:
            lost, self._flight = self._flight[:late], self._flight[late:]
            for run in lost:
                self._mark_lost(run, now)
        others = [self._detect_lost_again(now, rack, delay_s, ceiling)] if self._resent else []
        if self._hidden_from is not None:
            others.append(self._detect_left(now, rack, delay_s, self._hidden_from))
        return min((at for at in (deadline, *others) if at is not None), default=None)

    def _detect_left(self, now: float, rack: Rack, delay_s: float, hidden_from: int) -> float | None:
        """What the peer cannot report was lost or has arrived, once it is old enough: it is not in flight any more.

        Else a peer that reports 20 gap blocks stops us for good after 21 holes: the window is full of packets that
        arrived long ago, and nothing but probes leaves. Returns when more will have left.
        """
        flight = self._flight
        for position in range(
            bisect_left(flight, max(hidden_from, self._left_end), key=_run_first), len(flight)
        ):
            run = flight[position]
            if not rack.was_sent_before(run.stamp.sent_at, run.first):
                break
            if run.stamp.sent_at + delay_s > now:
                return run.stamp.sent_at + delay_s
            self._let_go(run)
            self._left_end = run.end
        return None

    def _let_go(self, run: Run) -> None:
        if not run.has_left:
            run.has_left = True
            self.inflight_bytes -= run.cost_bytes

    def _detect_lost_again(self, now: float, rack: Rack, delay_s: float, ceiling: int) -> float | None:
        kept: list[Run] = []
        lost: list[Run] = []
        deadline: float | None = None
        for run in self._resent:
            if not rack.was_sent_before(run.stamp.sent_at, run.first):
                kept.append(run)
            elif run.stamp.sent_at + delay_s > now:
                kept.append(run)
                due = run.stamp.sent_at + delay_s
                deadline = due if deadline is None else min(deadline, due)
            elif run.first >= ceiling:
                kept.append(run)
                self._let_go(run)
            else:
                lost.append(run)
        if lost:
            self._resent = kept
            for run in lost:
                self._mark_lost(run, now)
        return deadline

    def mark_all_lost(self, now: float) -> None:
        """T3: RFC 9260 section 6.3.3."""
        runs = self._flight + self._resent
        self._flight, self._resent = [], []
        for run in runs:
            self._mark_lost(run, now)

    def revive(self) -> None:
        """Forget all gap acks: the peer seems to have taken them back. Everything above the cumulative ack that is
        not abandoned becomes lost, to be sent again."""
        self._blocks = set()
        self._lost = []
        stamps = [run.stamp for run in self._flight + self._resent]
        self._flight, self._resent, self.inflight_bytes = [], [], 0
        stamp = stamps[0] if stamps else self._estimator.on_sent(0.0, 0, 1)
        for message in self._messages:
            if message.abandoned:
                continue
            message.unacked_tsns = 0
            for run in whole_runs(message):
                first = max(run.first, self.cumulative_end)
                if first < run.end:
                    run.stamp = stamp
                    self._lost.append(run.part(first, run.end))
                    message.unacked_tsns += run.end - first
        self._ack_point.look_again()

    def _mark_lost(self, run: Run, now: float) -> None:
        cost = run.cost_bytes
        if not run.has_left:
            self.inflight_bytes -= cost
        self.lost_packets += run.end - run.first
        self._estimator.on_lost(run.stamp, cost, late=run.has_left)
        if run.message.abandoned:
            return
        if not self._may_resend(run, now):
            self.abandon(run.message)
        elif not self._lost or self._lost[-1].first < run.first:
            self._lost.append(run)
        else:
            insort(self._lost, run, key=_run_first)

    # abandonment

    @staticmethod
    def _may_resend(run: Run, now: float) -> bool:
        message = run.message
        if message.abandoned or message.is_expired(now):
            return False
        return message.max_retransmits is None or run.transmissions <= message.max_retransmits

    def abandon(self, message: OutboundMessage) -> None:
        """Give a message up. Its packets still in flight stay counted until they are acknowledged or lost."""
        if message.abandoned:
            return
        message.abandoned = True
        self.abandoned.append(message)
        self._ack_point.on_abandoned()
        if self._lost:
            # A message's TSNs are consecutive, so its runs stand together.
            low = bisect_left(self._lost, message.first_tsn, key=_run_first)
            del self._lost[low : bisect_left(self._lost, message.end_tsn, key=_run_first)]
        if not message.is_complete:
            # A TSN that is never sent stands for the rest, so that the FORWARD-TSN reaches beyond every fragment
            # the peer holds; otherwise one that lacks only the unsent rest would wait in its reassembly for ever.
            self.next_tsn += 1
            message.end_tsn = self.next_tsn
            message.is_complete = True

    def keep_only(self, stream_id: int) -> None:
        """Give up every other stream's messages and stop counting what of them is in flight: nobody waits for it."""
        for message in self._messages:
            if message.stream_id != stream_id:
                self.abandon(message)
        self._flight = [run for run in self._flight if run.message.stream_id == stream_id]
        self._resent = [run for run in self._resent if run.message.stream_id == stream_id]
        self.inflight_bytes = sum(run.cost_bytes for run in self._flight + self._resent)

    def forward_tsn(self) -> tuple[int, list[tuple[int, int]]] | None:
        """The FORWARD-TSN the peer needs: new cumulative TSN, (stream, SSN) pairs; None while it needs none."""
        return self._ack_point.forward_tsn(self.cumulative_end)

    def reset_stream(self, stream_id: int) -> None:
        self._ack_point.reset_stream(stream_id)
