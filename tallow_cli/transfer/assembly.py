"""The receiver's books: which bytes of the stream have arrived, which files are whole, what a flood may cost."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence

from tallow_cli.errors import PeerProtocolError
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.messages import Why
from tallow_cli.transfer.owed import FilesOwed

MAX_FRAGMENTS = (
    65_536  # islands in the stream; honest loss leaves one per lost message, 30,000 in a full window
)
# Pieces not yet written; each costs some hundred bytes beside its data. Small neighbours that wait are joined and
# count as one, so a full window of them is some 8,000 where nothing is missing, and two more for each gap.
MAX_BACKLOG_WRITES = 65_536
SMALL_WRITE_BYTES = 4096
# A disk of 0.5 MB/s takes half a second for it: so long it may be deaf to whoever wants to stop.
LARGEST_WRITE_BYTES = 256 * 1024


class StreamIntake:
    """Takes data as it arrives and gives out each byte once. `total_bytes` is None until the end is known."""

    def __init__(self, max_backlog_writes: int = MAX_BACKLOG_WRITES) -> None:
        self._max_backlog_writes = max_backlog_writes
        self.total_bytes: int | None = None
        self.duplicate_bytes = 0
        self._received = RangeSet()
        self.has_excused = False
        self._excused = RangeSet()  # of it, what will never come, or may all the same
        self._most_fragments = MAX_FRAGMENTS
        self._largest_end = 0
        self._waiting: dict[int, memoryview | bytearray] = {}  # by offset, in order of arrival
        self._waiting_bytes = 0
        self._small_ends: dict[int, int] = {}  # of what waits and is small: where it ends → its offset
        self._writes_out = 0  # given to the shell, not yet reported written

    @property
    def received_bytes(self) -> int:
        return self._received.total

    @property
    def complete(self) -> bool:
        return self._received.total == self.total_bytes

    @property
    def waiting_bytes(self) -> int:
        """What `writes` would give."""
        return self._waiting_bytes

    def hold(self, start: int, end: int) -> None:
        """This range does not come: the disk has it already, or may have."""
        if not 0 <= start < end or (self.total_bytes is not None and end > self.total_bytes):
            raise ValueError(f"held range {start}..{end}")
        self._received.add(start, end)
        self._largest_end = max(self._largest_end, end)
        self._most_fragments = MAX_FRAGMENTS + len(self._received)

    def reopen(self, start: int, end: int) -> None:
        """This range, which was held, comes after all."""
        self._received.remove(start, end)
        self._most_fragments += 1

    def excuse(self, start: int, end: int) -> list[tuple[int, int]]:
        """This range need not come any more. Returns the parts of it that have not come already."""
        gaps = self._received.gaps(start, end)
        for gap_start, gap_end in gaps:
            self._excused.add(gap_start, gap_end)
            self.has_excused = True
        self._received.add(start, end)
        self._largest_end = max(self._largest_end, end)
        return gaps

    def came_all_the_same(self, offset: int, size: int) -> int:
        """After `arrived_untrusted`: how many of these bytes were excused and have now come, each for the first time.

        Nobody needs them, but the sender's credit was used for them.
        """
        came = self._excused.remove(offset, offset + size)
        self.has_excused = bool(self._excused)
        return came

    def end_untrusted(self, total: int) -> None:
        """The stream has `total` bytes. Raises PeerProtocolError if that cannot be."""
        if self.total_bytes is not None or total < self._largest_end:
            raise PeerProtocolError("an end of the stream before data already sent, or a second one")
        self.total_bytes = total

    def arrived_untrusted(self, offset: int, data: memoryview) -> int:
        """Queues what is new of `data` for writing; returns how many bytes that is. Raises PeerProtocolError."""
        end = offset + len(data)
        if self.total_bytes is not None and end > self.total_bytes:
            raise PeerProtocolError("data beyond the end of the stream")
        self._largest_end = max(self._largest_end, end)
        news = 0
        for start, stop in self._received.gaps(offset, end):
            self._queue(start, data[start - offset : stop - offset], len(data))
            news += stop - start
        self._received.add(offset, end)
        self.duplicate_bytes += len(data) - news
        if (
            len(self._received) > self._most_fragments
            or len(self._waiting) + self._writes_out > self._max_backlog_writes
        ):
            raise PeerProtocolError("a flood of small pieces")
        return news

    def _queue(self, offset: int, data: memoryview, message_bytes: int) -> None:
        self._waiting_bytes += len(data)
        if len(data) < SMALL_WRITE_BYTES:
            self._queue_small(offset, data)
            return
        # A view keeps its whole message alive: a small part of a large one is copied out.
        if 2 * len(data) < message_bytes:
            data = memoryview(bytes(data))
        self._waiting[offset] = data

    def _queue_small(self, offset: int, data: memoryview) -> None:
        """Join it to small neighbours on both sides: a pipe's short reads must cost no flood of writes."""
        start = self._small_ends.pop(offset, offset)
        joined = self._waiting.get(start)
        if isinstance(joined, bytearray):
            joined += data
        else:
            joined = self._waiting[offset] = bytearray(data)
        end = offset + len(data)
        right = self._waiting.get(end)
        if isinstance(right, bytearray) and len(right) < SMALL_WRITE_BYTES:
            del self._waiting[end]
            end += len(right)
            self._small_ends.pop(end, None)
            joined += right
        if len(joined) < SMALL_WRITE_BYTES:
            self._small_ends[end] = start

    def writes(self) -> list[tuple[int, memoryview]]:
        writes = [
            (offset + start, memoryview(data)[start : start + LARGEST_WRITE_BYTES])
            for offset, data in self._waiting.items()
            for start in range(0, len(data), LARGEST_WRITE_BYTES)
        ]
        self._writes_out += len(writes)
        self.discard()
        return writes

    def finished_write(self) -> None:
        """The shell reported one of them written."""
        if self._writes_out == 0:
            raise ValueError("nothing was given to write")
        self._writes_out -= 1

    def discard(self) -> None:
        """Nothing of what waits will be written."""
        self._waiting.clear()
        self._small_ends.clear()
        self._waiting_bytes = 0


class FileLedger:
    """Which files of the stream are whole on disk, which digests are known, which files are verified or withdrawn.

    `ends` are the offsets at which the files end; None: one file of unknown length.
    """

    def __init__(self, ends: Sequence[int] | None) -> None:
        self.written_bytes = 0
        self.verified = 0
        self.dropped = 0
        self._total: int | None = None
        self._ends: array[int] | None = None
        self._missing = array("q")
        # Per file: FileReady or FileWithdrawn given (1), verified or dropped (2)
        self._announced = bytearray(1 if ends is None else len(ends))
        self._owed = FilesOwed(len(self._announced))
        self._digests: dict[int, bytes] = {}  # not yet given out
        self._withdrawn: dict[int, Why] = {}
        self._candidates: list[int] = []  # files that may have become ready since they were last asked about
        if ends is not None:
            self._ends = array("q", ends)
            previous = 0
            for end in ends:
                if end < previous:
                    raise ValueError("file ends that do not ascend")
                self._missing.append(end - previous)
                previous = end
            self._total = previous

    @property
    def count(self) -> int:
        return len(self._announced)

    @property
    def all_written(self) -> bool:
        return self.written_bytes == self._total

    @property
    def all_digests_known(self) -> bool:
        """Every file has its digest, or is kept or withdrawn: nothing more is to be told."""
        return not self._owed.left

    @property
    def all_settled(self) -> bool:
        return self.verified + self.dropped == self.count

    def span(self, index: int) -> tuple[int, int]:
        """Where a file lies in the stream. Raises ValueError if that is not known."""
        if self._ends is None or not 0 <= index < self.count:
            raise ValueError(f"no file {index} of a known length")
        return self._ends[index - 1] if index else 0, self._ends[index]

    def keep(self, first: int, last: int) -> tuple[int, int]:
        """The files `first` to `last` are verified already. Returns the range of the stream that is theirs."""
        start, end = self.span(first)[0], self.span(last)[1]
        self._owed.settle(first, last + 1)
        count = last + 1 - first
        self._announced[first : last + 1] = b"\2" * count
        self.verified += count
        if end > start:
            self.written(start, end - start)
        return start, end

    def end(self, total: int) -> None:
        """The length of a file of unknown length."""
        self._total = total
        self._candidates.append(0)

    def written(self, offset: int, size: int) -> None:
        """A range (each byte once) is on disk."""
        self.written_bytes += size
        if self._ends is None:
            if self.written_bytes == self._total:
                self._candidates.append(0)
            return
        end = offset + size
        index = bisect_right(self._ends, offset)
        while offset < end:
            part = min(end, self._ends[index]) - offset
            self._missing[index] -= part
            if self._missing[index] == 0 and part:
                self._candidates.append(index)
            offset += part
            index += 1

    def digests_untrusted(self, first: int, digests: Sequence[bytes]) -> list[int]:
        """The digests of the next files that are owed one; returns their indexes.

        Raises PeerProtocolError for digests out of order or of files that do not exist.
        """
        try:
            indexes = self._owed.settle_next(first, len(digests))
        except ValueError:
            raise PeerProtocolError("digests out of order, or of more files than were offered") from None
        self._digests.update(zip(indexes, digests, strict=True))
        self._candidates += indexes
        return indexes

    def withdrawn_untrusted(self, index: int, size: int, why: Why) -> tuple[int, int]:
        """Of this file only the first `size` bytes come. Returns the range that does not.

        Raises PeerProtocolError for a file that is kept, withdrawn or whole with its digest, or that has no such size.
        """
        if self._ends is None or not 0 <= index < self.count:
            raise PeerProtocolError("a file withdrawn that was not offered")
        start, end = self.span(index)
        if size > end - start:
            raise PeerProtocolError("more bytes of a withdrawn file than it was offered with")
        if self._owed.is_owed(index):
            self._owed.settle(index, index + 1)
        else:
            self._take_digest_back_untrusted(index)
        self._withdrawn[index] = why
        self._candidates.append(index)
        return start + size, end

    def _take_digest_back_untrusted(self, index: int) -> None:
        try:
            if self._announced[index]:
                raise ValueError
            self._owed.take_back(index)
        except ValueError:
            raise PeerProtocolError(
                "a file withdrawn that is kept, withdrawn, or whole with its digest"
            ) from None
        del self._digests[index]

    def newly_ready(self) -> list[tuple[int, bytes | Why]]:
        """(index, digest) of files that are now whole and have their digest, (index, why) of withdrawn ones of which
        all is written that comes; each once."""
        if not self._candidates:
            return []
        candidates, self._candidates = sorted(self._candidates), []
        ready: list[tuple[int, bytes | Why]] = []
        for index in candidates:
            if not self._announced[index] and not self._owed.is_owed(index) and self._is_whole(index):
                self._announced[index] = 1
                ready.append((index, self._withdrawn.get(index) or self._digests.pop(index)))
        return ready

    def _is_whole(self, index: int) -> bool:
        return self.all_written if self._ends is None else self._missing[index] == 0

    def file_verified(self, index: int) -> None:
        if index in self._withdrawn:
            raise ValueError(f"file {index} was withdrawn")
        self._settle(index)
        self.verified += 1

    def file_dropped(self, index: int) -> None:
        if index not in self._withdrawn:
            raise ValueError(f"file {index} was not withdrawn")
        self._settle(index)
        self.dropped += 1

    def _settle(self, index: int) -> None:
        if not 0 <= index < self.count or self._announced[index] != 1:
            raise ValueError(f"file {index} was not ready, or is settled already")
        self._announced[index] = 2
