"""The disk half of a sender: which job the worker does next, and what is told of it.

Sans-loop: whoever has the worker asks for the next job, has it done, and hands its news on. Reads that the network
waits for come first; between them, what nobody reads is hashed, a little at a time, so that no read waits long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import Final

from tallow_cli.measure.causes import Cause
from tallow_cli.ranges import RangeSet
from tallow_cli.session.end_use import WorkClock
from tallow_cli.store.source import Range, Source, Withdrawn
from tallow_cli.transfer.driving import ReadRequest

# As long as a read may wait for a step to end: half of what the machine has read ahead (transfer.sender.READ_AHEAD_S).
STEP_S: Final = 0.05
LEAST_STEP_BYTES: Final = 64 * 1024  # what a disk that needs longer for so little needs, it needs
MOST_STEP_BYTES: Final = 256 * 1024 * 1024  # two and a half times what a fast core hashes in that time
_FIRST_STEP_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Digested:
    """Digests of the file `first` and of the next ones that are neither kept nor given up."""

    first: int
    digests: list[bytes]


@dataclass(frozen=True, slots=True)
class GivenUp:
    index: int
    withdrawn: Withdrawn


@dataclass(frozen=True, slots=True)
class DiskNews:
    """What came of a job. Tell first which files are given up, then digests. None of a file that is kept."""

    attempt: int
    chunks: Sequence[tuple[int, bytes]]  # offset and data
    given_up: Sequence[GivenUp]
    digested: Digested | None
    first_piece: int
    piece_digests: Sequence[bytes]
    has_more: bool  # to hash, of what could be hashed when the job was given out
    seconds: float


class DiskReader:
    """Reads `source`, one job at a time, in one attempt after another.

    For each attempt `begin`; then `want` what the machine wants, do every job that `next_job` gives in the one thread
    that has to do with the source, and hand what it returns to `finished`.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = monotonic) -> None:
        self._source = source
        self._clock = clock
        self.work_clock: Final = WorkClock(clock())
        self._attempt = _Attempt(0, source, RangeSet(), ())
        self._wanted: list[ReadRequest] = []
        self._is_busy = False
        self._is_reading = False
        self._step_bytes = _FIRST_STEP_BYTES
        self._settled_until = -1  # nothing is left to hash before here
        self._given_until = 0
        self._read_bytes = 0

    @property
    def waits_for(self) -> Cause:
        """What a read that takes long waits for."""
        return Cause.SENDER_INPUT if self._source.manifest.kind == "stream" else Cause.SENDER_DISK

    @property
    def is_busy(self) -> bool:
        return self._is_busy

    @property
    def read_bytes(self) -> int:
        """How far into the stream anything was read, in all attempts."""
        return self._read_bytes

    @property
    def is_reading(self) -> bool:
        """Whether something is being read that a machine wants or wanted."""
        return self._is_reading

    def begin(self, kept: RangeSet, pieces: Sequence[Range]) -> None:
        """A receiver has accepted: everything is told from the beginning, what was wanted before is forgotten."""
        self._attempt = _Attempt(self._attempt.number + 1, self._source, kept, pieces)
        self._wanted = []
        self._settled_until = -1

    def want(self, request: ReadRequest) -> None:
        self._wanted.append(request)

    def next_job(self, until: int) -> Callable[[], DiskNews] | None:
        """What to do now; None while a job is being done, and if there is nothing to do.

        Everything that is wanted by now is one job: a hop between threads costs as much as reading and hashing half a
        megabyte. `until` is where the machine will read next, in order: what lies before may be hashed.
        """
        if self._is_busy or not (self._wanted or self._settled_until < until):
            return None
        self._is_busy = True
        self._is_reading = bool(self._wanted)
        self._given_until = until
        requests, self._wanted = self._wanted, []
        attempt, budget_bytes, clock = self._attempt, 0 if requests else self._step_bytes, self._clock
        work_clock = self.work_clock

        def job() -> DiskNews:
            started = clock()
            work_clock.at(started, self.waits_for)
            chunks, has_more = attempt.work(requests, until, budget_bytes)
            given_up, digested = attempt.settled()
            pieces = self._source.piece_digests()
            ended = clock()
            work_clock.at(ended, Cause.NOTHING)
            return DiskNews(attempt.number, chunks, given_up, digested, *pieces, has_more, ended - started)

        return job

    def finished(self, news: DiskNews) -> bool:
        """The job has ended. False for one of an earlier attempt: its news are for nobody."""
        self._is_busy = False
        if news.has_more and not self._is_reading:
            self._fit_step(news.seconds)
        self._is_reading = False
        for offset, data in news.chunks:
            self._read_bytes = max(self._read_bytes, offset + len(data))
        if news.attempt != self._attempt.number:
            return False
        self._settled_until = -1 if news.has_more else self._given_until
        return True

    def _fit_step(self, seconds: float) -> None:
        by = min(2.0, max(0.5, STEP_S / max(seconds, 1e-6)))
        self._step_bytes = min(max(int(self._step_bytes * by), LEAST_STEP_BYTES), MOST_STEP_BYTES)


class _Attempt:
    """What one attempt has told of the source. After its making it belongs to the worker's thread."""

    def __init__(self, number: int, source: Source, kept: RangeSet, pieces: Sequence[Range]) -> None:
        self.number = number
        self._source = source
        self._kept = kept
        self._pieces = pieces
        self._has_begun = False
        self._settled = 0  # files, from the first
        self._withdrawn = 0  # in the order in which the source gave them up

    def work(
        self, requests: Sequence[ReadRequest], until: int, budget_bytes: int
    ) -> tuple[list[tuple[int, bytes]], bool]:
        """The chunks, and whether there is more to hash."""
        source = self._source
        if not self._has_begun:
            self._has_begun = True
            source.begin(self._kept, self._pieces)
        chunks = [(request.offset, source.read_at(request.offset, request.size)) for request in requests]
        return chunks, source.settle(until, budget_bytes)

    def settled(self) -> tuple[list[GivenUp], Digested | None]:
        """The files that were given up since the last call, before their turn too; and those digested."""
        source, first, ready, kept = self._source, self._settled, self._source.files_read, self._kept
        withdrawn = source.withdrawn
        news = list(islice(withdrawn.items(), self._withdrawn, None))
        self._withdrawn += len(news)
        self._settled = ready
        given_up = [GivenUp(index, why) for index, why in news if index not in kept]
        indexes = [index for index in range(first, ready) if index not in withdrawn and index not in kept]
        if not indexes:
            return given_up, None
        return given_up, Digested(indexes[0], [source.digest(index) for index in indexes])
