"""Entropy that a test can repeat. The printed seed makes a failure repeatable too."""

from __future__ import annotations

import hashlib


class SeededEntropy:
    """`entropy(n)`: the next `n` bytes of SHAKE-256(seed). Never for anything but tests."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._used = 0

    def __call__(self, size: int) -> bytes:
        start, self._used = self._used, self._used + size
        return hashlib.shake_256(self._seed).digest(self._used)[start:]

    def __repr__(self) -> str:
        return f"SeededEntropy({self._seed.decode()!r})"
