"""The sender's memory: what to read next, what waits to be sent, what is lost, what is acknowledged.

The byte stream is read in chunks. A chunk's bytes stay here until every one of them is acknowledged, so
`retained_bytes` bounds the memory of the whole sender.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from tallow_cli.errors import PeerProtocolError
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.driving import ReadRequest
from tallow_cli.transfer.messagesize import even_split


class Chunk:
    """A range of the stream that was read at once. `data` is emptied when all of it is acknowledged."""

    __slots__ = ("data", "end", "offset", "unacked_bytes")

    def __init__(self, offset: int, data: bytes) -> None:
        self.offset = offset
        self.end = offset + len(data)
        self.data = memoryview(data)
        self.unacked_bytes = len(data)


class Part(NamedTuple):
    """Stream bytes `[start, end)` of one chunk, as one message carries them."""

    chunk: Chunk
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def data(self) -> memoryview:
        return self.chunk.data[self.start - self.chunk.offset : self.end - self.chunk.offset]

    @property
    def ends_chunk(self) -> bool:
        return self.end == self.chunk.end


class Cursor:
    """A chunk on its way out over one channel: `position` is the next byte to send for the first time."""

    __slots__ = ("chunk", "position")

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.position = chunk.offset

    @property
    def finished(self) -> bool:
        return self.position == self.chunk.end

    def take(self, limit_bytes: int) -> Part:
        """The next part, of at most `limit_bytes` (the caller splits the chunk evenly)."""
        end = min(self.position + limit_bytes, self.chunk.end)
        part = Part(self.chunk, self.position, end)
        self.position = end
        return part


class SendBuffer:
    """`total_bytes` None: a stream of unknown length, read one range at a time until `chunk_read(…, b"")`."""

    def __init__(self, total_bytes: int | None, memory_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.retained_bytes = 0  # read (or being read) and not wholly acknowledged
        self.read_bytes = 0
        self.unsent_bytes = 0  # of `retained_bytes`: read (or being read), never sent
        self._memory_bytes = memory_bytes
        self._acked = RangeSet()  # the receiver has it, or (for all it says) need not get it
        self._taken = RangeSet()  # read or being read, and all that need not be
        self._claimed = RangeSet()  # … which the receiver may want after all
        self._given_up = RangeSet()  # … which it will not get even then
        self._lowest_unread = 0  # or lower than that
        self._reads: dict[int, int] = {}  # outstanding: offset -> size
        self._unsent: deque[Cursor] = deque()
        self._lost: deque[Part] = deque()

    @property
    def acked_bytes(self) -> int:
        return self._acked.total

    @property
    def acked_until(self) -> int:
        """The receiver has every byte of the stream before this one, and cannot want it any more."""
        until = self._acked.covered_until(0)
        claim = next(iter(self._claimed), None)
        return until if claim is None else min(until, claim[0])

    @property
    def all_acked(self) -> bool:
        return self.total_bytes is not None and self._acked.total == self.total_bytes

    @property
    def all_sent_once(self) -> bool:
        """Every byte has left for the receiver at least once: it may truthfully say that it has all."""
        return self._taken.total == self.total_bytes and self.unsent_bytes == 0

    @property
    def read_position(self) -> int:
        """Every byte before it was asked for, or need not be read for all that is known."""
        return self._taken.covered_until(self._lowest_unread)

    @property
    def has_lost(self) -> bool:
        return bool(self._lost)

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent, neither new nor again."""
        return not self._lost and not self._unsent

    # What the receiver has ----------------------------------------------------------------------------------

    def keep(self, start: int, end: int) -> None:
        """The receiver has all of this range: it is never read nor sent."""
        self._taken.add(start, end)
        self._acked.add(start, end)

    def hold_untrusted(self, held: Iterable[tuple[int, int]], known_bytes: int) -> None:
        """The receiver says so of these ranges, which lie within the first `known_bytes`. Raises PeerProtocolError."""
        previous = 0
        for start, end in held:
            if not previous <= start < end <= known_bytes:
                raise PeerProtocolError("held ranges that are out of order or beyond the stream")
            self.keep(start, end)
            previous = end

    def claim_untrusted(self, claims: Iterable[tuple[int, int]]) -> None:
        """The receiver has something there: these ranges are not read until it wants them. Call it after `keep` and
        `hold_untrusted`. Raises PeerProtocolError."""
        previous, total_bytes = 0, self.total_bytes or 0
        for start, end in claims:
            if not previous <= start < end <= total_bytes:
                raise PeerProtocolError("claimed ranges that are out of order or beyond the stream")
            if self._taken.gaps(start, end) != [(start, end)]:
                raise PeerProtocolError("a claimed range that is held or kept as well")
            self._claimed.add(start, end)
            previous = end
        for start, end in self._claimed:
            self.keep(start, end)

    def want_untrusted(self, wanted: Iterable[tuple[int, int]]) -> int:
        """Claimed ranges are to be read and sent after all, but for what was given up. Returns how many bytes that is.

        Raises PeerProtocolError.
        """
        previous = size = 0
        for start, end in wanted:
            if not previous <= start < end or not self._claimed.covers(start, end):
                raise PeerProtocolError(
                    "wanted ranges that are out of order, or not claimed, or wanted already"
                )
            self._claimed.remove(start, end)
            self._lowest_unread = min(self._lowest_unread, start)
            for gap_start, gap_end in self._given_up.gaps(start, end):
                self._taken.remove(gap_start, gap_end)
                self._acked.remove(gap_start, gap_end)
                size += gap_end - gap_start
            previous = end
        return size

    def give_up(self, start: int, end: int) -> tuple[int, int]:
        """Of `[start, end)` read no more than was asked for by now, whatever of it the receiver may still want.

        Returns how many of its first bytes are sent all the same, but for claims, and how many of all will not be.
        """
        if self.total_bytes is None or end > self.total_bytes:
            raise ValueError(f"bytes {start} to {end} of a stream of {self.total_bytes}")
        unread = self._taken.gaps(start, end)
        for gap_start, gap_end in unread:
            self.keep(gap_start, gap_end)
        self._given_up.add(start, end)
        first = unread[0][0] if unread else end
        return first - start, sum(gap_end - gap_start for gap_start, gap_end in unread)

    # Reading ------------------------------------------------------------------------------------------------

    def next_read(self, chunk_bytes: int, ahead_bytes: int) -> ReadRequest | None:
        """The lowest range that is to be read, of at most `chunk_bytes`, while less than `ahead_bytes` are read
        ahead."""
        position = self._taken.covered_until(self._lowest_unread)
        self._lowest_unread = position
        if position == self.total_bytes or (self.total_bytes is None and self._reads):
            return None
        size = min(chunk_bytes, max(1, self._memory_bytes // 2))
        if self.total_bytes is not None:
            size = min(size, self.total_bytes - position)
        size = self._taken.absent_until(position, position + size) - position
        if self.unsent_bytes > 0 and self.unsent_bytes + size > ahead_bytes:
            return None
        if self.retained_bytes > 0 and self.retained_bytes + size > self._memory_bytes:
            return None
        self._reads[position] = size
        self.retained_bytes += size
        self.unsent_bytes += size
        if self.total_bytes is not None:
            self._taken.add(position, position + size)
        return ReadRequest(position, size)

    def chunk_read(self, offset: int, data: bytes) -> None:
        size = self._reads.get(offset)
        if size is None or len(data) > size:
            raise ValueError(f"{len(data)} bytes at {offset} were not asked for")
        if self.total_bytes is not None and len(data) < size:
            raise ValueError(f"{len(data)} bytes at {offset} instead of {size}")
        del self._reads[offset]
        if self.total_bytes is None:
            self.retained_bytes -= size - len(data)
            self.unsent_bytes -= size - len(data)
            self._taken.add(offset, offset + len(data))
            if not data:
                self.total_bytes = offset
                return
        self.read_bytes += len(data)
        self._unsent.append(Cursor(Chunk(offset, data)))

    # Sending ------------------------------------------------------------------------------------------------

    def next_cursor(self) -> Cursor | None:
        """A chunk that no channel has yet. The caller owns it until it is finished or put back."""
        return self._unsent.popleft() if self._unsent else None

    def put_back(self, cursor: Cursor) -> None:
        """The channel that had it is gone: the rest goes first over another one."""
        self._unsent.appendleft(cursor)

    def take_new(self, cursor: Cursor, limit_bytes: int) -> Part:
        part = cursor.take(limit_bytes)
        self.unsent_bytes -= part.size
        return part

    def peek_lost(self, limit_bytes: int) -> Part | None:
        """The next bytes to send again, in at most `limit_bytes`; `take_lost` it if it can go now."""
        while self._lost:
            part = self._lost[0]
            missing = self.missing(part, limit_bytes)
            if missing is not None:
                return missing
            self._lost.popleft()  # acknowledged late
        return None

    def missing(self, part: Part, limit_bytes: int) -> Part | None:
        """The first bytes of `part`, at most `limit_bytes`, that no message has brought yet."""
        gaps = self._acked.gaps(part.start, part.end)
        if not gaps:
            return None
        start, end = gaps[0]
        return Part(part.chunk, start, start + even_split(end - start, limit_bytes))

    def take_lost(self, part: Part) -> None:
        """`part`, just given by `peek_lost`, is on its way."""
        chunk, _, end = self._lost.popleft()
        if part.end < end:
            self._lost.appendleft(Part(chunk, part.end, end))

    def lost(self, part: Part) -> None:
        """Declared lost: what of it is not acknowledged through another message goes out again."""
        if not self._acked.covers(part.start, part.end):
            self._lost.append(part)

    def acked(self, part: Part) -> int:
        """The receiver has it; returns how many bytes that is news of."""
        news = self._acked.add(part.start, part.end)
        if news:
            chunk = part.chunk
            chunk.unacked_bytes -= news
            if chunk.unacked_bytes == 0:
                self.retained_bytes -= chunk.end - chunk.offset
                chunk.data = memoryview(b"")
        return news

    def acked_all(self) -> None:
        """The receiver reported the whole stream complete."""
        if self.total_bytes is not None:
            self._acked.add(0, self.total_bytes)
        self._lost.clear()
        self.retained_bytes = 0
