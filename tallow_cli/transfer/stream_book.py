"""What of the stream is here, for a receiver: what came, which files that makes, what is claimed and proven."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.assembly import FileLedger, StreamIntake
from tallow_cli.transfer.claims import ClaimBook
from tallow_cli.transfer.messages import MAX_HELD_RANGES, MAX_WANTED_RANGES, Why
from tallow_cli.transfer.options import ReceiveOptions
from tallow_cli.transfer.pieces import Pieces

Ranges = list[tuple[int, int]]


class StreamBook:
    """One stream. `intake` takes what comes, `files` knows what that makes, `claims` what was there before and may be
    right. Empty until `open`."""

    def __init__(self, options: ReceiveOptions) -> None:
        self.intake = StreamIntake(options.max_backlog_writes)
        self.files = FileLedger(())
        self.claims = ClaimBook(Pieces())
        self._wanted = RangeSet()  # and the sender is not told yet
        self._options = options

    def open(
        self, file_ends: Sequence[int] | None, held: RangeSet, kept: RangeSet, claims: RangeSet
    ) -> tuple[Ranges, Ranges]:
        """See `ReceiveMachine.accept`. Returns what the sender is told to be held, and to be claimed."""
        self.files = FileLedger(file_ends)
        if file_ends is not None:
            self.intake.end_untrusted(file_ends[-1] if file_ends else 0)
        here = RangeSet(self.files.keep(first, end - 1) for first, end in kept)
        said = [(start, end) for start, end in held if not here.covers(start, end)]
        if len(said) > MAX_HELD_RANGES:
            raise ValueError(f"{len(said)} held ranges")
        for start, end in said:
            for gap_start, gap_end in here.gaps(start, end):
                self.files.written(gap_start, gap_end - gap_start)
            here.add(start, end)
        claimed = _largest(here, claims, self._options.max_claimed_ranges)
        self.claims = ClaimBook(Pieces(file_ends or (), claimed, self._options.segment_bytes))
        for start, end in (*here, *claimed):
            self.intake.hold(start, end)
        return said, claimed

    @property
    def written_bytes(self) -> int:
        """Distinct bytes that are on disk, as far as is known: claims of which nothing is known yet count."""
        return self.files.written_bytes + self.claims.unproven_bytes

    @property
    def is_all_here(self) -> bool:
        """Every byte has come, or is known to have been here."""
        return self.intake.complete and not self.claims.undecided

    def written(self, offset: int, size: int) -> None:
        """A range that `intake.writes` gave is on disk."""
        self.intake.finished_write()
        self.files.written(offset, size)

    def proved(self, index: int) -> bool:
        """The piece `index` of the claims counts as written from now on. False if nobody asks any more."""
        piece = self.claims.proved(index)
        if piece is not None:
            self.files.written(piece.start, piece.size)
        return piece is not None

    def refuted(self, index: int) -> None:
        """The piece `index` of the claims comes after all."""
        piece = self.claims.refuted(index)
        if piece is not None:
            self.intake.reopen(*piece)
            self._wanted.add(*piece)

    def take_wanted(self) -> Iterator[tuple[tuple[int, int], ...]]:
        """What the sender is to be asked for, in as many messages as that takes; each range once."""
        if not self._wanted:
            return
        wanted, self._wanted = tuple(self._wanted), RangeSet()
        for first in range(0, len(wanted), MAX_WANTED_RANGES):
            yield wanted[first : first + MAX_WANTED_RANGES]

    def end_untrusted(self, total: int) -> None:
        """The length of a stream of which it was unknown. Raises PeerProtocolError."""
        self.intake.end_untrusted(total)
        self.files.end(total)

    def digests_untrusted(self, first: int, digests: Sequence[bytes]) -> None:
        """The digests of the next files that are owed one. Raises PeerProtocolError."""
        indexes = self.files.digests_untrusted(first, digests)
        if self.claims.undecided and any(self.claims.has_void(*self.files.span(i)) for i in indexes):
            raise PeerProtocolError("a digest of a file of which a piece cannot be read")

    def withdrawn_untrusted(self, index: int, size: int, why: Why) -> None:
        """Of this file only the first `size` bytes come, and nothing of what was claimed of it is needed. Raises
        PeerProtocolError."""
        rest, end = self.files.withdrawn_untrusted(index, size, why)
        excused = [(rest, end)]
        if self.claims.pieces:
            start, _ = self.files.span(index)
            undecided, wanted = self.claims.drop(start, end)
            for piece in undecided:
                self.files.written(piece.start, piece.size)
            for piece in wanted:
                self._wanted.remove(*piece)
            excused += wanted
        for excused_start, excused_end in excused:
            for gap_start, gap_end in self.intake.excuse(excused_start, excused_end):
                self.files.written(gap_start, gap_end - gap_start)


def _largest(here: RangeSet, claims: RangeSet, most: int) -> Ranges:
    """What of `claims` is not `here`, ascending; the largest `most` of it."""
    claimed = [gap for start, end in claims for gap in here.gaps(start, end)]
    if len(claimed) > most:
        claimed = sorted(nlargest(most, claimed, key=lambda gap: gap[1] - gap[0]))
    return claimed
