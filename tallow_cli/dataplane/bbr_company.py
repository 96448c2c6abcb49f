"""Sharing a queue: how BBR finds out that it is not alone, and what it does then.

BBR alone keeps the queue short. Beside a sender that fills the queue until it overflows (CUBIC, Reno) plain BBR
either takes nearly everything (short queues) or nearly nothing (long ones). So, as Copa does, change the manner with
the company: while somebody else's queue stands, our window is one that grows and falls as CUBIC's does.
"""

from __future__ import annotations

from tallow_cli.dataplane.bbr_model import QUEUE_FLOOR_S, PathModel
from tallow_cli.dataplane.congestion import AckSample, ControllerConfig
from tallow_cli.dataplane.cubic import Cubic

# A queue stands if it does so for this many rounds in a row.
STANDING_ROUNDS = 2
# In company less loss means congestion than alone: the others answer a single one.
COMPANY_LOSS = 0.005
# We are alone again when for so many rounds the queue was no longer than this share of the round trip …
EMPTY_QUEUE = 0.1
ALONE_ROUNDS = 10
# … or when it empties as we stop feeding it. Asked so often, lest we fill a deep queue alone.
TEST_INTERVAL_S = 5.0


class Company:
    """Watches the queue during CRUISE. Driver: `watch` at the end of each of its rounds, `on_ack` for every sample."""

    def __init__(self, config: ControllerConfig, model: PathModel) -> None:
        self._config = config
        self._model = model
        self._window: Cubic | None = None
        self._standing_rounds = 0
        self._empty_rounds = 0
        self._has_drained = False
        self._tested_at = 0.0

    @property
    def is_here(self) -> bool:
        return self._window is not None

    @property
    def window_bytes(self) -> float:
        """Our window in company; infinite when we are alone."""
        return float("inf") if self._window is None else self._window.cwnd_bytes

    def is_test_due(self, now: float) -> bool:
        """Whether to stop feeding the queue for a while and then say `on_test`."""
        return self._window is not None and now >= self._tested_at + TEST_INTERVAL_S

    def on_test(self, now: float) -> None:
        """The round that just ended had next to nothing of ours in the queue."""
        self._tested_at = now
        if not self._model.has_standing_queue:
            self._window = None

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
        if not is_slower and self._standing_rounds < STANDING_ROUNDS:
            return False
        self._standing_rounds = 0
        if not self._has_drained:
            self._has_drained = True
            return True
        self._window = Cubic(self._config)
        self._window.start_from(model.round_inflight_bytes)
        self._empty_rounds = 0
        self._tested_at = now
        return False

    def on_ack(self, sample: AckSample) -> None:
        """Keep the window, if there is one, as CUBIC would."""
        window, model = self._window, self._model
        if window is None:
            return
        window.grow(sample)
        if not model.round_ended:
            return
        if model.has_loss_beyond(COMPANY_LOSS):
            window.shrink(sample.now)
        if model.queue_s > EMPTY_QUEUE * model.min_rtt_s + QUEUE_FLOOR_S:
            self._empty_rounds = 0
            return
        self._empty_rounds += 1
        if self._empty_rounds >= ALONE_ROUNDS:
            self._window = None

    def set_mtu(self, mtu_bytes: int) -> None:
        if self._window is not None:
            self._window.set_mtu(mtu_bytes)
