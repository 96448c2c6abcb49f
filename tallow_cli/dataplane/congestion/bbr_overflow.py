"""How long the queue is before it overflows: what BBR remembers, so that not every probe has to lose packets."""

from __future__ import annotations

from tallow_cli.dataplane.congestion.bbr_model import PathModel

# How the bound on what is in flight rises in UP: slowly at first, since shallow queues overflow by as much.
BOUND_STEP = 0.02
BOUND_STEP_MAX = 0.25
# A probe ends when the queue is this share of what overflowed last; the memory fades, so that about every eighth
# probe asks again how long the queue is.
TURN_BACK_SHARE = 0.8
FADING = 1.03
# No queue is taken to be shorter than this: the losses were the path's own, and a probe must get off the ground.
SHORTEST_RTTS = 0.15


class Overflow:
    """Driver: `start_probe`, `watch` for every sample of a probe and of its feedback, `remember` when it lost."""

    def __init__(self, model: PathModel, granularity_s: float) -> None:
        self._model = model
        self._granularity_s = granularity_s
        self._queue_s = float("inf")
        self._peak_queue_s = 0.0
        self._bound_step = BOUND_STEP

    @property
    def turn_back_s(self) -> float:
        """The queue at which a probe should end; infinite if none ever overflowed."""
        return TURN_BACK_SHARE * self._queue_s

    def start_probe(self) -> None:
        self._bound_step = BOUND_STEP
        self._queue_s *= FADING
        self._peak_queue_s = 0.0

    def watch(self) -> None:
        self._peak_queue_s = max(self._peak_queue_s, self._model.latest_queue_s)

    def remember(self) -> None:
        """The probe lost packets: no more fits into the path than what it held for those who got through."""
        model = self._model
        self._queue_s = max(self._peak_queue_s, SHORTEST_RTTS * model.min_rtt_s, self._granularity_s)
        held = model.bandwidth * (model.min_rtt_s + self._queue_s)
        model.inflight_hi_bytes = max(model.bdp_bytes, min(model.inflight_hi_bytes, held))

    def raise_bound(self) -> None:
        """A round at the bound did no harm: ask for more, and for twice as much more after the next."""
        self._model.inflight_hi_bytes *= 1.0 + self._bound_step
        self._bound_step = min(2.0 * self._bound_step, BOUND_STEP_MAX)
