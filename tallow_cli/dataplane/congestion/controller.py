"""Congestion control: how many bytes may be in flight, how fast they may leave, and in what gulps.

This module is the seam: `CongestionController` is what the association talks to, `AckSample` is what it says.
`registry` finds an algorithm by its name.

Driver contract (the association keeps it; a controller keeps no clock and no per-packet state)
    1. Sending one *run* (the packets of one send call, counted together; `inflight_bytes` excludes this run):
           stamp = estimator.on_sent(now, size_bytes, inflight_bytes)  # delivery_rate.py; keep it by the run
           controller.on_sent(now, size_bytes, inflight_bytes)
           pacer.on_sent(now, size_bytes)                              # pacing.py
       Send only while `inflight_bytes < controller.cwnd_bytes` and the pacer allows. The last run may
       overshoot the window by less than one packet. Probes (tail loss, path MTU) may exceed both.
       Out of data, or the peer's window shut, with room left in the window: `estimator.mark_app_limited`.
    2. Receiving: gather *everything* that one wake-up of the socket acknowledged, then, once:
           estimator.on_acked(stamp, acked_bytes)                      # per run touched
           estimator.on_lost(stamp, lost_bytes)                        # per run with losses
           sample = estimator.finish(now, inflight_bytes, rtt_s)
           controller.on_ack(sample)
       A sample may report losses with no acknowledgement (a RACK timer fired): it goes to `on_ack` as well.
    3. T3 / RTO: everything outstanding is now lost. `controller.on_rto(now)` instead of `on_ack`.
    4. After every call above: `pacer.set_rate(controller.pacing_rate, controller.send_quantum_bytes)`.
    5. When the path MTU changes: `controller.set_mtu(mtu_bytes)`.

Bytes are counted alike everywhere (user data with or without headers, as long as it is always the same);
rates are in bytes per second; times are seconds of one monotonic clock, handed in as `now`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

BytesPerSecond = float

# RFC 6928 and RFC 9002 section 7.2: ten packets. dcSCTP and libdatachannel start with ten as well.
INITIAL_WINDOW_PACKETS = 10
# BBR draft, 4.6.4: a sender that stops acknowledging in pairs needs four packets to keep an ACK clock at all.
MIN_WINDOW_PACKETS = 4
# One UDP_SEGMENT call carries at most 64 segments and 65,507 bytes (Linux UDP_MAX_SEGMENTS).
DEFAULT_MAX_QUANTUM_BYTES = 64 * 1024


def _middle() -> float:
    return 0.5


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """What a controller is told once.

    `mtu_bytes`: bytes one packet adds to `inflight_bytes`. `initial_rtt_s`: the handshake's RTT if known.
    `max_quantum_bytes`: the largest burst the receiver's socket buffer and our GSO can take.
    `timer_granularity_s`: how late a peer or our own timer may wake; an asyncio loop on epoll is good to
    about 1 ms.
    `uniform`: a source of numbers in [0, 1), so that flows do not probe in step.
    """

    mtu_bytes: int = 1200
    initial_rtt_s: float | None = None
    max_quantum_bytes: int = DEFAULT_MAX_QUANTUM_BYTES
    timer_granularity_s: float = 0.001
    uniform: Callable[[], float] = _middle


@dataclass(slots=True)
class AckSample:
    """What one wake-up learnt from the peer's SACKs: made by `DeliveryRateEstimator.finish`.

    `acked_bytes`: newly acknowledged, each byte once (late acknowledgements of bytes given up as lost
    included).
    `lost_bytes`, `lost_ranges`: newly declared lost, and in how many separate holes (one burst is one hole).
    `lost_sent_at`: when the latest of the lost bytes was sent, so that one loss event is answered once.
    `spurious_bytes`: of `acked_bytes`, those that an earlier sample called lost.
    `inflight_bytes`: outstanding after this sample. `prior_inflight_bytes`: before it.
    `delivered_bytes`: acknowledged since the association began, this sample included.
    `prior_delivered_bytes`: the same count when the newest acknowledged run was sent; starts and ends rounds.
    `rtt_s`: round trip of the newest acknowledged packet, None if ambiguous or nothing was acknowledged.
    `delivery_rate`: bytes per second over the interval, 0.0 if the interval is too short to believe.
    `interval_s`: the interval, 0.0 if there is no rate.
    `is_app_limited`: the run behind the rate was sent while the application or the peer's window, not the
    congestion window, held us back: such a rate says what was asked, not what the path can do.
    `lost_since_sent_bytes`: declared lost between the sending of that run and now (loss rate over its
    flight).
    `sent_inflight_bytes`: outstanding when that run was sent, the run included.
    `late_lost_bytes`: of `lost_bytes`, those that were lost long before it could be known (a peer that reports few
    gap blocks): `lost_sent_at` tells whether they have been answered already.
    `is_unsure`: since that run was sent the peer acknowledged things it may have had for long, so that there is no
    rate, and `acked_bytes` says nothing about when they arrived.
    """

    now: float
    acked_bytes: int = 0
    lost_bytes: int = 0
    lost_ranges: int = 0
    lost_sent_at: float = -1.0
    spurious_bytes: int = 0
    inflight_bytes: int = 0
    prior_inflight_bytes: int = 0
    delivered_bytes: int = 0
    prior_delivered_bytes: int = 0
    rtt_s: float | None = None
    delivery_rate: BytesPerSecond = 0.0
    interval_s: float = 0.0
    is_app_limited: bool = False
    lost_since_sent_bytes: int = 0
    sent_inflight_bytes: int = 0
    late_lost_bytes: int = 0
    is_unsure: bool = False


class CongestionController(ABC):
    """One algorithm, for one path. The module's docstring says who calls what, when."""

    name: str = ""

    def __init__(self, config: ControllerConfig) -> None:
        self.mtu_bytes = config.mtu_bytes

    @property
    @abstractmethod
    def cwnd_bytes(self) -> int:
        """The most bytes that may be in flight. At least one packet."""

    @property
    @abstractmethod
    def pacing_rate(self) -> BytesPerSecond:
        """How fast to send, in bytes per second. Always above zero."""

    @property
    @abstractmethod
    def send_quantum_bytes(self) -> int:
        """How much to send at one go. At least one packet, at most `ControllerConfig.max_quantum_bytes`."""

    @property
    @abstractmethod
    def state(self) -> str:
        """What the algorithm is doing, in the words of its own paper; for logs and tests only."""

    @property
    def is_growing(self) -> bool:
        """Whether it is still finding out how much the path carries; then round trips set the pace."""
        return False

    @property
    def path_loss(self) -> float | None:
        """What of the packets the path loses however little is sent; None from an algorithm that does not ask."""
        return None

    @abstractmethod
    def on_sent(self, now: float, size_bytes: int, inflight_bytes: int) -> None:
        """A run of `size_bytes` leaves; `inflight_bytes` were outstanding before it.

        With `inflight_bytes == 0` this is also how a controller learns that sending restarts after silence.
        """

    @abstractmethod
    def on_ack(self, sample: AckSample) -> None:
        """Bytes were acknowledged, or declared lost, or both. Once per wake-up, never per packet."""

    @abstractmethod
    def on_rto(self, now: float) -> None:
        """The retransmission timer fired: all that was outstanding is counted as lost, nothing is in
        flight."""

    def set_mtu(self, mtu_bytes: int) -> None:
        """The path's packet size changed (RFC 8899). Windows keep their size in bytes."""
        self.mtu_bytes = mtu_bytes
