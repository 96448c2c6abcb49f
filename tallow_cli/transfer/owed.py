"""Which files the sender still owes a digest, or the word that they do not come. Both ends keep the same list."""

from __future__ import annotations

from typing import Final

_SETTLED: Final = 1  # kept, or withdrawn
_DIGESTED: Final = 2


class FilesOwed:
    """All of `count` files at first."""

    def __init__(self, count: int) -> None:
        self.left = count
        self._settled = bytearray(count)
        self._next = 0

    @property
    def count(self) -> int:
        return len(self._settled)

    def is_owed(self, index: int) -> bool:
        return 0 <= index < self.count and not self._settled[index]

    def settle(self, start: int, end: int) -> None:
        """The files [start, end) are not owed any more. Raises ValueError if one of them was not, or is none."""
        if not 0 <= start < end <= self.count or any(self._settled[start:end]):
            raise ValueError(f"files {start} to {end - 1} of {self.count} are not owed, or were settled")
        self._settled[start:end] = b"\1" * (end - start)
        self.left -= end - start

    def take_back(self, index: int) -> None:
        """This file has its digest, and does not come all the same. Raises ValueError if it has none."""
        if not 0 <= index < self.count or self._settled[index] != _DIGESTED:
            raise ValueError(f"file {index} of {self.count} has no digest")
        self._settled[index] = _SETTLED

    def settle_next(self, first: int, count: int) -> list[int]:
        """`first`, which is the next owed, and the `count` - 1 owed ones after it are settled; returns all of them.

        Raises ValueError if it is not the next, or there are not so many.
        """
        position = self._settled.find(0, self._next)
        if first != position or not 1 <= count <= self.left:
            raise ValueError(
                f"{count} files from {first} are settled, but {position} is next and {self.left} are left"
            )
        settled = []
        for _ in range(count):
            settled.append(position)
            position = self._settled.find(0, position + 1)
        for index in settled:
            self._settled[index] = _DIGESTED
        self._next = settled[-1] + 1
        self.left -= count
        return settled
