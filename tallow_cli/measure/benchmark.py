"""What a transfer measured: throughput, RTT, jitter, loss, and what they mean.

Driver contract (sans-IO): call `TransferBenchmark.observe(now, total_bytes, …)` whenever there is news,
several times per `sample_interval`; call `finish(now, total_bytes)` once at the end; read `snapshot()` at any
time. `now` is a monotonic clock in seconds; no other clock is known here.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from math import fsum, sqrt

from tallow_cli.measure.quality import Bottleneck, Facts, LimitedBy, judge, quality_score
from tallow_cli.measure.throughput import format_throughput, mbps

__all__ = ["BenchmarkSnapshot", "Bottleneck", "LimitedBy", "TransferBenchmark", "format_throughput"]

DEFAULT_SAMPLE_INTERVAL_S = (
    0.25  # four readings a second: smooth to look at, and a short transfer still has some
)
DEFAULT_WINDOW_SIZE = 120  # samples: with the interval above, the last half minute
DEFAULT_RTT_INTERVAL_S = 0.1

# A last sample shorter than this part of the interval says nothing about the rate: a few packets decide it.
SHORTEST_LAST_SAMPLE = 0.5

# RFC 3550 section 6.4.1: J += (|D| - J) / 16. The first sixteen differences are averaged plainly instead, so
# that the figure does not spend its first seconds climbing from zero.
JITTER_GAIN = 16


@dataclass(frozen=True, slots=True)
class BenchmarkSnapshot:
    """The figures of a transfer so far. RTT, jitter and loss are None where they were not measured (yet)."""

    avg_mbps: float
    peak_mbps: float
    min_mbps: float
    current_mbps: float
    avg_rtt_ms: float | None
    min_rtt_ms: float | None
    max_rtt_ms: float | None
    current_rtt_ms: float | None
    jitter_ms: float | None
    avg_loss: float | None  # fractions of the packets sent, 0-1
    max_loss: float | None
    total_bytes: int  # moved since the beginning
    seconds: float
    sample_count: int
    quality_score: int  # 0-100; 0 while there are no samples
    bottleneck: Bottleneck
    recommendation: str  # what was observed and what to turn, in one or two sentences


class TransferBenchmark:
    """Collects samples of one transfer.

    `sample_interval` (s) is the length of one throughput sample; `window_size` how many of the newest samples
    count for the variation of the rate; `rtt_interval` (s) the least spacing of RTT samples, so that a burst
    of acknowledgements does not outvote a quiet second. `link_mbps` is what the link should carry, where that
    is known (a bench profile); see `measure.quality` for what it changes.
    Raises ValueError for intervals or a window that are not positive.
    """

    def __init__(
        self,
        sample_interval: float = DEFAULT_SAMPLE_INTERVAL_S,
        window_size: int = DEFAULT_WINDOW_SIZE,
        rtt_interval: float = DEFAULT_RTT_INTERVAL_S,
        *,
        link_mbps: float | None = None,
    ) -> None:
        if sample_interval <= 0 or window_size < 1 or rtt_interval < 0:
            raise ValueError("sample_interval and window_size must be positive, rtt_interval not negative")
        self._sample_interval_s = sample_interval
        self._rtt_interval_s = rtt_interval
        self._link_mbps = link_mbps
        self._rates_mbps: deque[float] = deque(maxlen=window_size)
        self._started_at: float | None = None
        self._observed_at = 0.0
        self._held_bytes = 0
        self._total_bytes = 0
        self._sample_started_at = 0.0
        self._sample_start_bytes = 0
        self._sample_count = 0
        self._peak_mbps = 0.0
        self._min_mbps: float | None = None
        self._rtt = _RttStatistics()
        self._loss = _Mean()
        self._max_loss: float | None = None
        self._sample_loss: float | None = None
        self._cpu = _Mean()
        self._memory_fraction: float | None = None
        self._limits: Counter[LimitedBy | None] = Counter()

    def start(self, now: float, total_bytes: int = 0) -> None:
        """Set the beginning of the transfer, and the bytes that were there before it (resumed ones).

        Without it the first `observe` is the beginning.
        """
        self._started_at = self._observed_at = self._sample_started_at = now
        self._held_bytes = self._total_bytes = self._sample_start_bytes = total_bytes

    def observe(
        self,
        now: float,
        total_bytes: int,
        rtt_s: float | None = None,
        loss: float | None = None,
        *,
        cpu_fraction: float | None = None,
        memory_fraction: float | None = None,
        limited_by: LimitedBy | None = None,
    ) -> None:
        """Take in the state at `now`; what is None is unknown.

        `total_bytes` counts what the other side has and never falls; `rtt_s` is the newest round trip;
        `loss` the lost fraction of the packets sent lately (0-1). `cpu_fraction` is what this process needs of a core,
        `memory_fraction` how much of its memory is in use (both 0-1 and may exceed 1), `limited_by` what kept
        the sender from sending more just now.
        """
        if self._started_at is None:
            self.start(now)
        if rtt_s is not None:
            self._rtt.add(now, rtt_s, self._rtt_interval_s)
        if loss is not None:
            self._sample_loss = loss
            self._max_loss = loss if self._max_loss is None else max(self._max_loss, loss)
        if cpu_fraction is not None:
            self._cpu.add(cpu_fraction)
        if memory_fraction is not None:
            self._memory_fraction = memory_fraction
        self._limits[limited_by] += 1
        self._observed_at = now
        self._total_bytes = total_bytes
        if now - self._sample_started_at >= self._sample_interval_s:
            self._close_sample()

    def pass_over(self, seconds: float) -> None:
        """There was no connection for so long: it counts for nothing, as if the clock had stood still."""
        if self._started_at is not None:
            self._started_at += seconds
            self._observed_at += seconds
            self._sample_started_at += seconds

    def finish(self, now: float, total_bytes: int) -> None:
        """Take in the end. The last, shorter sample counts if it is long enough to say something."""
        if self._started_at is None:
            self.start(now)
        self._observed_at = now
        self._total_bytes = total_bytes
        elapsed_s = now - self._sample_started_at
        if elapsed_s >= SHORTEST_LAST_SAMPLE * self._sample_interval_s or (
            self._sample_count == 0 and elapsed_s > 0
        ):
            self._close_sample()

    def snapshot(self) -> BenchmarkSnapshot:
        """Return the figures up to the latest observation."""
        seconds = 0.0 if self._started_at is None else self._observed_at - self._started_at
        moved_bytes = self._total_bytes - self._held_bytes
        avg_mbps = mbps(moved_bytes, seconds)
        facts = Facts(
            mbps=avg_mbps,
            rtt_ms=self._rtt.avg_ms,
            jitter_ms=self._rtt.jitter_ms,
            loss=self._avg_loss(),
            min_rtt_ms=self._rtt.min_ms,
            variation=self._variation(),
            sample_count=self._sample_count,
            cpu_fraction=self._cpu.mean,
            memory_fraction=self._memory_fraction,
            limited_by=self._mostly_limited_by(),
            link_mbps=self._link_mbps,
        )
        bottleneck, recommendation = judge(facts)
        return BenchmarkSnapshot(
            avg_mbps=avg_mbps,
            peak_mbps=max(self._peak_mbps, avg_mbps),
            min_mbps=avg_mbps if self._min_mbps is None else min(self._min_mbps, avg_mbps),
            current_mbps=self._rates_mbps[-1] if self._rates_mbps else avg_mbps,
            avg_rtt_ms=self._rtt.avg_ms,
            min_rtt_ms=self._rtt.min_ms,
            max_rtt_ms=self._rtt.max_ms,
            current_rtt_ms=self._rtt.current_ms,
            jitter_ms=self._rtt.jitter_ms,
            avg_loss=facts.loss,
            max_loss=self._max_loss,
            total_bytes=moved_bytes,
            seconds=seconds,
            sample_count=self._sample_count,
            quality_score=quality_score(facts) if self._sample_count else 0,
            bottleneck=bottleneck,
            recommendation=recommendation,
        )

    def _close_sample(self) -> None:
        elapsed_s = self._observed_at - self._sample_started_at
        rate_mbps = mbps(self._total_bytes - self._sample_start_bytes, elapsed_s)
        self._rates_mbps.append(rate_mbps)
        self._sample_count += 1
        self._peak_mbps = max(self._peak_mbps, rate_mbps)
        self._min_mbps = rate_mbps if self._min_mbps is None else min(self._min_mbps, rate_mbps)
        if self._sample_loss is not None:
            self._loss.add(self._sample_loss)
            self._sample_loss = None
        self._sample_started_at = self._observed_at
        self._sample_start_bytes = self._total_bytes

    def _avg_loss(self) -> float | None:
        """Return the mean over the samples; before the first one is complete, the loss last seen."""
        mean = self._loss.mean
        return self._sample_loss if mean is None else mean

    def _variation(self) -> float:
        """Return the coefficient of variation of the rates in the window, without the ramp at the start."""
        rates = list(self._rates_mbps)
        if self._sample_count == len(rates):  # the window still holds the beginning
            ramp = 0
            while ramp + 1 < len(rates) and rates[ramp] < rates[ramp + 1]:
                ramp += 1
            rates = rates[ramp:]
        mean = fsum(rates) / len(rates) if rates else 0.0
        if mean <= 0:
            return 0.0
        # Written out: statistics.pstdev reckons in fractions, 7 times slower, on every sample.
        return sqrt(fsum((rate - mean) ** 2 for rate in rates) / len(rates)) / mean

    def _mostly_limited_by(self) -> LimitedBy | None:
        if not self._limits:
            return None
        limit, count = self._limits.most_common(1)[0]
        return limit if 2 * count > self._limits.total() else None


class _Mean:
    """A running mean that keeps no samples. None until there is one."""

    __slots__ = ("_count", "_sum")

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, value: float) -> None:
        self._sum += value
        self._count += 1

    @property
    def mean(self) -> float | None:
        return self._sum / self._count if self._count else None


class _RttStatistics:
    """Round trips in ms, and their jitter in RFC 3550's sense: the smoothed change from one to the next."""

    __slots__ = ("_all", "_count", "_taken_at", "current_ms", "jitter_ms", "max_ms", "min_ms")

    def __init__(self) -> None:
        self._all = _Mean()
        self._count = 0
        self._taken_at = 0.0
        self.current_ms: float | None = None
        self.min_ms: float | None = None
        self.max_ms: float | None = None
        self.jitter_ms: float | None = None

    @property
    def avg_ms(self) -> float | None:
        return self._all.mean

    def add(self, now: float, rtt_s: float, spacing_s: float) -> None:
        if self._count and now - self._taken_at < spacing_s:
            return
        rtt_ms = rtt_s * 1000
        if self.current_ms is None or self.jitter_ms is None:
            self.jitter_ms = 0.0
        else:
            change_ms = abs(rtt_ms - self.current_ms)
            self.jitter_ms += (change_ms - self.jitter_ms) / min(self._count, JITTER_GAIN)
        self._all.add(rtt_ms)
        self._count += 1
        self._taken_at = now
        self.current_ms = rtt_ms
        self.min_ms = rtt_ms if self.min_ms is None else min(self.min_ms, rtt_ms)
        self.max_ms = rtt_ms if self.max_ms is None else max(self.max_ms, rtt_ms)
