"""Why the sender's scheduler was stopped: what each end was at meanwhile, and what the path is like, tell it.

Whatever the scheduler was stopped for, a disk or a pipe counts only as far as its thread was blocked: what the thread
needed of a core is the processor's. A robbed core slows everything that an end does, the answers to packets too, so the
processors are looked at before the network is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tallow_cli.measure.causes import Cause, Stop

# One thread that needs this much of a core has nothing left to give; the rest is the sampling's.
FULL_CORE: Final = 0.85
# A thread that had to wait for a core for so much of the time, and longer than it got one, was robbed: it is late with
# every answer, though it may not need all of a core.
ROBBED: Final = 0.4
ROBBED_PART: Final = 1.0
# A thread that was blocked for less than this is not what was waited for.
BLOCKED: Final = 0.3
# Beyond this the congestion controllers begin to lose rate to loss; a path that merely is full loses less than it.
LOSSY: Final = 0.03
# Below this a window is not full because of the distance.
LONG_RTT_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class EndUse:
    """What one end was at lately, as shares of that time (0-1).

    `core`: of the busier of its two threads, on a core; `robbed`: of the one that waited more, ready and without a
    core. `blocked`: for each of its own causes (disk, pipe, memory, verifying), how long that had a thread blocked.
    """

    core: float = 0.0
    robbed: float = 0.0
    blocked: Mapping[Cause, float] = field(default_factory=dict)

    @property
    def is_short_of_cpu(self) -> bool:
        is_full = self.core + self.robbed >= FULL_CORE
        return is_full or (self.robbed >= ROBBED and self.robbed >= ROBBED_PART * self.core)

    @property
    def cpu_need(self) -> float:
        return self.core + self.robbed

    def blocked_by(self, *causes: Cause) -> Cause | None:
        """The one of these that blocked it most, if it did for long enough."""
        share, cause = max(
            ((self.blocked.get(cause, 0.0), cause) for cause in causes), key=lambda one: one[0]
        )
        return cause if share >= BLOCKED else None


@dataclass(frozen=True, slots=True)
class PathState:
    """What the sender knows of the path; None is unknown."""

    rtt_s: float | None = None
    loss: float | None = None  # of the packets lately sent, without what overfilling it cost
    is_growing: bool = False  # the congestion controller has not found out yet how much it carries
    is_relayed: bool = False


def causes_of(
    stopped: Mapping[Stop, float],
    here: EndUse,
    there: EndUse | None,
    path: PathState,
    *,
    source: Cause = Cause.SENDER_DISK,
) -> dict[Cause, float]:
    """The seconds of each stop, as seconds of causes: their sums are the same.

    `here` is the sender, `there` the receiver as it reported itself last (None: not yet); `source` is what data is read
    from.
    """
    view = _View(here, there or EndUse(), path, source)
    seconds: dict[Cause, float] = {}
    for stop, spent_s in stopped.items():
        cause = view.cause_of(stop)
        seconds[cause] = seconds.get(cause, 0.0) + spent_s
    return seconds


@dataclass(frozen=True, slots=True)
class _View:
    here: EndUse
    there: EndUse
    path: PathState
    source: Cause

    def cause_of(self, stop: Stop) -> Cause:
        match stop:
            case Stop.LIMIT:
                return Cause.SENDER_LIMIT
            case Stop.NOT_STOPPED:
                return self._memory() or self._cpu() or Cause.SENDER_CPU
            case Stop.DATA:
                return self._reading()
            case Stop.CREDIT:
                return self._receiver() or self._window()
            case Stop.ALL_ACKNOWLEDGED:
                return self._completing()
            case Stop.QUEUE | Stop.ALL_SENT:
                return self._memory() or self._cpu() or self._network()
            case Stop.IN_FLIGHT | Stop.PAUSED:
                return self._memory() or self._cpu() or self._window()

    def _memory(self) -> Cause | None:
        return self.here.blocked_by(Cause.MEMORY) or self.there.blocked_by(Cause.MEMORY)

    def _cpu(self) -> Cause | None:
        """The processor that is short. Of two, the one that was waited for longer: a full core is slow, one that others
        have is slower."""
        short = [
            (end.cpu_need + end.robbed, cause)
            for end, cause in ((self.here, Cause.SENDER_CPU), (self.there, Cause.RECEIVER_CPU))
            if end.is_short_of_cpu
        ]
        return max(short, key=lambda one: one[0])[1] if short else None

    def _reading(self) -> Cause:
        if self.here.blocked_by(self.source):
            return self._memory() or self.source
        return Cause.SENDER_CPU if self.here.is_short_of_cpu else self.source

    def _receiver(self) -> Cause | None:
        if memory := self.there.blocked_by(Cause.MEMORY):
            return memory
        slow = self.there.blocked_by(Cause.RECEIVER_OUTPUT, Cause.RECEIVER_DISK)
        if slow is not None:
            return slow
        if self.there.is_short_of_cpu:
            return Cause.RECEIVER_CPU
        # While more is to come, verifying, syncing and naming files is the disk's work.
        return Cause.RECEIVER_DISK if self.there.blocked_by(Cause.VERIFYING) else None

    def _completing(self) -> Cause:
        at = self.there.blocked_by(Cause.VERIFYING, Cause.RECEIVER_OUTPUT, Cause.RECEIVER_DISK)
        if at is not None:
            return at
        if self.here.blocked_by(self.source):  # digests of what is read for them alone
            return self.source
        return self._cpu() or Cause.VERIFYING

    def _window(self) -> Cause:
        """All that may be on its way is, and the ends keep up."""
        is_long = self.path.rtt_s is not None and self.path.rtt_s >= LONG_RTT_S
        return Cause.NETWORK_DELAY if is_long else Cause.BUFFERS

    def _network(self) -> Cause:
        path = self.path
        if path.loss is not None and path.loss >= LOSSY:
            return Cause.NETWORK_LOSS
        if path.is_growing:
            return self._window() if self._window() is Cause.NETWORK_DELAY else Cause.NETWORK_CAPACITY
        return Cause.RELAY if path.is_relayed else Cause.NETWORK_CAPACITY
