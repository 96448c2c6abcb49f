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


class Piece(NamedTuple):
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

    def take(self, limit_bytes: int) -> Piece:
        """The next piece, of at most `limit_bytes` (the caller splits the chunk evenly)."""
        end = min(self.position + limit_bytes, self.chunk.end)
        piece = Piece(self.chunk, self.position, end)
        self.position = end
        return piece


class SendBuffer:
    """`total_bytes` None: a stream of unknown length, read one range at a time until `chunk_read(…, b"")`."""

    def __init__(self, total_bytes: int | None, memory_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.retained_bytes = 0  # read (or being read) and not wholly acknowledged
        self.read_bytes = 0
        self.unsent_bytes = 0  # of `retained_bytes`: read (or being read), never sent
        self._memory_bytes = memory_bytes
        self._held = RangeSet()
        self._acked = RangeSet()
        self._read_position = 0
        self._reads: dict[int, int] = {}  # outstanding: offset -> size
        self._unsent: deque[Cursor] = deque()
        self._lost: deque[Piece] = deque()

    @property
    def acked_bytes(self) -> int:
        return self._acked.total

    @property
    def all_acked(self) -> bool:
        return self.total_bytes is not None and self._acked.total == self.total_bytes

    @property
    def all_sent_once(self) -> bool:
        """Every byte has left for the receiver at least once: it may truthfully say that it has all."""
        return self._read_position == self.total_bytes and self.unsent_bytes == 0

    @property
    def has_lost(self) -> bool:
        return bool(self._lost)

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent, neither new nor again."""
        return not self._lost and not self._unsent

    def hold_untrusted(self, held: Iterable[tuple[int, int]]) -> None:
        """The receiver has these ranges already: never read nor sent. Raises PeerProtocolError."""
        previous = 0
        for start, end in held:
            if self.total_bytes is None:
                raise PeerProtocolError("held ranges of a stream of unknown length")
            if not previous <= start < end <= self.total_bytes:
                raise PeerProtocolError("held ranges that are out of order or beyond the stream")
            self._held.add(start, end)
            self._acked.add(start, end)
            previous = end

    # Reading ------------------------------------------------------------------------------------------------

    def next_read(self, chunk_bytes: int, ahead_bytes: int) -> ReadRequest | None:
        """The next range to read, of at most `chunk_bytes`, while less than `ahead_bytes` are read ahead."""
        position = self._held.covered_until(self._read_position)
        self._read_position = position
        if position == self.total_bytes or (self.total_bytes is None and self._reads):
            return None
        size = min(chunk_bytes, max(1, self._memory_bytes // 2))
        if self.total_bytes is not None:
            size = min(size, self.total_bytes - position)
            size = self._held.gaps(position, position + size)[0][1] - position
        if self.unsent_bytes > 0 and self.unsent_bytes + size > ahead_bytes:
            return None
        if self.retained_bytes > 0 and self.retained_bytes + size > self._memory_bytes:
            return None
        self._reads[position] = size
        self.retained_bytes += size
        self.unsent_bytes += size
        if self.total_bytes is not None:
            self._read_position += size
        return ReadRequest(position, size)

    def give_up(self, start: int, end: int) -> int:
        """Of `[start, end)` read no more than was asked for by now. Returns how many of its first bytes that is."""
        stop = min(max(self._read_position, start), end)
        if self.total_bytes is None or end > self.total_bytes:
            raise ValueError(f"bytes {start} to {end} of a stream of {self.total_bytes}")
        self._held.add(stop, end)
        self._acked.add(stop, end)
        self._read_position = self._held.covered_until(self._read_position)
        return stop - start

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
            self._read_position = offset + len(data)
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

    def take_new(self, cursor: Cursor, limit_bytes: int) -> Piece:
        piece = cursor.take(limit_bytes)
        self.unsent_bytes -= piece.size
        return piece

    def peek_lost(self, limit_bytes: int) -> Piece | None:
        """The next bytes to send again, in at most `limit_bytes`; `take_lost` it if it can go now."""
        while self._lost:
            piece = self._lost[0]
            missing = self.missing(piece, limit_bytes)
            if missing is not None:
                return missing
            self._lost.popleft()  # acknowledged late
        return None

    def missing(self, piece: Piece, limit_bytes: int) -> Piece | None:
        """The first bytes of `piece`, at most `limit_bytes`, that no message has brought yet."""
        gaps = self._acked.gaps(piece.start, piece.end)
        if not gaps:
            return None
        start, end = gaps[0]
        return Piece(piece.chunk, start, start + even_split(end - start, limit_bytes))

    def take_lost(self, piece: Piece) -> None:
        """`piece`, just given by `peek_lost`, is on its way."""
        chunk, _, end = self._lost.popleft()
        if piece.end < end:
            self._lost.appendleft(Piece(chunk, piece.end, end))

    def lost(self, piece: Piece) -> None:
        """Declared lost: what of it is not acknowledged through another message goes out again."""
        if not self._acked.covers(piece.start, piece.end):
            self._lost.append(piece)

    def acked(self, piece: Piece) -> int:
        """The receiver has it; returns how many bytes that is news of."""
        news = self._acked.add(piece.start, piece.end)
        if news:
            chunk = piece.chunk
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
