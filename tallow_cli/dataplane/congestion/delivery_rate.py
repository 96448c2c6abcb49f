"""Delivery-rate samples from SACKs (draft-ietf-ccwg-bbr, section 4.1; earlier
draft-cheng-iccrg-delivery-rate-estimation).

A naive `acked bytes / time since the last ACK` spikes to many times the truth when a hole fills or a receiver
acknowledges in batches. The sample taken here divides what was delivered between the sending of a run and its
acknowledgement by the longer of the time it took to send that much and the time it took to acknowledge it.

State is kept per *run* (the packets of one send call), never per packet: `SendStamp` is 56 bytes of numbers
a run.

Driver: `on_sent` for each run and keep the stamp with it; on a wake-up `on_acked` / `on_lost` for each run
touched, then `finish` exactly once; `mark_app_limited` whenever sending stopped for lack of data or of the
peer's window.
"""

from __future__ import annotations

from tallow_cli.dataplane.congestion.controller import AckSample


class SendStamp:
    """What the estimator must remember of one run. Opaque to the caller, but for `sent_at` and
    `size_bytes`."""

    __slots__ = (
        "delivered_at",
        "delivered_bytes",
        "first_sent_at",
        "hidden_bytes",
        "inflight_bytes",
        "is_app_limited",
        "lost_bytes",
        "sent_at",
        "size_bytes",
    )

    def __init__(
        self,
        sent_at: float,
        size_bytes: int,
        inflight_bytes: int,
        delivered_bytes: int,
        delivered_at: float,
        first_sent_at: float,
        lost_bytes: int,
        hidden_bytes: int,
        is_app_limited: bool,
    ) -> None:
        self.sent_at = sent_at
        self.size_bytes = size_bytes
        self.inflight_bytes = inflight_bytes
        self.delivered_bytes = delivered_bytes
        self.delivered_at = delivered_at
        self.first_sent_at = first_sent_at
        self.lost_bytes = lost_bytes
        self.hidden_bytes = hidden_bytes
        self.is_app_limited = is_app_limited


class DeliveryRateEstimator:
    """Counts what the path delivered, and when. One per association and path."""

    def __init__(self) -> None:
        self.delivered_bytes = 0
        self.lost_bytes = 0
        # Delivered, but acknowledged so late that it says nothing about when.
        self._hidden_bytes = 0
        self._delivered_at = 0.0
        self._first_sent_at = 0.0
        # Samples are app-limited until `delivered_bytes` passes this; 0 when they are not.
        self._app_limited_until = 0
        # Gathered between two `finish` calls.
        self._acked_bytes = 0
        self._spurious_bytes = 0
        self._newly_lost_bytes = 0
        self._late_lost_bytes = 0
        self._lost_ranges = 0
        self._lost_sent_at = -1.0
        self._newest: SendStamp | None = None

    def on_sent(self, now: float, size_bytes: int, inflight_bytes: int) -> SendStamp:
        """Stamp a run of `size_bytes`, with `inflight_bytes` outstanding before it."""
        if inflight_bytes == 0:
            # Restart the interval: idle time is not the path's fault.
            self._first_sent_at = self._delivered_at = now
        return SendStamp(
            now,
            size_bytes,
            inflight_bytes + size_bytes,
            self.delivered_bytes,
            self._delivered_at,
            self._first_sent_at,
            self.lost_bytes,
            self._hidden_bytes,
            self._app_limited_until > 0,
        )

    def mark_app_limited(self, inflight_bytes: int) -> None:
        """Nothing to send, or the peer's window is shut, though the congestion window and the pacer would
        allow more.

        Call it when that happens, not for every run; samples stay marked until what is in flight now is
        delivered.
        """
        self._app_limited_until = max(self.delivered_bytes + inflight_bytes, 1)

    @property
    def is_app_limited(self) -> bool:
        return self._app_limited_until > 0

    def on_acked(
        self, stamp: SendStamp, size_bytes: int, *, spurious: bool = False, hidden: bool = False
    ) -> None:
        """`size_bytes` of that run are newly acknowledged; `spurious`: they had been reported as lost; `hidden`: the
        peer may have had them for long, without room to say so."""
        self._acked_bytes += size_bytes
        if hidden:
            self._hidden_bytes += size_bytes
        if spurious:
            self._spurious_bytes += size_bytes
        newest = self._newest
        if newest is None or stamp.sent_at >= newest.sent_at:
            self._newest = stamp

    def on_lost(self, stamp: SendStamp, size_bytes: int, ranges: int = 1, *, late: bool = False) -> None:
        """`size_bytes` of that run are newly declared lost, in `ranges` separate holes; `late`: long ago."""
        self._newly_lost_bytes += size_bytes
        if late:
            self._late_lost_bytes += size_bytes
        self._lost_ranges += ranges
        if stamp.sent_at > self._lost_sent_at:
            self._lost_sent_at = stamp.sent_at

    def finish(
        self,
        now: float,
        inflight_bytes: int,
        rtt_s: float | None,
        *,
        min_rtt_s: float = 0.0,
    ) -> AckSample:
        """The sample of everything gathered since the last call; `inflight_bytes` are still outstanding.

        `rtt_s`: round trip of the newest acknowledged packet, None if it is ambiguous. A rate measured over
        less than `min_rtt_s` is impossible (a peer that acknowledged early, or clock trouble) and is left
        out.
        """
        acked, lost, newest = self._acked_bytes, self._newly_lost_bytes, self._newest
        self.delivered_bytes += acked
        self.lost_bytes += lost - self._late_lost_bytes - self._spurious_bytes
        sample = AckSample(
            now,
            acked,
            lost,
            self._lost_ranges,
            self._lost_sent_at,
            self._spurious_bytes,
            inflight_bytes,
            inflight_bytes + acked - self._spurious_bytes + lost,
            self.delivered_bytes,
            late_lost_bytes=self._late_lost_bytes,
        )
        if newest is not None:
            sample.rtt_s = rtt_s
            self._add_rate(sample, newest, now, min_rtt_s)
        if 0 < self._app_limited_until < self.delivered_bytes:
            self._app_limited_until = 0
        self._late_lost_bytes = 0
        self._acked_bytes = self._newly_lost_bytes = self._lost_ranges = self._spurious_bytes = 0
        self._lost_sent_at = -1.0
        self._newest = None
        return sample

    def _add_rate(self, sample: AckSample, newest: SendStamp, now: float, min_rtt_s: float) -> None:
        self._delivered_at = now
        self._first_sent_at = newest.sent_at
        send_elapsed_s = newest.sent_at - newest.first_sent_at
        ack_elapsed_s = now - newest.delivered_at
        interval_s = send_elapsed_s if send_elapsed_s > ack_elapsed_s else ack_elapsed_s
        sample.prior_delivered_bytes = newest.delivered_bytes
        sample.is_app_limited = newest.is_app_limited
        sample.lost_since_sent_bytes = self.lost_bytes - newest.lost_bytes
        sample.sent_inflight_bytes = newest.inflight_bytes
        sample.is_unsure = newest.hidden_bytes != self._hidden_bytes
        if not sample.is_unsure and interval_s > 0.0 and interval_s >= min_rtt_s:
            sample.interval_s = interval_s
            sample.delivery_rate = (self.delivered_bytes - newest.delivered_bytes) / interval_s
