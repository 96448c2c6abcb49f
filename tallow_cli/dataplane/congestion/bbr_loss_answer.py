"""BBR's answer to loss beyond what the path loses anyway, and how "anyway" is learnt: by sending less."""

from __future__ import annotations

from tallow_cli.dataplane.congestion.bbr_model import PathModel

# Losses are reported a round trip and a quarter after the sending: for so long they are the answer to what was before.
FEEDBACK_ROUNDS = 2
# If sending less leaves more than this share of the loss, the loss is the path's own.
SAME_LOSS = 0.6


class LossAnswer:
    """Driver: `answer` at the end of each round in which nothing is probed."""

    def __init__(self, model: PathModel) -> None:
        self._model = model
        # The loss rate that made us send less, 0.0 if nothing is to be compared; and the round to compare after.
        self._suspect_loss = 0.0
        self._suspect_round = 0

    def answer(self, now: float, cwnd_bytes: float, beta: float) -> None:
        """Send less, `beta` of it, after excess loss; if that does not help, hold the loss for the path's own."""
        model = self._model
        if self._suspect_loss and model.round_count > self._suspect_round and model.has_loss_verdict:
            if model.loss_rate > SAME_LOSS * self._suspect_loss and not model.has_standing_queue:
                model.set_baseline_loss(model.loss_rate)
                model.forget_lower_bound()
            self._suspect_loss = 0.0
        elif model.has_excess_loss and not self._suspect_loss:
            self._suspect_loss = model.loss_rate
            self._suspect_round = model.round_count + FEEDBACK_ROUNDS
            model.lower_bandwidth(beta)
            model.answered_at = now
            if model.is_congested:
                most = min(model.inflight_hi_bytes, cwnd_bytes)
                model.inflight_hi_bytes = max(model.bdp_bytes, most * beta)

    def forget(self) -> None:
        """Nothing is compared any more: the path is another."""
        self._suspect_loss = 0.0
