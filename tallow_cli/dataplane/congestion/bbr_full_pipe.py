"""When BBR's STARTUP has filled the pipe: the rate does not grow any more, or what grows is loss."""

from __future__ import annotations

from tallow_cli.dataplane.congestion.bbr_model import QUEUE_FLOOR_S, PathModel
from tallow_cli.dataplane.congestion.controller import BytesPerSecond

# The pipe is full when three rounds in a row did not raise the rate by a quarter …
FULL_GROWTH = 1.25
FULL_ROUNDS = 3
# … or one, if by then the queue holds as much as half the pipe.
FULL_QUEUE = 0.5


class FullPipe:
    """Driver: `check` at the end of each round of STARTUP; `start_again` when that begins anew."""

    def __init__(self, model: PathModel) -> None:
        self._model = model
        self._full_rate: BytesPerSecond = 0.0
        self._flat_rounds = 0

    def check(self, beta: float) -> bool:
        """Whether it is full. Excess loss bounds what may be in flight to `beta` of what was."""
        model = self._model
        # While the rate doubles, a round begins without a queue and ends with one: look at its end.
        has_queue = model.latest_queue_s > max(FULL_QUEUE * model.min_rtt_s, QUEUE_FLOOR_S)
        if model.has_excess_loss and (has_queue or model.is_congested):
            model.inflight_hi_bytes = max(model.bdp_bytes, model.round_inflight_bytes * beta)
            return True
        if model.round_is_app_limited:
            # An application that sends little learns nothing of the pipe, not even by a queue: that is of others, or
            # of our own data the other way, which its ACKs wait behind. Taken for a full pipe, it held a receiver's
            # ACKs to the rate they had had until then, and they came seconds late.
            return False
        if not has_queue:
            model.learn_baseline_loss()
        if model.max_bandwidth >= self._full_rate * FULL_GROWTH:
            self._full_rate = model.max_bandwidth
            self._flat_rounds = 0
            return False
        self._flat_rounds += 1
        return self._flat_rounds >= (1 if has_queue else FULL_ROUNDS)

    def start_again(self) -> None:
        self._full_rate = 0.0
        self._flat_rounds = 0
