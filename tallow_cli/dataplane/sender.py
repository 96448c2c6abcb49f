"""The sending half of an association: what may leave when, and what its SACKs and timers mean.

Joins the queue, the send window, RACK with a tail loss probe, T3, the peer's window, the congestion controller with
its pacer, and FORWARD-TSN. Driven by `Association`; see its contract.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallow_cli.dataplane.batches import BatchBuilder
from tallow_cli.dataplane.congestion.controller import ControllerConfig
from tallow_cli.dataplane.congestion.delivery_rate import DeliveryRateEstimator
from tallow_cli.dataplane.congestion.pacing import MAX_LATENESS_S, Pacer
from tallow_cli.dataplane.congestion.registry import create_controller
from tallow_cli.dataplane.outbound import OutboundMessage, SendQueue
from tallow_cli.dataplane.packet_parts import PacketSplitter
from tallow_cli.dataplane.packets import (
    FLAG_IMMEDIATE,
    PACKET_OVERHEAD_BYTES,
    PacketWriter,
    Sack,
    encode_forward_tsn,
)
from tallow_cli.dataplane.rack import RTO_MAX_S, Rack, RttEstimator
from tallow_cli.dataplane.runs import Run
from tallow_cli.dataplane.send_window import SendWindow
from tallow_cli.dataplane.serial import TSN_MASK

# Gap-acked data is kept until the cumulative ack passes it; a peer that never moves it must not fill our memory.
MAX_RETAINED_BYTES: Final = 64 * 1024 * 1024
# dcSCTP drops everything that arrives above 90 % of its window: stay under it.
RWND_NUMERATOR: Final = 7
RWND_DENOMINATOR: Final = 8
# RFC 8985 section 7.2: two round trips, and time for the peer's delayed SACK.
PTO_RTTS: Final = 2.0
# No clock shows less, and a round trip of zero would be an infinite rate.
RTT_GRANULARITY_S: Final = 1e-6
# A FORWARD-TSN is answered within a round trip; a little more for the peer's timers.
FORWARD_TSN_RTTS: Final = 1.25
# A peer that has more than one packet to acknowledge does so at once, or at worst after its batch timer.
BATCH_ACK_DELAY_S: Final = 0.004
# After so many T3 in a row packets above the base size are suspect (RFC 8899 section 4.3).
BLACK_HOLE_TIMEOUTS: Final = 2


class Sender:
    """`peer_ack_delay_s`: how long the peer may hold back a SACK. `peer_joins_parts`: see packet_parts.py."""

    def __init__(
        self,
        *,
        writer: PacketWriter,
        initial_tsn: int,
        peer_rwnd_bytes: int,
        packet_bytes: int,
        congestion: str,
        initial_rtt_s: float | None,
        max_quantum_bytes: int,
        max_saved_bytes: int,
        peer_ack_delay_s: float,
        peer_joins_parts: bool,
        uniform: Callable[[], float] | None,
        max_retained_bytes: int = MAX_RETAINED_BYTES,
    ) -> None:
        self.queue = SendQueue()
        self.rtt = RttEstimator(initial_rtt_s)
        self._writer = writer
        self._splitter = PacketSplitter(writer) if peer_joins_parts else None
        self._estimator = DeliveryRateEstimator()
        self.window = SendWindow(initial_tsn, self._estimator)
        self._rack = Rack(self.rtt)
        mtu_bytes = packet_bytes & ~3
        self._fragment_bytes = mtu_bytes - PACKET_OVERHEAD_BYTES
        config = ControllerConfig(
            mtu_bytes=mtu_bytes, initial_rtt_s=initial_rtt_s, max_quantum_bytes=max_quantum_bytes
        )
        if uniform is not None:
            config = ControllerConfig(mtu_bytes, initial_rtt_s, max_quantum_bytes, uniform=uniform)
        self.controller = create_controller(congestion, config)
        self.pacer = Pacer(self.controller.pacing_rate, self.controller.send_quantum_bytes, max_saved_bytes)
        self._peer_rwnd_bytes = peer_rwnd_bytes
        self._peer_ack_delay_s = peer_ack_delay_s
        self._max_retained_bytes = max_retained_bytes
        self.given_up: list[OutboundMessage] = []
        self.sent_packets = 0
        self.resent_packets = 0
        self.timeouts = 0
        self._consecutive_timeouts = 0
        self._t3_at: float | None = None
        self._pto_at: float | None = None
        self._rack_at: float | None = None
        self._probe_due = False  # send one packet whatever the windows say: tail loss probe
        self._probe_outstanding = False
        self._dry_since: float | None = 0.0  # since when there has been nothing to send
        self._zero_probe_at = 0.0
        self._forward_sent_end = initial_tsn
        self._forward_repeats = 0
        self._forward_at: float | None = None  # when to repeat it

    def set_packet_bytes(self, packet_bytes: int) -> None:
        """The path MTU changed. What was sent keeps its fragment size (a TSN is bound to its bytes)."""
        mtu_bytes = packet_bytes & ~3
        self._fragment_bytes = mtu_bytes - PACKET_OVERHEAD_BYTES
        self.controller.set_mtu(mtu_bytes)
        self._set_pace()

    def reset_stream(self, stream_id: int) -> None:
        """Its next ordered message has SSN 0, and no FORWARD-TSN names it any more."""
        self.queue.reset_stream(stream_id)
        self.window.reset_stream(stream_id)

    def keep_only(self, stream_id: int) -> None:
        """The association is about to end, and only this stream still matters: forget the other streams, whatever was
        asked for them, and let its next packet go ahead of every window."""
        self.window.keep_only(stream_id)
        self._drop_abandoned()
        self.queue.keep_only(stream_id)
        self._probe_due = True

    @property
    def fragment_bytes(self) -> int:
        """How much of a message one packet carries now."""
        return self._fragment_bytes

    @property
    def is_black_holed(self) -> bool:
        return self._consecutive_timeouts >= BLACK_HOLE_TIMEOUTS

    # receiving

    def on_sacks(self, now: float, sacks: list[Sack]) -> None:
        """Everything one wake-up acknowledged: the congestion controller hears of it once."""
        window = self.window
        before = window.cumulative_end
        for sack in sacks:
            if window.on_sack(sack):
                self._peer_rwnd_bytes = sack.rwnd_bytes
                if sack.duplicates and not self._probe_outstanding:
                    self._rack.on_duplicates(now)
        if self._forward_at is not None and window.forward_tsn() is None:
            self._forward_at = None
        newest = window.take_newest()
        rtt_s: float | None = None
        if newest is not None:
            rtt_s = self._on_newest(now, *newest)
            self._consecutive_timeouts = 0
            self._probe_outstanding = False
        self._detect_losses(now, rtt_s)
        if newest is not None or window.cumulative_end > before or not window.has_inflight:
            self._arm_t3(now)
            self._arm_pto(now)

    def _on_newest(self, now: float, run: Run, end: int, was_hidden: bool) -> float | None:
        rtt_s: float | None = None
        # Karn: an ack of anything sent twice is ambiguous; so is one that the peer could not give before.
        if run.transmissions == 1 and not was_hidden:
            rtt_s = max(now - run.stamp.sent_at, RTT_GRANULARITY_S)
            self.rtt.add(now, rtt_s)
        if self.window.saw_reordering:
            self._rack.reordering_seen = True
        self._rack.on_delivered(
            now, run.stamp.sent_at, end, retransmitted=run.transmissions > 1, was_hidden=was_hidden
        )
        return rtt_s

    def _detect_losses(self, now: float, rtt_s: float | None) -> None:
        window = self.window
        self._rack_at = window.detect_lost(now, self._rack)
        self._drop_abandoned()
        self._rack.set_recovery(window.is_recovering)
        sample = self._estimator.finish(now, window.inflight_bytes, rtt_s)
        if self.rtt.latest_s == 0.0:
            # Only retransmissions were acknowledged so far: without a round trip a rate says nothing.
            sample.delivery_rate = sample.interval_s = 0.0
        if sample.acked_bytes or sample.lost_bytes:
            self.controller.on_ack(sample)
            self._set_pace()

    def _set_pace(self) -> None:
        self.pacer.set_rate(self.controller.pacing_rate, self.controller.send_quantum_bytes)

    # timers

    def timers(self, now: float) -> tuple[float | None, ...]:
        """When something is due: T3, tail loss probe, RACK, FORWARD-TSN again, and the pacer's next moment."""
        return self._t3_at, self._pto_at, self._rack_at, self._forward_at, self.next_send_at(now)

    def handle_timeout(self, now: float) -> None:
        if self._rack_at is not None and now >= self._rack_at:
            self._detect_losses(now, None)
        if self._t3_at is not None and now >= self._t3_at:
            self._on_t3(now)
        elif self._pto_at is not None and now >= self._pto_at:
            self._on_pto(now)

    def _on_pto(self, now: float) -> None:
        """RFC 8985 section 7.3: new data if there is any, else the last packet again, to provoke a SACK."""
        self._pto_at = None
        window = self.window
        can_send_new = bool(self.queue) and self._rwnd_room() > 0 and window.has_room
        if window.has_lost or can_send_new or window.take_last(now):
            self._probe_due = self._probe_outstanding = True

    def _on_t3(self, now: float) -> None:
        """RFC 9260 section 6.3.3: all in flight is lost, the timer doubles."""
        window = self.window
        is_zero_window_probe = self._rwnd_is_closed()
        self._t3_at = self._pto_at = self._rack_at = None
        self._probe_due = self._probe_outstanding = False
        self.timeouts += 1
        self._consecutive_timeouts += 1
        window.mark_all_lost(now)
        if self._consecutive_timeouts == 2:
            window.revive()
        self._drop_abandoned()
        self._estimator.finish(now, 0, None)
        if not is_zero_window_probe:
            self.controller.on_rto(now)
            self._set_pace()
            self._probe_due = True  # at least one packet leaves, whatever the pacer owes
        self._zero_probe_at = now
        self._arm_t3(now)

    def _backed_off_rto(self) -> float:
        backed_off = self.rtt.rto_s * (1 << min(self._consecutive_timeouts, 6))
        return min(backed_off, max(RTO_MAX_S, self.rtt.rto_s))

    def _arm_t3(self, now: float) -> None:
        self._t3_at = None if self.window.is_settled else now + self._backed_off_rto()

    def _arm_pto(self, now: float) -> None:
        """RFC 8985 section 7.2: after progress and after new data, once per flight."""
        window, srtt_s = self.window, self.rtt.srtt_s
        self._pto_at = None
        if not window.has_inflight or self._probe_outstanding or self._consecutive_timeouts or srtt_s == 0.0:
            return
        is_single = window.inflight_bytes <= self._fragment_bytes + PACKET_OVERHEAD_BYTES
        ack_delay_s = self._peer_ack_delay_s if is_single else min(self._peer_ack_delay_s, BATCH_ACK_DELAY_S)
        pto_at = now + PTO_RTTS * srtt_s + ack_delay_s
        if self._t3_at is None or pto_at < self._t3_at:
            self._pto_at = pto_at

    # sending

    def _rwnd_room(self) -> int:
        return self._peer_rwnd_bytes * RWND_NUMERATOR // RWND_DENOMINATOR - self.window.inflight_bytes

    def _rwnd_is_closed(self) -> bool:
        return self._rwnd_room() + self.window.inflight_bytes < self._fragment_bytes + PACKET_OVERHEAD_BYTES

    @property
    def has_something_to_send(self) -> bool:
        return self.window.has_lost or bool(self.queue)

    def next_send_at(self, now: float) -> float | None:
        """When waiting data may leave, as far as time decides it: the pacer, or the probing of a closed window."""
        window = self.window
        if not self.has_something_to_send:
            return None
        if self._probe_due:
            return now
        if self._rwnd_room() < self._fragment_bytes + PACKET_OVERHEAD_BYTES:
            if window.has_inflight:
                return None
            return max(self._zero_probe_at, self.pacer.next_send_at(now))
        if window.inflight_bytes >= self.controller.cwnd_bytes:
            return None
        if not window.has_lost and not self._may_send_new():
            return None
        return self.pacer.next_send_at(now)

    def _may_send_new(self) -> bool:
        window = self.window
        # A message that was begun is finished, or it could wait for its own acknowledgement.
        return window.has_room and (
            window.retained_bytes < self._max_retained_bytes or self.queue.is_mid_message
        )

    def poll_forward_tsn(self, now: float) -> bytes | None:
        """The FORWARD-TSN packet if one is due: news, or unanswered for a round trip (RFC 3758 section 3.5 C3)."""
        forward = self.window.forward_tsn()
        if forward is None:
            self._forward_at = None
            return None
        cumulative_tsn, streams = forward
        if cumulative_tsn >= self._forward_sent_end:
            self._forward_sent_end, self._forward_repeats = cumulative_tsn + 1, 0
        elif self._forward_at is not None and now < self._forward_at:
            return None
        repeat_s = self.rtt.srtt_s * FORWARD_TSN_RTTS or self.rtt.rto_s
        self._forward_at = now + min(repeat_s * (1 << self._forward_repeats), RTO_MAX_S)
        self._forward_repeats = min(self._forward_repeats + 1, 10)
        return self._writer.control(encode_forward_tsn(cumulative_tsn & TSN_MASK, streams))

    def poll_data(self, now: float, batches: BatchBuilder) -> None:
        """Retransmissions first, then new data, as far as every window and the pacer allow."""
        window = self.window
        if not self.has_something_to_send:
            self._probe_due = False
            if self._dry_since is None:
                self._dry_since = now
            if window.inflight_bytes < self.controller.cwnd_bytes and not self._estimator.is_app_limited:
                self._estimator.mark_app_limited(window.inflight_bytes)
            return
        if self._dry_since is not None:
            if now - self._dry_since > MAX_LATENESS_S:
                self.pacer.on_idle(now)
            self._dry_since = None
        allowed = min(self.controller.cwnd_bytes - window.inflight_bytes, self.pacer.budget(now))
        if self._probe_due:
            allowed, self._probe_due = max(allowed, 1), False
        if allowed <= 0:
            return
        inflight_before = window.inflight_bytes
        was_idle = not window.has_inflight
        rwnd_room = self._rwnd_room()
        if rwnd_room < self._fragment_bytes + PACKET_OVERHEAD_BYTES:
            if not was_idle or now < self._zero_probe_at:
                self._estimator.mark_app_limited(inflight_before)
                return
            # RFC 9260 section 6.1 A: one packet into a closed window, so that its opening cannot be missed.
            rwnd_room = allowed = 1
            self._zero_probe_at = now + self._backed_off_rto()
        runs: list[Run] = []
        room = self._resend(now, min(allowed, rwnd_room), runs, batches)
        self._send_new(now, room, runs, batches)
        if runs:
            self._on_sent(now, runs, inflight_before, was_idle=was_idle)
        self._dry_since = None if window.has_lost or self.queue else now
        if allowed > window.inflight_bytes - inflight_before and not self.window.has_lost:
            # The application or the peer's window stopped us, not the path.
            self._estimator.mark_app_limited(window.inflight_bytes)

    def _on_sent(self, now: float, runs: list[Run], inflight_before: int, *, was_idle: bool) -> None:
        size = sum(run.cost_bytes for run in runs)
        stamp = self._estimator.on_sent(now, size, inflight_before)
        for run in runs:
            run.stamp = stamp
            self.sent_packets += run.end - run.first
        self.controller.on_sent(now, size, inflight_before)
        self.pacer.on_sent(now, size)
        self._set_pace()
        if was_idle or self._t3_at is None:
            self._arm_t3(now)
        self._arm_pto(now)

    def _resend(self, now: float, room: int, runs: list[Run], batches: BatchBuilder) -> int:
        window = self.window
        while room > 0 and window.has_lost:
            packet_bytes = self._fragment_bytes + PACKET_OVERHEAD_BYTES
            run = window.take_lost(-(-room // packet_bytes), now)
            self._drop_abandoned()
            if run is None:
                break
            self.resent_packets += run.end - run.first
            room -= run.cost_bytes
            is_last = room <= 0 or not self.has_something_to_send
            self._emit(run, runs, batches, immediate=is_last)
        return room

    def _send_new(self, now: float, room: int, runs: list[Run], batches: BatchBuilder) -> None:
        window, queue = self.window, self.queue
        fragment_bytes = self._fragment_bytes
        packet_bytes = fragment_bytes + PACKET_OVERHEAD_BYTES
        while room > 0 and self._may_send_new():
            message = queue.head(now, self.given_up)
            if message is None:
                break
            if message.sent_bytes and message.is_expired(now):
                window.abandon(message)
                self._drop_abandoned()
                continue
            left = message.size - message.sent_bytes
            count = min(-(-left // fragment_bytes), -(-room // packet_bytes))
            run = window.assign(message, count, fragment_bytes)
            queue.advance(message, min(count * fragment_bytes, left))
            room -= run.cost_bytes
            self._emit(run, runs, batches, immediate=not queue)

    def _drop_abandoned(self) -> None:
        """What the window gave up is not sent on either."""
        if self.window.abandoned:
            for message in self.window.abandoned:
                self.queue.finish_current(message)
            self.given_up += self.window.abandoned
            self.window.abandoned = []

    def _emit(self, run: Run, runs: list[Run], batches: BatchBuilder, *, immediate: bool) -> None:
        runs.append(run)
        message = run.message
        packets = self._writer.data(
            run.first,
            message.stream_id,
            message.ssn,
            message.ppid,
            message.flags | FLAG_IMMEDIATE if immediate else message.flags,
            message.view,
            run.offset,
            run.fragment_bytes,
            run.end - run.first,
        )
        if run.fragment_bytes > self._fragment_bytes and self._splitter is not None:
            for packet in packets:
                batches.add(self._splitter.split(packet, self._fragment_bytes + PACKET_OVERHEAD_BYTES))
        else:
            batches.add(packets)
