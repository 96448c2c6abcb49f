"""Round-trip times and loss by time: RFC 6298 with SCTP's bounds, and RACK (RFC 8985) as adapted to SCTP.

RACK calls a packet lost when one sent sufficiently later has been delivered. "Later" is by send time, then TSN (all
packets of one batch share a send time). SCTP's duplicate-TSN reports take the place of TCP's DSACK (Weinrank, Tuexen
and Rathgeb, ICNP 2020).
"""

from __future__ import annotations

from typing import Final

from tallow_cli.measure.path_summary import Jitter

RTO_INITIAL_S: Final = 1.0
# RFC 9260 says 1 s; dcSCTP uses 0.4 s, libdatachannel 0.2 s. It must stay above the 200 ms a peer may delay a SACK.
RTO_MIN_S: Final = 0.3
# RFC 9260 says 60 s. One packet every 2 s into an outage costs nothing and finds its end soon; ICE consent, not this
# timer, decides that a path is dead.
RTO_MAX_S: Final = 2.0
MIN_RTT_WINDOW_S: Final = 10.0
# RFC 8985 section 6.2 step 4: the wider window is dropped after so many recoveries without a duplicate report.
REORDER_PERSISTENCE: Final = 16


class RttEstimator:
    """SRTT, RTTVAR, RTO (RFC 9260 section 6.3), jitter, and the least RTT of the last 10 to 20 seconds."""

    __slots__ = (
        "_min_older_s",
        "_min_recent_s",
        "_recent_since",
        "jitter",
        "latest_s",
        "rto_s",
        "rttvar_s",
        "srtt_s",
    )

    def __init__(self, initial_rtt_s: float | None = None) -> None:
        self.srtt_s = 0.0
        self.rttvar_s = 0.0
        self.latest_s = 0.0
        self.jitter = Jitter()
        self.rto_s = RTO_INITIAL_S
        self._min_recent_s = self._min_older_s = float("inf")
        self._recent_since = 0.0
        if initial_rtt_s is not None and initial_rtt_s > 0.0:
            # A first guess, not a sample: the handshake's RTT says little about the least one.
            self.srtt_s, self.rttvar_s = initial_rtt_s, initial_rtt_s / 2
            self.rto_s = max(RTO_MIN_S, min(RTO_INITIAL_S, 3 * initial_rtt_s))

    @property
    def min_rtt_s(self) -> float:
        """0.0 as long as there is no sample."""
        least = min(self._min_recent_s, self._min_older_s)
        return 0.0 if least == float("inf") else least

    def add(self, now: float, rtt_s: float) -> None:
        """A sample from a packet that was sent once."""
        self.latest_s = rtt_s
        self.jitter.add(rtt_s)
        if now - self._recent_since > MIN_RTT_WINDOW_S:
            self._min_older_s, self._min_recent_s, self._recent_since = self._min_recent_s, rtt_s, now
        elif rtt_s < self._min_recent_s:
            self._min_recent_s = rtt_s
        if self.srtt_s == 0.0:
            self.srtt_s, self.rttvar_s = rtt_s, rtt_s / 2
        else:
            self.rttvar_s += (abs(self.srtt_s - rtt_s) - self.rttvar_s) / 4
            self.srtt_s += (rtt_s - self.srtt_s) / 8
        self.rto_s = max(RTO_MIN_S, self.srtt_s + 4 * self.rttvar_s)


class Rack:
    """What RACK remembers: the most recently sent packet that was delivered, and how much reordering to allow for."""

    __slots__ = (
        "_end",
        "_in_recovery",
        "_multiplier",
        "_persist",
        "_rtt",
        "_sent_at",
        "_widened_at",
        "reordering_seen",
        "rtt_s",
    )

    def __init__(self, rtt: RttEstimator) -> None:
        self._rtt = rtt
        self._sent_at = -1.0
        self._end = 0
        self._multiplier = 1
        self._persist = 0
        self._widened_at = -1.0
        self._in_recovery = False
        self.reordering_seen = False
        self.rtt_s = 0.0

    def on_delivered(
        self, now: float, sent_at: float, end_tsn: int, *, retransmitted: bool, was_hidden: bool = False
    ) -> None:
        """Something sent at `sent_at`, up to `end_tsn`, was newly acknowledged. `was_hidden`: perhaps long after it
        arrived, so that its age is no round trip."""
        rtt_s = now - sent_at
        if retransmitted and rtt_s < self._rtt.min_rtt_s:
            return  # the ack is of an earlier transmission (RFC 8985 section 6.2 step 2)
        if not was_hidden or not self.rtt_s:
            self.rtt_s = rtt_s
        if (sent_at, end_tsn) > (self._sent_at, self._end):
            self._sent_at, self._end = sent_at, end_tsn

    def was_sent_before(self, sent_at: float, first_tsn: int) -> bool:
        """Whether a packet was sent before the most recently sent of those delivered."""
        return sent_at < self._sent_at or (sent_at == self._sent_at and first_tsn < self._end)

    def on_duplicates(self, now: float) -> None:
        """The peer reported duplicate TSNs: a retransmission was needless. Once a round trip widens the window."""
        if now - self._widened_at >= self._rtt.srtt_s:
            self._widened_at = now
            self._multiplier += 1
            self._persist = REORDER_PERSISTENCE

    def set_recovery(self, in_recovery: bool) -> None:
        """Whether retransmissions are outstanding. Each recovery ended without duplicates narrows the window."""
        if self._in_recovery and not in_recovery and self._persist:
            self._persist -= 1
            if self._persist == 0:
                self._multiplier = 1
        self._in_recovery = in_recovery

    def reorder_window_s(self, *, duplicate_threshold: bool) -> float:
        """How long after "should have arrived" a packet is still waited for."""
        if not self.reordering_seen and (self._in_recovery or duplicate_threshold):
            return 0.0
        return min(self._multiplier * self._rtt.min_rtt_s / 4, self._rtt.srtt_s)
