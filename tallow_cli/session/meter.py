"""From the machines' figures to what people see: a sample five times a second.

The chunk size follows the same samples. Times are `time.monotonic`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tallow_cli.measure.account import Verdict
from tallow_cli.measure.benchmark import TransferBenchmark
from tallow_cli.measure.path_summary import PathSummary
from tallow_cli.measure.throughput import mbps
from tallow_cli.session.end_use import memory_fraction
from tallow_cli.session.events import ChannelStats, Done, Progress, SessionEvent, Stats
from tallow_cli.session.pace import SILENT_S, TICK_S

_ETA_TICKS = 25  # the last five seconds decide what time is left
# A check is unanswered and nothing arrives: too early to call it an outage, and no figure of the path either. What
# comes after it tells which it was.
_DOUBT_S = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """One side's state at a moment; None is unknown. `path` is what a receiver was told: the sender measures it."""

    bytes_done: int
    unproven_bytes: int = 0  # of them: here before, and still to be compared
    rtt_s: float | None = None
    jitter_s: float | None = None
    loss: float | None = None
    path: PathSummary | None = None
    chunk_bytes: int = 0
    message_bytes: int = 0
    files_done: int = 0
    silence_s: float = 0.0  # since the other side should have answered
    verdict: Verdict | None = None  # of the last seconds
    whole_verdict: Verdict | None = None


class Meter:
    """Turns samples into Progress and Stats events, and into the final figures."""

    def __init__(
        self,
        emit: Callable[[SessionEvent], None],
        *,
        total_bytes: int | None,
        held_bytes: int = 0,
        files_total: int,
        now: float,
        sending: bool = True,
    ) -> None:
        self._emit = emit
        self._total_bytes = total_bytes
        self._held_bytes = held_bytes
        self._files_total = files_total
        self._benchmark = TransferBenchmark(sample_interval=TICK_S, sending=sending)
        self._started_at = now
        self._paused_at: float | None = None
        self._outage_s = 0.0
        self._last_bytes = held_bytes
        self._observed_at = now
        self._is_unanswered = False
        self._carried_before: dict[int, ChannelStats] = {}
        self._process = _ProcessUse(now)
        self._benchmark.start(now, held_bytes)
        self._recent: deque[tuple[float, int]] = deque(maxlen=_ETA_TICKS)
        if not held_bytes:  # of what is held nobody knows yet how much is still to be compared
            self._recent.append((now, 0))

    def is_unanswered(self, bytes_done: int) -> bool:
        """Whether nothing has arrived since the last tick: what counts as lost meanwhile may be on its way."""
        return bytes_done == self._last_bytes

    def is_in_doubt(self, sample: Sample) -> bool:
        """Whether a sample, not given to `tick` yet, may be one of a silent connection."""
        return sample.silence_s >= _DOUBT_S and sample.bytes_done == self._last_bytes

    def tick(self, now: float, sample: Sample, channels: tuple[ChannelStats, ...]) -> None:
        """Take a sample and tell the world. One of a silent connection is no figure of a path."""
        is_in_doubt = self.is_in_doubt(sample)
        self._is_unanswered = self.is_unanswered(sample.bytes_done)
        self._last_bytes = sample.bytes_done
        silent_s = 0.0
        if not is_in_doubt:
            self._observe(now, sample)
        elif sample.silence_s >= SILENT_S:
            self.pause(max(now - sample.silence_s, self._observed_at))
            silent_s = sample.silence_s
            self._recent.clear()
        self._progress(sample, self._short_of_all(sample.bytes_done))
        self._emit(
            Stats(
                benchmark=self._benchmark.snapshot(),
                channels=self._in_all(channels),
                chunk_bytes=sample.chunk_bytes,
                message_bytes=sample.message_bytes,
                silent_s=silent_s,
            )
        )

    def _observe(self, now: float, sample: Sample) -> None:
        self.go_on(now)
        self._observed_at = now
        cpu_fraction, memory_in_use = self._process.use(now)
        self._benchmark.observe(
            now,
            sample.bytes_done,
            sample.rtt_s,
            None if self._is_unanswered else sample.loss,
            jitter_s=sample.jitter_s,
            path=sample.path,
            cpu_fraction=cpu_fraction,
            memory_fraction=memory_in_use,
            verdict=sample.verdict,
        )
        self._recent.append((now, sample.bytes_done - sample.unproven_bytes))

    @property
    def path(self) -> PathSummary | None:
        """What is known of the path since the beginning."""
        return self._benchmark.path

    def pause(self, now: float) -> None:
        """The connection is lost, or silent since `now`. What is sampled until `go_on` is no figure of a path."""
        if self._paused_at is None:
            self._paused_at = now

    def end_connection(self, now: float, channels: tuple[ChannelStats, ...]) -> None:
        """The connection is lost, and its channels with it: what they have carried stays in the sum."""
        self.pause(now)
        self._carried_before = {each.index: each for each in self._in_all(channels)}

    def _in_all(self, channels: tuple[ChannelStats, ...]) -> tuple[ChannelStats, ...]:
        """With what the channels of these numbers carried over the connections before."""
        return tuple(each.after(self._carried_before.get(each.index)) for each in channels)

    def go_on(self, now: float) -> None:
        """There is another connection, or the one there was answers again. Does nothing unless paused."""
        if self._paused_at is None:
            return
        outage_s, self._paused_at = now - self._paused_at, None
        self._outage_s += outage_s
        self._benchmark.pass_over(outage_s)
        self._recent.clear()
        self._process = _ProcessUse(now)

    def finish(
        self, now: float, sample: Sample, *, left_out: int = 0, missed: int = 0, hole_bytes: int = 0
    ) -> Done:
        """The last sample: emit the full progress and return what `Done` says."""
        self.go_on(now)
        self._benchmark.finish(now, sample.bytes_done, sample.path, sample.whole_verdict)
        self._progress(sample, sample.bytes_done)
        seconds = now - self._started_at
        done = Done(
            bytes=sample.bytes_done,
            files=sample.files_done,
            seconds=seconds,
            mbps=mbps(sample.bytes_done - self._held_bytes, seconds - self._outage_s),
            outage_s=self._outage_s,
            left_out=left_out,
            missed=missed,
            hole_bytes=hole_bytes,
            benchmark=self._benchmark.snapshot(),
            verdict=sample.whole_verdict,
        )
        self._emit(done)
        return done

    def _short_of_all(self, bytes_done: int) -> int:
        """Every byte may be there and not yet verified: the last one is counted when `finish` says it is over."""
        return bytes_done if not self._total_bytes else min(bytes_done, self._total_bytes - 1)

    def _progress(self, sample: Sample, bytes_done: int) -> None:
        self._emit(
            Progress(
                bytes=bytes_done,
                total=self._total_bytes,
                eta_s=self._eta_s(bytes_done - sample.unproven_bytes),
                unproven=sample.unproven_bytes,
                files_done=sample.files_done,
                files_total=self._files_total,
                verdict=sample.verdict,
            )
        )

    def _eta_s(self, bytes_done: int) -> float | None:
        """What is compared takes its time as well, so it counts as done once it is proven."""
        if not self._recent:
            return None
        (first_at, first_bytes), (last_at, last_bytes) = self._recent[0], self._recent[-1]
        if self._total_bytes is None or last_bytes <= first_bytes:
            return None
        return max(0, self._total_bytes - bytes_done) * (last_at - first_at) / (last_bytes - first_bytes)


class _ProcessUse:
    """The share of one core this process needs, and how full the machine's memory is."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._cpu_s = _needed_cpu_s()

    def use(self, now: float) -> tuple[float | None, float | None]:
        cpu_s = _needed_cpu_s()
        elapsed_s = now - self._at
        fraction = (cpu_s - self._cpu_s) / elapsed_s if elapsed_s > 0 else None
        self._at, self._cpu_s = now, cpu_s
        return fraction, memory_fraction()


def _needed_cpu_s() -> float:
    """How long the event loop's thread has run, or was ready to run while others had the cores; where the system does
    not say (no /proc/self/schedstat), the processor time of the process."""
    with suppress(OSError, ValueError), open("/proc/self/schedstat", encoding="ascii") as file:
        ran_ns, waited_ns, _ = file.read().split()
        return (int(ran_ns) + int(waited_ns)) / 1e9
    return time.process_time()
