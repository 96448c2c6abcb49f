"""Sharing a queue: how BBR finds out that it is not alone, and what it does then.

BBR alone keeps the queue short. Beside a sender that fills the queue until it overflows (CUBIC, Reno) plain BBR
either takes nearly everything (short queues) or nearly nothing (long ones). So, as Copa does, change the manner with
the company: while somebody else's queue stands, our window is bounded by one that grows and falls as CUBIC's does.
"""

from __future__ import annotations

from tallow_cli.dataplane.bbr_model import QUEUE_FLOOR_S, PathModel
from tallow_cli.dataplane.congestion import AckSample, ControllerConfig
from tallow_cli.dataplane.cubic import Cubic

# A queue stands if it does so for this many rounds in a row.
STANDING_ROUNDS = 2
# In company less loss means congestion than alone: the others answer a single one.
COMPANY_LOSS = 0.005
# We are alone again when for so many rounds the queue was no longer than this share of the round trip.
EMPTY_QUEUE = 0.1
ALONE_ROUNDS = 10


class Company:
    """Watches the queue during CRUISE. Driver: `watch` at the end of each of its rounds, `on_ack` for every sample."""

    def __init__(self, config: ControllerConfig, model: PathModel) -> None:
        self._config = config
        self._model = model
        self._window: Cubic | None = None
        self._standing_rounds = 0
        self._empty_rounds = 0
        self._has_drained = False

    @property
    def is_here(self) -> bool:
        return self._window is not None

    @property
    def window_bytes(self) -> float:
        """The bound on our window; infinite when we are alone."""
        return float("inf") if self._window is None else self._window.cwnd_bytes

    def on_probe(self) -> None:
        """A probe for bandwidth begins: what was learnt about the queue is out of date."""
        self._standing_rounds = 0
        self._has_drained = False

    def watch(self) -> bool:
        """Look at the round of CRUISE that just ended; True if the queue is to be drained now.

        A queue that stands while we pace at the path's rate is not ours: the path became slower, or has company.
        Draining our share once tells: if the queue comes back before the next probe, it is company.
        """
        model = self._model
        if self._window is not None:
            return False
        self._standing_rounds = self._standing_rounds + 1 if model.has_standing_queue else 0
        if self._standing_rounds < STANDING_ROUNDS or model.round_is_app_limited:
            return False
        self._standing_rounds = 0
        if not self._has_drained:
            self._has_drained = True
            return True
        self._window = Cubic(self._config)
        self._window.start_from(model.round_inflight_bytes)
        self._empty_rounds = 0
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
