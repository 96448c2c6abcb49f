"""Putting a stream that arrives in pieces, in any order, into order again, in memory."""

from __future__ import annotations

from collections.abc import Iterator

from tallow_cli.store.filesystem import Data


class InOrder:
    """Holds pieces until their turn comes. What it can hold is what credit lets the peer have under way."""

    def __init__(self) -> None:
        self.position = 0  # where the next piece to come out begins
        self.held = 0  # bytes waiting
        self._waiting: dict[int, Data] = {}

    def push(self, offset: int, data: Data) -> Iterator[Data]:
        """Take a piece; gives out all whose turn has come. Consume it whole. ValueError for a byte seen
        before.
        """
        if offset != self.position:
            if offset < self.position or offset in self._waiting:
                raise ValueError(f"bytes at {offset} came twice")
            if len(data):
                self._waiting[offset] = data
                self.held += len(data)
            return
        self.position += len(data)
        yield data
        yield from self._due()

    def jump(self, position: int) -> Iterator[Data]:
        """What lies before `position` will never come; gives out all whose turn has come. Consume it whole."""
        self.position = position
        yield from self._due()

    def forget(self) -> None:
        """What waits will be pushed again."""
        self._waiting.clear()
        self.held = 0

    def waiting(self) -> list[tuple[int, int]]:
        """(start, end) of each piece whose turn is still to come."""
        return [(offset, offset + len(data)) for offset, data in self._waiting.items()]

    def _due(self) -> Iterator[Data]:
        while (waiting := self._waiting.pop(self.position, None)) is not None:
            self.held -= len(waiting)
            self.position += len(waiting)
            yield waiting
