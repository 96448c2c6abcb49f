"""The pass over a stream that hashes it: the digest of every file, in order, and of pieces that are asked for.

Sans-IO: whoever reads tells what was read. A source hashes what it reads in order on the way, and reads on its own what
nobody else does (store.source).
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from blake3 import blake3

from tallow_cli.offer.manifest import FileSpan
from tallow_cli.ranges import RangeSet
from tallow_cli.store.source import EMPTY_DIGEST, Range
from tallow_cli.transfer.messages import NOT_PROVEN

Buffer = bytes | memoryview


class DigestPass:
    """Stands at `position` of the stream, in the file `index`: the first that needs a digest and has none.

    No digest is needed of what the receiver keeps, nor of the files in `given_up`, which the caller may add to:
    `skip` tells that it has.
    """

    def __init__(self, spans: Sequence[FileSpan], given_up: Container[int] = ()) -> None:
        self._spans = spans
        self._given_up = given_up
        self._kept: RangeSet | None = None
        self._digests = [b""] * len(spans)
        self._hasher: blake3 | None = None
        self._whole = EMPTY_DIGEST  # of what was passed over so far, while there is no hasher
        self.index = 0
        self.position = self._end = 0
        self._turn_to(0)

    @property
    def at_end(self) -> bool:
        """Whether all of the file `index` was passed over: `settle` it, or give it up."""
        return self.position == self._end and self.index < len(self._spans)

    @property
    def left_bytes(self) -> int:
        """Of the file `index`."""
        return self._end - self.position

    def begin(self, kept: RangeSet) -> None:
        """From now on these files need no digest, and no others that are not given up."""
        self._kept = kept or None
        first = self._next_from(0)
        if first != self.index:
            self._turn_to(first)

    def is_kept(self, index: int) -> bool:
        return self._kept is not None and index in self._kept

    def pass_over(self, data: Buffer) -> None:
        """`data` lies at `position` and reaches at most to the end of the file `index`."""
        size = len(data)
        if self._hasher is None and size == self._spans[self.index].size:
            self._whole = blake3(data).digest()  # the usual small file, in one call
        else:
            if self._hasher is None:
                self._hasher = blake3()
            self._hasher.update(data)
        self.position += size

    def computed(self) -> bytes:
        """The digest of what was passed over of the file `index`."""
        return self._whole if self._hasher is None else self._hasher.digest()

    def settle(self) -> None:
        """The file `index`, which was passed over, has the digest that was computed; the next one's turn."""
        self._digests[self.index] = self.computed()
        self._turn_to(self._next_from(self.index + 1))

    def skip(self) -> None:
        """The file `index` needs no more: the next one's turn."""
        self._turn_to(self._next_from(self.index))

    def has_digest(self, index: int) -> bool:
        return bool(self._digests[index])

    def digest(self, index: int) -> bytes:
        """Raises ValueError for a file that has none."""
        digest = self._digests[index] if 0 <= index < len(self._digests) else b""
        if not digest:
            raise ValueError(f"file {index} has not been read to its end")
        return digest

    def _next_from(self, index: int) -> int:
        digests, kept, given_up = self._digests, self._kept, self._given_up
        while index < len(digests) and (
            digests[index] or index in given_up or (kept is not None and index in kept)
        ):
            index += 1
        return index

    def _turn_to(self, index: int) -> None:
        self._hasher = None
        self._whole = EMPTY_DIGEST
        self.index = index
        if index < len(self._spans):
            self.position = self._spans[index].start
            self._end = self._spans[index].end
        elif self._spans:
            self.position = self._end = self._spans[-1].end


class PieceDigests:
    """Digests of pieces of the stream, each of which is fed in order; the pieces come in the order of the stream."""

    def __init__(self, pieces: Sequence[Range] = ()) -> None:
        self._pieces = pieces
        self._index = 0
        self._given = 0
        self._hasher = blake3()
        self._ready: list[bytes] = []
        self.position: int | None = pieces[0][0] if pieces else None  # the byte that is needed next

    @property
    def end(self) -> int:
        """Of the piece that `position` lies in."""
        return self._pieces[self._index][1]

    def feed(self, position: int, data: Buffer) -> None:
        """Bytes of the stream that somebody came by; those that are needed next are taken."""
        end = position + len(data)
        while self.position is not None and position <= self.position < end:
            stop = min(end, self.end)
            self._hasher.update(data[self.position - position : stop - position])
            self.position = stop
            if stop == self.end:
                self._next(self._hasher.digest())

    def give_up(self) -> None:
        """The piece that `position` lies in cannot be read."""
        if self.position is not None:
            self._next(NOT_PROVEN)

    def _next(self, digest: bytes) -> None:
        self._ready.append(digest)
        self._hasher.reset()
        self._index += 1
        self.position = self._pieces[self._index][0] if self._index < len(self._pieces) else None

    def take(self) -> tuple[int, list[bytes]]:
        """The first piece whose digest was not given yet, and all that are ready from it on."""
        ready, self._ready = self._ready, []
        first, self._given = self._given, self._given + len(ready)
        return first, ready
