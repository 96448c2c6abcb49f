"""The receiver's book of what it claims to have: of each piece, whether it is proven, wanted after all, or open."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.driving import PieceDigested
from tallow_cli.transfer.messages import NOT_PROVEN
from tallow_cli.transfer.pieces import Piece, Pieces


class _State(IntEnum):
    OPEN = 0
    VOID = 1  # the sender cannot read it, and will withdraw its file
    PROVEN = 2
    WANTED = 3  # it comes like any other data
    DROPPED = 4  # its file is withdrawn


_UNDECIDED = (_State.OPEN, _State.VOID)


class ClaimBook:
    """A byte for each of `pieces`; the digests themselves are given out, and not kept."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self.untold = len(pieces)  # pieces whose digest has not come, the last ones
        self.undecided = len(pieces)  # pieces neither proven, nor wanted, nor dropped
        self.unproven_bytes = pieces.total_bytes  # of them
        self._states = bytearray(len(pieces))

    @property
    def _told(self) -> int:
        return len(self.pieces) - self.untold

    def digests_untrusted(self, first: int, digests: Sequence[bytes]) -> list[PieceDigested]:
        """The digests of the next pieces; returns those to be checked. Raises PeerProtocolError."""
        if first != self._told or first + len(digests) > len(self.pieces):
            raise PeerProtocolError("digests of pieces out of order, or of more than were claimed")
        self.untold -= len(digests)
        digested = []
        for index, digest in enumerate(digests, first):
            if self._states[index] != _State.OPEN:
                continue
            if digest == NOT_PROVEN:
                self._states[index] = _State.VOID
            else:
                digested.append(PieceDigested(index, *self.pieces[index], digest))
        return digested

    def proved(self, index: int) -> Piece | None:
        """What is there is what the sender has; None if nobody cares any more. Raises ValueError if it was not open."""
        return self._decide(index, _State.PROVEN)

    def refuted(self, index: int) -> Piece | None:
        """What is there is something else, or cannot be read; None and ValueError as in `proved`."""
        return self._decide(index, _State.WANTED)

    def _decide(self, index: int, state: _State) -> Piece | None:
        if not 0 <= index < len(self.pieces):
            raise ValueError(f"no piece {index}")
        if self._states[index] in (_State.VOID, _State.DROPPED):
            return None
        if self._states[index] != _State.OPEN or (state is _State.PROVEN and index >= self._told):
            raise ValueError(f"piece {index} is decided, or has no digest to prove it by")
        return self._settle(index, state)

    def _settle(self, index: int, state: _State) -> Piece:
        piece = self.pieces[index]
        self._states[index] = state
        self.undecided -= 1
        self.unproven_bytes -= piece.size
        return piece

    def has_void(self, start: int, end: int) -> bool:
        """Whether the sender owes the withdrawal of the file [start, end)."""
        within = self.pieces.within(start, end)
        return self._states.find(_State.VOID, within.start, within.stop) >= 0

    def drop(self, start: int, end: int) -> tuple[list[Piece], list[Piece]]:
        """The file [start, end) is withdrawn. Returns its pieces that were not decided, and those that were wanted."""
        undecided, wanted = [], []
        for index in self.pieces.within(start, end):
            if self._states[index] in _UNDECIDED:
                undecided.append(self._settle(index, _State.DROPPED))
            elif self._states[index] == _State.WANTED:
                wanted.append(self.pieces[index])
                self._states[index] = _State.DROPPED
        return undecided, wanted
