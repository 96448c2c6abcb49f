"""Recovery and congestion control as events of a trace, found by looking at an association once per wake-up.

Nothing in the paths that packets take knows of it: what changed since the last look is told, so that a trace costs
nothing where there is none, and the same few comparisons a wake-up where there is one.
"""

from __future__ import annotations

from tallow_cli.dataplane.pathmtu import PathMtu
from tallow_cli.dataplane.sender import Sender
from tallow_cli.tracing import METRICS_INTERVAL_S, Trace, milliseconds


class RecoveryTrace:
    """Looks at `sender` and `path_mtu`, and tells `trace` what is new."""

    def __init__(self, trace: Trace, sender: Sender, path_mtu: PathMtu) -> None:
        self._trace = trace
        self._sender = sender
        self._path_mtu = path_mtu
        self._packet_bytes = 0  # none told yet
        self._state = ""
        self._lost = 0
        self._timeouts = 0
        self._metrics: dict[str, object] = {}
        self._metrics_due_at = 0.0

    def look(self, now: float) -> None:
        """After SACKs were taken in or timers ran."""
        sender = self._sender
        if not self._packet_bytes:
            self._tell_parameters(now)
        elif self._path_mtu.current_bytes != self._packet_bytes:
            old, self._packet_bytes = self._packet_bytes, self._path_mtu.current_bytes
            self._trace(now, "connectivity:mtu_updated", {"old": old, "new": self._packet_bytes})
        if sender.timeouts != self._timeouts:
            self._timeouts = sender.timeouts
            self._trace(now, "recovery:loss_timer_updated", {"event_type": "expired", "timer_type": "t3"})
        lost = sender.window.lost_packets
        if lost != self._lost:
            self._trace(now, "recovery:packet_lost", {"packets": lost - self._lost, "total": lost})
            self._lost = lost
        state = sender.controller.state
        has_moved = state != self._state
        if has_moved:
            self._trace(now, "recovery:congestion_state_updated", {"old": self._state, "new": state})
            self._state = state
        if now >= self._metrics_due_at or has_moved:
            self._tell_metrics(now)

    def _tell_parameters(self, now: float) -> None:
        controller = self._sender.controller
        self._packet_bytes = self._path_mtu.current_bytes
        self._state = controller.state
        self._trace(
            now,
            "recovery:parameters_set",
            {
                "congestion_control": controller.name,
                "congestion_state": self._state,
                "initial_congestion_window": controller.cwnd_bytes,
                "max_datagram_size": self._packet_bytes,
            },
        )

    def _tell_metrics(self, now: float) -> None:
        sender = self._sender
        metrics: dict[str, object] = {
            "min_rtt": milliseconds(sender.rtt.min_rtt_s),
            "smoothed_rtt": milliseconds(sender.rtt.srtt_s),
            "latest_rtt": milliseconds(sender.rtt.latest_s),
            "rtt_variance": milliseconds(sender.rtt.rttvar_s),
            "congestion_window": sender.controller.cwnd_bytes,
            "bytes_in_flight": sender.window.inflight_bytes,
            "pacing_rate": round(sender.controller.pacing_rate * 8),
            "packets_sent": sender.sent_packets,
            "packets_resent": sender.resent_packets,
            "bytes_queued": sender.queue.total_bytes,
        }
        if metrics != self._metrics:
            self._metrics = metrics
            self._trace(now, "recovery:metrics_updated", metrics)
        self._metrics_due_at = now + METRICS_INTERVAL_S
