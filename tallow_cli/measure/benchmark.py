"""What a transfer measured: throughput, RTT, jitter, loss, and what they mean. The sender measures the path; the
receiver shows what that reports.

Driver contract (sans-IO): call `TransferBenchmark.observe(now, total_bytes, …)` whenever there is news,
several times per `sample_interval`; call `finish(now, total_bytes)` once at the end; read `snapshot()` at any
time. `now` is a monotonic clock in seconds; no other clock is known here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import fsum, sqrt

from tallow_cli.measure.account import Verdict
from tallow_cli.measure.path_summary import PathSummary
from tallow_cli.measure.quality import Bottleneck, Facts, judge, shown_score
from tallow_cli.measure.throughput import format_throughput, mbps

__all__ = ["BenchmarkSnapshot", "Bottleneck", "TransferBenchmark", "format_throughput"]

DEFAULT_SAMPLE_INTERVAL_S = (
    0.25  # four readings a second: smooth to look at, and a short transfer still has some
)
DEFAULT_WINDOW_SIZE = 120  # samples: with the interval above, the last half minute
DEFAULT_RTT_INTERVAL_S = 0.1

# A last sample shorter than this part of the interval says nothing about the rate: a few packets decide it.
SHORTEST_LAST_SAMPLE = 0.5


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
    quality_score: (
        int | None
    )  # 0-100; 0 while there are no samples; None where it would say nothing of the path
    bottleneck: Bottleneck
    recommendation: str  # what was observed and what to turn, in one or two sentences


class TransferBenchmark:
    """Collects samples of one transfer.

    `sample_interval` (s) is the length of one throughput sample; `window_size` how many of the newest samples
    count for the variation of the rate; `rtt_interval` (s) the least spacing of RTT samples, so that a burst
    of acknowledgements does not outvote a quiet second. `link_mbps` is what the link should carry, where that
    is known (a bench profile); see `measure.quality` for what it changes. `sending`: at which end the words are read.
    Raises ValueError for intervals or a window that are not positive.
    """

    def __init__(
        self,
        sample_interval: float = DEFAULT_SAMPLE_INTERVAL_S,
        window_size: int = DEFAULT_WINDOW_SIZE,
        rtt_interval: float = DEFAULT_RTT_INTERVAL_S,
        *,
        link_mbps: float | None = None,
        sending: bool = True,
    ) -> None:
        if sample_interval <= 0 or window_size < 1 or rtt_interval < 0:
            raise ValueError("sample_interval and window_size must be positive, rtt_interval not negative")
        self._sample_interval_s = sample_interval
        self._rtt_interval_s = rtt_interval
        self._link_mbps = link_mbps
        self._sending = sending
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
        self._jitter_s: float | None = None
        self._reported: PathSummary | None = None
        self._loss = _Mean()
        self._max_loss: float | None = None
        self._sample_loss: float | None = None
        self._cpu = _Mean()
        self._memory_fraction: float | None = None
        self._verdict: Verdict | None = None

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
        jitter_s: float | None = None,
        path: PathSummary | None = None,
        cpu_fraction: float | None = None,
        memory_fraction: float | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        """Take in the state at `now`; what is None is unknown.

        `total_bytes` counts what the other side has and never falls; `rtt_s` is the newest round trip,
        `jitter_s` RFC 3550's over all of them; `loss` the lost fraction of the packets sent lately (0-1). `path`:
        these as the other side measured them, which is then what is shown. `cpu_fraction` is what this process needs of
        a core, `memory_fraction` how much of its memory is in use (both 0-1 and may exceed 1), `verdict`
        where the time of the last seconds went.
        """
        if self._started_at is None:
            self.start(now)
        if rtt_s is not None:
            self._rtt.add(now, rtt_s, self._rtt_interval_s)
        if jitter_s is not None:
            self._jitter_s = jitter_s
        if path is not None:
            self._reported = path
        if loss is not None:
            self._sample_loss = loss
            self._max_loss = loss if self._max_loss is None else max(self._max_loss, loss)
        if cpu_fraction is not None:
            self._cpu.add(cpu_fraction)
        if memory_fraction is not None:
            self._memory_fraction = memory_fraction
        self._verdict = verdict or self._verdict
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

    def finish(
        self,
        now: float,
        total_bytes: int,
        path: PathSummary | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        """Take in the end, the other side's last word on the path, and where all of the time went.

        The last, shorter sample counts if it is long enough to say something.
        """
        if self._started_at is None:
            self.start(now)
        self._observed_at = now
        self._total_bytes = total_bytes
        self._reported = path or self._reported
        self._verdict = verdict or self._verdict
        elapsed_s = now - self._sample_started_at
        if elapsed_s >= SHORTEST_LAST_SAMPLE * self._sample_interval_s or (
            self._sample_count == 0 and elapsed_s > 0
        ):
            self._close_sample()

    @property
    def path(self) -> PathSummary | None:
        """What is known of the path, measured here or reported; None before anything is."""
        if self._reported is not None:
            return self._reported
        rtt, avg_loss = self._rtt, self._avg_loss()
        if rtt.current_s is None or avg_loss is None:
            return None
        return PathSummary(
            rtt_s=rtt.current_s,
            jitter_s=self._jitter_s or 0.0,
            avg_rtt_s=rtt.avg_s,
            min_rtt_s=rtt.min_s,
            max_rtt_s=rtt.max_s,
            avg_loss=avg_loss,
            max_loss=self._max_loss or 0.0,
        )

    def snapshot(self) -> BenchmarkSnapshot:
        """Return the figures up to the latest observation."""
        seconds = 0.0 if self._started_at is None else self._observed_at - self._started_at
        moved_bytes = self._total_bytes - self._held_bytes
        avg_mbps = mbps(moved_bytes, seconds)
        path = self.path
        facts = Facts(
            mbps=avg_mbps,
            rtt_ms=None if path is None else path.avg_rtt_s * 1000,
            jitter_ms=None if path is None else path.jitter_s * 1000,
            loss=None if path is None else path.avg_loss,
            min_rtt_ms=None if path is None else path.min_rtt_s * 1000,
            variation=self._variation(),
            sample_count=self._sample_count,
            cpu_fraction=self._cpu.mean,
            memory_fraction=self._memory_fraction,
            verdict=self._verdict,
            sending=self._sending,
            moved_bytes=moved_bytes,
            link_mbps=self._link_mbps,
        )
        bottleneck, recommendation = judge(facts)
        return BenchmarkSnapshot(
            avg_mbps=avg_mbps,
            peak_mbps=max(self._peak_mbps, avg_mbps),
            min_mbps=avg_mbps if self._min_mbps is None else min(self._min_mbps, avg_mbps),
            current_mbps=self._rates_mbps[-1] if self._rates_mbps else avg_mbps,
            avg_rtt_ms=facts.rtt_ms,
            min_rtt_ms=facts.min_rtt_ms,
            max_rtt_ms=None if path is None else path.max_rtt_s * 1000,
            current_rtt_ms=None if path is None else path.rtt_s * 1000,
            jitter_ms=facts.jitter_ms,
            avg_loss=facts.loss,
            max_loss=None if path is None else path.max_loss,
            total_bytes=moved_bytes,
            seconds=seconds,
            sample_count=self._sample_count,
            quality_score=shown_score(facts) if self._sample_count else 0,
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
    """Round trips in seconds, taken at an even pace."""

    __slots__ = ("_count", "_sum_s", "_taken_at", "current_s", "max_s", "min_s")

    def __init__(self) -> None:
        self._count = 0
        self._sum_s = self._taken_at = self.min_s = self.max_s = 0.0
        self.current_s: float | None = None

    @property
    def avg_s(self) -> float:
        return self._sum_s / self._count if self._count else 0.0

    def add(self, now: float, rtt_s: float, spacing_s: float) -> None:
        if self._count and now - self._taken_at < spacing_s:
            return
        self.min_s = min(self.min_s, rtt_s) if self._count else rtt_s
        self.max_s = max(self.max_s, rtt_s)
        self._sum_s += rtt_s
        self._count += 1
        self._taken_at = now
        self.current_s = rtt_s
