"""From fragments back to messages, in linear time and bounded memory.

A `Piece` is a stretch of consecutive fragments of one message. Pieces of unfinished messages stand in one list sorted
by TSN; a new stretch joins its neighbours there. Ordered messages wait for their SSN in their stream's own table.
Whatever can never become a message (a fragment whose predecessor belongs to another message, a message larger than
announced) is thrown away at once, so that a hostile peer cannot park it here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from tallow_cli.dataplane.packets import FLAG_BEGIN, FLAG_END, FLAG_UNORDERED
from tallow_cli.dataplane.serial import unwrap_ssn

# Counted for every fragment and waiting message on top of its bytes: what CPython's objects around it weigh. Without
# it 16 MiB of one-byte fragments would be 1 GiB of memory.
FRAGMENT_WEIGHT: Final = 64
# Ordered streams whose sequence numbers are kept. Tallow uses one to five; a peer could name 65,536, a few hundred
# bytes each, for good.
MAX_ORDERED_STREAMS: Final = 1024


class MessageReceived(NamedTuple):
    """A whole message from the peer. `data` is the user message, unpadded."""

    stream_id: int
    ppid: int
    data: bytes


class Piece:
    """Fragments [first, end) of one message. `flags`: B if it has the first, E if it has the last, U as sent."""

    __slots__ = ("end", "first", "flags", "parts", "ppid", "size", "ssn", "stream_id")

    def __init__(
        self,
        first: int,
        end: int,
        flags: int,
        stream_id: int,
        ssn: int,
        ppid: int,
        parts: deque[bytes] | list[bytes],
        size: int,
    ) -> None:
        self.first = first
        self.end = end
        self.flags = flags
        self.stream_id = stream_id
        self.ssn = ssn
        self.ppid = ppid
        self.parts = parts
        self.size = size

    @property
    def weight(self) -> int:
        return self.size + FRAGMENT_WEIGHT * (self.end - self.first)


class _OrderedStream:
    __slots__ = ("next_ssn", "waiting")

    def __init__(self) -> None:
        self.next_ssn = 0
        self.waiting: dict[int, tuple[int, bytes]] = {}


class Reassembly:
    """Driver: `add` stretches of fragments whose TSNs are new, `forward` on FORWARD-TSN; then take `delivered`.

    `held_bytes` is the weight of everything kept here, `delivered` included.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self.held_bytes = 0
        self.discarded_fragments = 0
        self.delivered: list[MessageReceived] = []
        self._max_message_bytes = max_message_bytes
        self._firsts: list[int] = []
        self._pieces: list[Piece] = []
        self._streams: dict[int, _OrderedStream] = {}

    def take_delivered(self) -> list[MessageReceived]:
        """The messages completed since the last call, in order of completion; their bytes no longer count as held."""
        delivered, self.delivered = self.delivered, []
        self.held_bytes -= sum(FRAGMENT_WEIGHT + len(message.data) for message in delivered)
        return delivered

    def add(self, piece: Piece, cumulative_end: int) -> None:
        """Take fragments; `cumulative_end`: the first TSN still missing, these counted as received."""
        complete = FLAG_BEGIN | FLAG_END
        self.held_bytes += piece.weight
        if self._pieces:
            joined = self._join(piece)
            if joined is None:
                return
            piece = joined
        if piece.size > self._max_message_bytes:
            self._discard(piece)
        elif piece.flags & complete == complete:
            self._complete(piece)
        elif self._is_hopeless(piece, cumulative_end):
            self._discard(piece)
        else:
            self._keep(piece)

    def forward(self, cumulative_end: int, skipped: Iterable[tuple[int, int]]) -> None:
        """The peer abandoned all below `cumulative_end` that is missing; ordered streams move past the SSNs given."""
        for stream_id, wire_ssn in skipped:
            self._skip(stream_id, wire_ssn)
        low = 0
        kept: list[Piece] = []
        pieces = self._pieces
        while low < len(pieces) and pieces[low].first < cumulative_end:
            piece = pieces[low]
            if self._is_hopeless(piece, cumulative_end):
                self._discard(piece)
            else:
                kept.append(piece)
            low += 1
        if low:
            pieces[:low] = kept
            self._firsts[:low] = [piece.first for piece in kept]

    def reset_stream(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            for _, data in stream.waiting.values():
                self.held_bytes -= FRAGMENT_WEIGHT + len(data)

    @staticmethod
    def _is_hopeless(piece: Piece, cumulative_end: int) -> bool:
        """Everything below `cumulative_end` is here or abandoned: does the piece lack something from there?

        A piece that reaches to `cumulative_end` and has its beginning lacks nothing yet (RFC 3758 section 3.6).
        """
        if not piece.flags & FLAG_BEGIN:
            return piece.first <= cumulative_end
        return piece.end < cumulative_end

    def _join(self, piece: Piece) -> Piece | None:
        """The piece merged with its neighbours, which leave the list. None if it contradicts one of them.

        A neighbour that lacks the very fragment this piece has in its place can never be whole: it goes.
        """
        firsts, pieces = self._firsts, self._pieces
        index = bisect_left(firsts, piece.first)
        if index > 0 and pieces[index - 1].end == piece.first:
            left = pieces[index - 1]
            if self._continues(left, piece):
                index -= 1
                self._remove(index)
                piece = self._merge(left, piece)
            else:
                if not left.flags & FLAG_END:
                    index -= 1
                    self._remove(index)
                    self._discard(left)
                if not piece.flags & FLAG_BEGIN:
                    self._discard(piece)
                    return None
        if index < len(pieces) and pieces[index].first == piece.end:
            right = pieces[index]
            if self._continues(piece, right):
                self._remove(index)
                return self._merge(piece, right)
            if not right.flags & FLAG_BEGIN:
                self._remove(index)
                self._discard(right)
            if not piece.flags & FLAG_END:
                self._discard(piece)
                return None
        return piece

    @staticmethod
    def _continues(left: Piece, right: Piece) -> bool:
        return (
            not left.flags & FLAG_END
            and not right.flags & FLAG_BEGIN
            and left.stream_id == right.stream_id
            and left.ssn == right.ssn
            and (left.flags ^ right.flags) & FLAG_UNORDERED == 0
        )

    @staticmethod
    def _merge(left: Piece, right: Piece) -> Piece:
        """Move the shorter list's parts, so that n fragments in any order cost O(n log n)."""
        size = left.size + right.size
        flags = left.flags | right.flags
        if len(right.parts) <= len(left.parts):
            left.parts.extend(right.parts)
            left.end = right.end
            merged = left
        else:
            parts = right.parts if isinstance(right.parts, deque) else deque(right.parts)
            parts.extendleft(reversed(left.parts))
            right.parts, right.first, right.ppid = parts, left.first, left.ppid
            merged = right
        merged.size, merged.flags = size, flags
        return merged

    def _remove(self, index: int) -> None:
        del self._pieces[index], self._firsts[index]

    def _keep(self, piece: Piece) -> None:
        index = bisect_left(self._firsts, piece.first)
        self._firsts.insert(index, piece.first)
        self._pieces.insert(index, piece)

    def _discard(self, piece: Piece) -> None:
        self.held_bytes -= piece.weight
        self.discarded_fragments += piece.end - piece.first

    def _complete(self, piece: Piece) -> None:
        parts = piece.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.held_bytes += FRAGMENT_WEIGHT + len(data) - piece.weight
        if piece.flags & FLAG_UNORDERED:
            self.delivered.append(MessageReceived(piece.stream_id, piece.ppid, data))
            return
        stream = self._streams.get(piece.stream_id) or self._new_stream(piece.stream_id)
        if stream is None:
            self.held_bytes -= FRAGMENT_WEIGHT + len(data)
            self.discarded_fragments += 1
            return
        ssn = unwrap_ssn(piece.ssn, stream.next_ssn)
        if ssn == stream.next_ssn:
            self.delivered.append(MessageReceived(piece.stream_id, piece.ppid, data))
            stream.next_ssn = ssn + 1
            if stream.waiting:
                self._release(piece.stream_id, stream)
        elif ssn > stream.next_ssn and ssn not in stream.waiting:
            stream.waiting[ssn] = (piece.ppid, data)
        else:
            self.held_bytes -= FRAGMENT_WEIGHT + len(data)
            self.discarded_fragments += 1

    def _new_stream(self, stream_id: int) -> _OrderedStream | None:
        if len(self._streams) >= MAX_ORDERED_STREAMS:
            return None
        stream = self._streams[stream_id] = _OrderedStream()
        return stream

    def _release(self, stream_id: int, stream: _OrderedStream) -> None:
        waiting = stream.waiting
        while stream.next_ssn in waiting:
            ppid, data = waiting.pop(stream.next_ssn)
            self.delivered.append(MessageReceived(stream_id, ppid, data))
            stream.next_ssn += 1

    def _skip(self, stream_id: int, wire_ssn: int) -> None:
        """All messages up to this SSN are delivered or abandoned; never moves backwards."""
        stream = self._streams.get(stream_id) or self._new_stream(stream_id)
        if stream is None:
            return
        ssn = unwrap_ssn(wire_ssn, stream.next_ssn)
        if ssn < stream.next_ssn:
            return
        for waiting_ssn in sorted(at for at in stream.waiting if at <= ssn):
            ppid, data = stream.waiting.pop(waiting_ssn)
            self.delivered.append(MessageReceived(stream_id, ppid, data))
        stream.next_ssn = ssn + 1
        self._release(stream_id, stream)
