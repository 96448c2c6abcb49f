"""Telling a path that has become longer (another route, Wi-Fi to mobile) from a queue that others keep full.

Both raise every round trip, and BBR believes a minimum for ten seconds. Meanwhile its window of two BDPs, of the old
round trip, starves a path that has become much longer. What tells the two apart is the round trip whenever our share
of the queue is gone: a queue of others moves, a longer path stays the same. Where that errs (a very long queue moves
slowly), we take a share of it, and the next time ours is drained shows a shorter round trip, which is believed at once.
"""

from __future__ import annotations

from tallow_cli.dataplane.congestion.bbr_model import MIN_RTT_WINDOW_S, PathModel

# Round trips that differ by less are the same.
SAME_RTT = 0.03
# A higher minimum found by ProbeRTT beside company is probably theirs. Found so many more times, it is the path's.
SAME_RTTS = 2
# A round trip so many times the minimum starves a window of two BDPs: finding it twice is enough.
LONGER_PATH = 2.5


class LongerPath:
    """Driver: at the end of ProbeRTT `is_found_by_probing`; then, and whenever our share of the queue was drained,
    `is_found_by_draining`. Both look at the model's last round."""

    def __init__(self, model: PathModel) -> None:
        self._model = model
        self._probed_rtt_s = 0.0
        self._same_rtts = 0
        self._drained_rtt_s = 0.0

    def is_found_by_probing(self, now: float, *, in_company: bool) -> bool:
        """Whether what ProbeRTT found is the minimum now, although it is more than the one known."""
        model = self._model
        found_s, previous_s = model.round_min_rtt_s, self._probed_rtt_s
        self._probed_rtt_s = found_s
        self._same_rtts = self._same_rtts + 1 if abs(found_s - previous_s) <= SAME_RTT * found_s else 0
        is_stale = now > model.min_rtt_at + MIN_RTT_WINDOW_S
        return self._same_rtts >= SAME_RTTS or (is_stale and not in_company)

    def is_found_by_draining(self) -> bool:
        """Whether the path has become so much longer that all else about it is to be learnt anew."""
        model = self._model
        found_s, previous_s = model.round_min_rtt_s, self._drained_rtt_s
        if found_s == float("inf"):
            return False
        self._drained_rtt_s = found_s
        is_same = abs(found_s - previous_s) <= SAME_RTT * found_s
        return is_same and found_s >= LONGER_PATH * model.min_rtt_s > 0.0
