"""Sharing a queue: how BBR finds out that it is not alone, and what it does then.

BBR alone keeps the queue short. Beside a sender that fills the queue until it overflows (CUBIC, Reno) plain BBR
either takes nearly everything (short queues) or nearly nothing (long ones). So, as Copa does, change the manner with
the company: while somebody else's queue stands, our window is one that grows and falls as CUBIC's does.
"""

from __future__ import annotations

from tallow_cli.dataplane.congestion.bbr_model import QUEUE_FLOOR_S, PathModel
from tallow_cli.dataplane.congestion.controller import AckSample, ControllerConfig
from tallow_cli.dataplane.congestion.cubic import CUBIC_BETA, Cubic

# A queue stands if it does so for this many rounds in a row.
STANDING_ROUNDS = 3
# … or, if the path gives much less meanwhile, for this many. One round may be a scheduler's whim.
SLOWER_ROUNDS = 2
# In company less loss means congestion than alone: the others answer a single one.
COMPANY_LOSS = 0.005
# We are alone again when for so many rounds the queue was no longer than this share of the round trip …
EMPTY_QUEUE = 0.1
ALONE_ROUNDS = 10
# … or when it empties as we stop feeding it. Asked soon, since a path that became slower looks like company for a
# moment, and ever more rarely if company comes back each time: asking costs us our share.
FIRST_TEST_S = 0.5
LAST_TEST_S = 8.0
# The bandwidth filter, which probing cycles age otherwise.
FILTER_ROUNDS = 10


class Company:
    """Watches the queue during CRUISE. Driver: `watch` at the end of each of its rounds, `on_ack` for every sample."""

    def __init__(self, config: ControllerConfig, model: PathModel) -> None:
        self._config = config
        self._model = model
        self._window: Cubic | None = None
        self._standing_rounds = 0
        self._empty_rounds = 0
        self._has_drained = False
        self._share_bytes = 0
        self._test_at = 0.0
        self._test_interval_s = FIRST_TEST_S
        self._aged_round = 0

    @property
    def is_here(self) -> bool:
        return self._window is not None

    @property
    def window_bytes(self) -> float:
        """Our window in company; infinite when we are alone."""
        return float("inf") if self._window is None else self._window.cwnd_bytes

    def is_test_due(self, now: float) -> bool:
        """Whether to stop feeding the queue for a while and then say `on_test`."""
        return self._window is not None and now >= self._test_at

    def on_test(self, now: float) -> None:
        """The round that just ended had next to nothing of ours in the queue."""
        if self._window is not None:
            if not self._model.has_standing_queue:
                self.leave()
            self._test_interval_s = min(2 * self._test_interval_s, LAST_TEST_S)
        self._test_at = now + self._test_interval_s

    def on_probe(self) -> None:
        """A probe for bandwidth begins. If the queue is gone, what was learnt about it is out of date."""
        if not self._model.has_standing_queue:
            self._standing_rounds = 0
            self._has_drained = False

    def watch(self, now: float, *, is_slower: bool) -> bool:
        """Look at the round that just ended; True if the queue is to be drained now.

        A queue that stands while we cruise at the path's rate, or while the path gives less than that (`is_slower`),
        is not ours: the path became slower, or has company. Draining our share once tells: if the queue stands
        again before the next probe, it is company.
        """
        model = self._model
        if self._window is not None or model.round_is_app_limited:
            return False
        self._standing_rounds = self._standing_rounds + 1 if model.has_standing_queue else 0
        if self._standing_rounds < (SLOWER_ROUNDS if is_slower else STANDING_ROUNDS):
            return False
        self._standing_rounds = 0
        if not self._has_drained:
            self._has_drained = True
            self._share_bytes = model.round_inflight_bytes
            return True
        self._window = Cubic(self._config)
        # Draining gave our share away: take it back as after a loss.
        share_bytes = max(self._share_bytes, model.round_inflight_bytes)
        self._window.start_from(max(CUBIC_BETA * share_bytes, model.round_inflight_bytes), share_bytes)
        self._empty_rounds = 0
        alone_s = now - self._test_at
        if alone_s > LAST_TEST_S:
            self._test_interval_s = FIRST_TEST_S
        self._test_at = now + self._test_interval_s
        return False

    def on_ack(self, sample: AckSample) -> None:
        """Keep the window, if there is one, as CUBIC would."""
        window, model = self._window, self._model
        if window is None:
            return
        window.grow(sample)
        if not model.round_ended:
            return
        if model.round_count >= self._aged_round + FILTER_ROUNDS:
            self._aged_round = model.round_count
            model.start_probing_cycle()
        if model.has_standing_queue and model.has_loss_beyond(COMPANY_LOSS):
            window.shrink(sample.now)
        if model.queue_s > EMPTY_QUEUE * model.min_rtt_s + QUEUE_FLOOR_S:
            self._empty_rounds = 0
            return
        self._empty_rounds += 1
        if self._empty_rounds >= ALONE_ROUNDS:
            self.leave()

    def leave(self) -> None:
        """Nobody else is here, or it is to be found out anew."""
        self._window = None
        self._standing_rounds = 0
        self._has_drained = False

    def set_mtu(self, mtu_bytes: int) -> None:
        if self._window is not None:
            self._window.set_mtu(mtu_bytes)
