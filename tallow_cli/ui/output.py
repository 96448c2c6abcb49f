"""Writing to a stream that may be a pipe somebody has closed, or one that cannot encode every letter."""

from __future__ import annotations

from typing import Final, TextIO

# Our own typography, for streams that lack it; anything else they lack is written as an escape.
_PLAIN_LETTERS: Final = str.maketrans({"…": "...", "–": "-", "·": "-", "→": "->", "✓": "*"})


class Output:
    """A text stream that never fails the transfer: a reader that went away is written to no more.

    It is file enough for rich's Console: `write`, `flush`, `isatty`, `encoding`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False
        self.is_terminal = stream.isatty()

    def write(self, text: str) -> int:
        """Write and flush."""
        if not self._gone:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    plain = text.translate(_PLAIN_LETTERS).encode(self.encoding, "backslashreplace")
                    self._stream.write(plain.decode(self.encoding))
                self._stream.flush()
            except (BrokenPipeError, ValueError):  # ValueError: closed
                self._gone = True
        return len(text)

    def line(self, text: str = "") -> None:
        self.write(text + "\n")

    def flush(self) -> None:
        """Every write is flushed already."""

    def isatty(self) -> bool:
        return self.is_terminal

    @property
    def encoding(self) -> str:
        return self._stream.encoding or "ascii"

    @property
    def is_utf8(self) -> bool:
        return self.encoding.lower().replace("-", "") in ("utf8", "utf8sig")
